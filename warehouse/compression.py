"""HTTP content codings that ClickHouse clients use, with a bound on what comes out."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd

RESPONSE_CODINGS = ("lz4", "zstd", "gzip")
"""Codings offered for answers, best first."""


class OversizeError(ValueError):
    """A body that would exceed its limit in octets once decompressed."""


class CodingError(ValueError):
    """A content coding that is unknown, or a body that is not what its coding says."""


def decompress(body: bytes, coding: str, limit_octets: int) -> bytes:
    """Return the plain body. OversizeError before more than the limit is held; CodingError."""
    if coding in ("", "identity"):
        plain = body
    elif coding == "lz4":
        plain = _bounded(lz4.frame.LZ4FrameDecompressor(), body, limit_octets)
    elif coding == "zstd":
        plain = _bounded(zstd.ZstdDecompressor(), body, limit_octets)
    elif coding in ("gzip", "deflate"):
        plain = _inflate(body, limit_octets)
    else:
        raise CodingError(f"content coding {coding!r} is not one of lz4, zstd, gzip, deflate")
    if len(plain) > limit_octets:
        raise OversizeError(f"body exceeds {limit_octets} octets")
    return plain


def _bounded(decompressor: Any, body: bytes, limit_octets: int) -> bytes:
    try:
        plain = bytes(decompressor.decompress(body, max_length=limit_octets + 1))
        while not decompressor.eof and len(plain) <= limit_octets:
            more = decompressor.decompress(b"", max_length=limit_octets + 1 - len(plain))
            if not more:
                raise CodingError("compressed body is truncated")
            plain += more
    except (RuntimeError, EOFError, zstd.ZstdError) as error:
        raise CodingError(f"compressed body is damaged: {error}") from error
    return plain


def _inflate(body: bytes, limit_octets: int) -> bytes:
    inflater = zlib.decompressobj(wbits=47)  # 32 + 15: zlib or gzip, told by the header.
    try:
        plain = inflater.decompress(body, limit_octets + 1)
    except zlib.error as error:
        raise CodingError(f"compressed body is damaged: {error}") from error
    if not inflater.eof and len(plain) <= limit_octets:
        raise CodingError("compressed body is truncated")
    return plain


def choose_coding(accept_encoding: str) -> str:
    """Return the best coding that an Accept-Encoding header allows, or the empty text."""
    accepted = {part.split(";")[0].strip().lower() for part in accept_encoding.split(",")}
    return next((coding for coding in RESPONSE_CODINGS if coding in accepted), "")


def compress(body: bytes, coding: str) -> bytes:
    """Return a body in one of RESPONSE_CODINGS, or as it is for the empty text."""
    if coding == "lz4":
        return bytes(lz4.frame.compress(body))
    if coding == "zstd":
        return bytes(zstd.compress(body))
    if coding == "gzip":
        return gzip.compress(body, 1)
    return body
