"""Which autonomous system an address belongs to, as a file of networks says it.

The file is read once, by whoever may do IO, into columns that are searched; its digest is its name,
so that a run over old flows asks the file that was in force then (docs/decisions/0135).
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from rating.prefix_table import AddressCuts, UInt64s

ASN_FILE = "asn_file"
"""Kind of directory rows: match is the digest of the file, target one of ASKED."""

UNKNOWN = "unknown"
ALWAYS = "always"
ASKED = (UNKNOWN, ALWAYS)
"""When the file is asked: where the flow tells no AS number, or for every flow."""

AS_TRANS = 23_456
"""Stands for every AS number beyond 16 bits where a field has no room for it (RFC 6793 §9)."""

DIGEST_CHARACTERS = 64

UInt32s = NDArray[np.uint32]

Network = tuple[int, int, int]
"""First and last address as numbers of their family, and the AS number."""


class AsnTables(Protocol):
    """Files of AS numbers by their digest; one of them is equal to itself only."""

    def __hash__(self) -> int:
        """Return the hash of the object's identity."""
        ...

    def table(self, digest: str) -> AsnTable:
        """Return the table of a file. LookupError where this installation does not have it."""
        ...


class NoAsnTables:
    """Of a process that has no file."""

    def table(self, digest: str) -> AsnTable:
        """Raise LookupError."""
        raise LookupError(f"no AS file {digest}")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class AsnTable:
    """AS number per piece of the address space, 0 where the file has none; names of some.

    v4_starts uint32 and v4_asns uint32 [n]; highs, lows uint64 and v6_asns uint32 [m]. networks is
    how many the file had.
    """

    v4_starts: UInt32s
    v4_asns: UInt32s
    highs: UInt64s
    lows: UInt64s
    v6_asns: UInt32s
    names: Mapping[int, str]
    networks: int
    cuts: AddressCuts

    def find(self, high: UInt64s, low: UInt64s) -> UInt32s:
        """Return the AS number of each address, uint32 [n]; 0 where the file has none."""
        found: UInt32s = self.cuts.look_up(high, low, (self.v4_asns, self.v6_asns))
        return found


def build_table(v4: Iterable[Network], v6: Iterable[Network], names: Mapping[int, str]) -> AsnTable:
    """Return the table of networks that do not overlap, in ascending order.

    Raises ValueError where they do not ascend.
    """
    v4_starts, v4_asns, v4_count = _pieces(v4, 1 << 32)
    v6_starts, v6_asns, v6_count = _pieces(v6, 1 << 128)
    mask = (1 << 64) - 1
    return _table(
        np.array(v4_starts, np.uint32),
        np.array(v4_asns, np.uint32),
        np.array([start >> 64 for start in v6_starts], np.uint64),
        np.array([start & mask for start in v6_starts], np.uint64),
        np.array(v6_asns, np.uint32),
        (names, v4_count + v6_count),
    )


def _table(
    v4_starts: UInt32s,
    v4_asns: UInt32s,
    highs: UInt64s,
    lows: UInt64s,
    v6_asns: UInt32s,
    told: tuple[Mapping[int, str], int],
) -> AsnTable:
    names, networks = told
    cuts = AddressCuts(v4_starts, highs, lows)
    return AsnTable(v4_starts, v4_asns, highs, lows, v6_asns, names, networks, cuts)


def _pieces(networks: Iterable[Network], beyond: int) -> tuple[list[int], list[int], int]:
    """Return starts and AS numbers of the pieces from 0 on, neighbours of one AS together."""
    starts, asns = [0], [0]
    free = 0
    count = 0
    for first, last, asn in networks:
        if first < free or last < first or last >= beyond:
            raise ValueError("networks overlap or do not ascend")
        if first > free:
            _append(starts, asns, free, 0)
        _append(starts, asns, first, asn)
        free = last + 1
        count += 1
    if free < beyond:
        _append(starts, asns, free, 0)
    return starts, asns, count


def _append(starts: list[int], asns: list[int], start: int, asn: int) -> None:
    if starts[-1] == start:
        asns[-1] = asn
    elif asns[-1] != asn:
        starts.append(start)
        asns.append(asn)


class _Stored(msgspec.Struct, array_like=True):
    columns: tuple[bytes, bytes, bytes, bytes, bytes]
    names: dict[int, str]
    networks: int


def encode_table(table: AsnTable) -> bytes:
    """Return a table as octets, little-endian and compressed."""
    little = (
        table.v4_starts.astype("<u4").tobytes(),
        table.v4_asns.astype("<u4").tobytes(),
        table.highs.astype("<u8").tobytes(),
        table.lows.astype("<u8").tobytes(),
        table.v6_asns.astype("<u4").tobytes(),
    )
    stored = _Stored(little, dict(table.names), table.networks)
    return zlib.compress(msgspec.msgpack.encode(stored), 6)


def decode_table(body: bytes) -> AsnTable:
    """Return the table of `encode_table`. Raises ValueError where it is none."""
    try:
        stored = msgspec.msgpack.decode(zlib.decompress(body), type=_Stored)
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(f"no table of AS numbers: {error}") from error
    v4_starts, v4_asns, highs, lows, v6_asns = stored.columns
    return _table(
        np.frombuffer(v4_starts, "<u4").astype(np.uint32),
        np.frombuffer(v4_asns, "<u4").astype(np.uint32),
        np.frombuffer(highs, "<u8").astype(np.uint64),
        np.frombuffer(lows, "<u8").astype(np.uint64),
        np.frombuffer(v6_asns, "<u4").astype(np.uint32),
        (stored.names, stored.networks),
    )


def is_asn_file(match: str, target: str) -> bool:
    """Return whether a directory row of kind ASN_FILE can be read."""
    is_digest = len(match) == DIGEST_CHARACTERS and set(match) <= set("0123456789abcdef")
    return is_digest and target in ASKED
