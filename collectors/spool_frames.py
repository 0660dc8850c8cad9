"""What a collector's spool keeps in one row: the parts of an append, or where every partition is.

The spool is a raw log of its own (`collectors.adapters.segments`). A ``data`` row holds what one
append put into the partitions, each part with its number there. A ``marker`` row, written each
second, holds "received through T" (its received_at), the next number of every partition, and how
far Kafka has acknowledged; so a start reads the last marker and the few rows behind it.

Layout, little endian. Parts: magic ``FSP1``, u32 count, then per part u32 partition, i64 number,
u32 length; then the bodies. Positions: magic ``FSM1``, u32 count n, i64 row through which all is
acknowledged, i64 n next numbers, i64 n acknowledged numbers.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

PARTS_MAGIC = b"FSP1"
POSITIONS_MAGIC = b"FSM1"
_HEADER = struct.Struct("<4sI")
_PART = struct.Struct("<IqI")
_ROW = struct.Struct("<q")


@dataclasses.dataclass(frozen=True, slots=True)
class NumberedPart:
    """A block body for one partition, with its dense number there."""

    partition: int
    number: int
    body: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Positions:
    """Where each partition is: index is the partition.

    next_numbers: what its next body is given. acknowledged: the last number that Kafka has.
    published_row: every spool row through this one is acknowledged as a whole.
    """

    published_row: int
    next_numbers: tuple[int, ...]
    acknowledged: tuple[int, ...]


def first_positions(partitions: int) -> Positions:
    """Return the positions of a new spool: numbers begin at 1."""
    return Positions(0, (1,) * partitions, (0,) * partitions)


def encode_parts(parts: Sequence[NumberedPart]) -> bytes:
    """Return the body of a data row."""
    return b"".join(
        (
            _HEADER.pack(PARTS_MAGIC, len(parts)),
            *(_PART.pack(part.partition, part.number, len(part.body)) for part in parts),
            *(part.body for part in parts),
        )
    )


def decode_parts(row: bytes) -> list[NumberedPart]:
    """Return the parts of a data row; ValueError for what is none."""
    magic, count = _header(row)
    at = _HEADER.size + count * _PART.size
    if magic != PARTS_MAGIC or at > len(row):
        raise ValueError(f"no row of parts: magic {magic!r}, {count} parts, {len(row)} octets")
    parts = []
    for index in range(count):
        partition, number, size = _PART.unpack_from(row, _HEADER.size + index * _PART.size)
        parts.append(NumberedPart(partition, number, row[at : at + size]))
        at += size
    if at != len(row):
        raise ValueError(f"the parts of a row end at octet {at} of {len(row)}")
    return parts


def encode_positions(positions: Positions) -> bytes:
    """Return the body of a marker row."""
    count = len(positions.next_numbers)
    return b"".join(
        (
            _HEADER.pack(POSITIONS_MAGIC, count),
            _ROW.pack(positions.published_row),
            struct.pack(f"<{count}q", *positions.next_numbers),
            struct.pack(f"<{count}q", *positions.acknowledged),
        )
    )


def decode_positions(row: bytes) -> Positions:
    """Return the positions in a marker row; ValueError for what holds none."""
    magic, count = _header(row)
    at = _HEADER.size + _ROW.size
    if magic != POSITIONS_MAGIC or len(row) != at + 16 * count:
        raise ValueError(f"no row of positions: magic {magic!r}, {len(row)} octets")
    (published_row,) = _ROW.unpack_from(row, _HEADER.size)
    numbers = struct.unpack_from(f"<{2 * count}q", row, at)
    return Positions(published_row, numbers[:count], numbers[count:])


def _header(row: bytes) -> tuple[bytes, int]:
    if len(row) < _HEADER.size:
        raise ValueError(f"a spool row has at least {_HEADER.size} octets, got {len(row)}")
    magic, count = _HEADER.unpack_from(row)
    return magic, count
