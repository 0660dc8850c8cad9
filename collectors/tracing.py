"""Where a trace begins: which parts of a block are traced, and when their datagrams came."""

from __future__ import annotations

import struct

import numpy as np

from collectors import datagrams
from collectors.radius import log_codec
from rating.traces import Spans, chance_of

_FLOWS = struct.Struct("<4sI")
_ACCOUNTING = struct.Struct("<4sII")
_SHORT = struct.Struct("<H")
PARTITIONS_MAX = 4_096
"""Partitions that a topic has at most, so that each part of a block has its own chance."""


def start_trace(spans: Spans, part: tuple[int, int], body: bytes, now_ns: int) -> bytes:
    """Return the trace of a part that is published, for its envelope; mostly b"".

    part is (number, partition): the same part has the same chance, also when it is sent again.
    """
    number, partition = part
    chance = chance_of(number * PARTITIONS_MAX + partition)
    return spans.start_trace(now_ns, chance, received_between(body))


def received_between(body: bytes) -> tuple[int, int]:
    """Return when the first and the last datagram of a block were received, in ms.

    Takes the bodies of `collectors.datagrams` and `collectors.radius.log_codec`; (0, 0) for a block
    without datagrams. ValueError for a body that is neither.
    """
    try:
        count, at = _times_of(body)
        times = np.frombuffer(body, "<i8", count, at)
    except (struct.error, ValueError) as error:
        raise ValueError(f"no block of a raw log: {error}") from error
    return (int(times.min()), int(times.max())) if count else (0, 0)


def _times_of(body: bytes) -> tuple[int, int]:
    """Return how many receive times a body has, and where they stand."""
    if body[:4] in (datagrams.MAGIC, datagrams.MAGIC_CONNECTIONS):
        _, count = _FLOWS.unpack_from(body)
        return count, _FLOWS.size
    if body[:4] != log_codec.MAGIC:
        raise ValueError(f"magic {body[:4]!r}")
    _, count, names = _ACCOUNTING.unpack_from(body)
    at = _ACCOUNTING.size
    for _ in range(names):
        (size,) = _SHORT.unpack_from(body, at)
        at += _SHORT.size + size
    return count, at
