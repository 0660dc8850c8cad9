"""The body of a `flow.datagrams` block: raw datagrams, column by column.

Layout, little endian: magic ``FRD1``, u32 count, then per datagram received_at (i64 ms),
source address (16 octets, IPv4 mapped), source port (u16), local port (u16), length (u32), each
as one column; then the payloads one after another. Columns let decode read a block of thousands
of datagrams without one Python object per datagram.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAGIC = b"FRD1"
_HEADER = struct.Struct("<4sI")


@dataclasses.dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP payload as it came: addresses are 16 octets, received_at ms since 1970 UTC."""

    received_at: int
    source_address: bytes
    source_port: int
    local_port: int
    payload: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class DatagramBlock:
    """Many datagrams as columns of equal length n, and their payloads in one buffer.

    received_at: int64 ms [n]; source_address: void 16 [n]; source_port, local_port: uint16 [n];
    offsets: int64 [n] into payload; lengths: int64 octets [n].
    """

    received_at: NDArray[np.int64]
    source_address: NDArray[np.void]
    source_port: NDArray[np.uint16]
    local_port: NDArray[np.uint16]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    payload: memoryview

    def __len__(self) -> int:
        """Return the number of datagrams."""
        return len(self.lengths)

    def datagram(self, index: int) -> Datagram:
        """Return one datagram as an object (for tools and tests, not for the hot path)."""
        start = int(self.offsets[index])
        return Datagram(
            int(self.received_at[index]),
            self.source_address[index].tobytes(),
            int(self.source_port[index]),
            int(self.local_port[index]),
            bytes(self.payload[start : start + int(self.lengths[index])]),
        )


def encode_columns(
    received_at: NDArray[np.int64],
    source_address: bytes,
    ports: NDArray[np.uint16],
    lengths: NDArray[np.uint32],
    payload: bytes | bytearray | memoryview,
) -> bytes:
    """Return a block body from columns: ports is uint16 [2, n], source ports then local ports.

    source_address is n x 16 octets; payload holds the n datagrams without gaps.
    Raises ValueError where the columns disagree about n or the lengths about the payload.
    """
    count = len(lengths)
    if not (len(received_at) == ports.shape[1] == count == len(source_address) // 16):
        raise ValueError(f"columns disagree: {count} lengths, {len(received_at)} times")
    if int(lengths.sum(dtype=np.int64)) != len(payload):
        raise ValueError(f"lengths sum to {lengths.sum()}, payload holds {len(payload)} octets")
    return b"".join(
        (
            _HEADER.pack(MAGIC, count),
            received_at.astype("<i8").tobytes(),
            source_address,
            ports.astype("<u2").tobytes(),
            lengths.astype("<u4").tobytes(),
            payload,
        )
    )


def encode_datagrams(datagrams: Sequence[Datagram]) -> bytes:
    """Return a block body that holds the datagrams in order."""
    return encode_columns(
        np.array([d.received_at for d in datagrams], np.int64),
        b"".join(d.source_address for d in datagrams),
        np.array(
            [[d.source_port for d in datagrams], [d.local_port for d in datagrams]], np.uint16
        ).reshape(2, len(datagrams)),
        np.array([len(d.payload) for d in datagrams], np.uint32),
        b"".join(d.payload for d in datagrams),
    )


def decode_datagrams(body: bytes) -> DatagramBlock:
    """Return the columns of a block body, views into it where possible.

    Raises ValueError for a body that is no block or whose lengths do not add up.
    """
    if len(body) < _HEADER.size:
        raise ValueError(f"a datagram block has at least {_HEADER.size} octets, got {len(body)}")
    magic, count = _HEADER.unpack_from(body)
    fixed = _HEADER.size + count * 32
    if magic != MAGIC or len(body) < fixed:
        raise ValueError(
            f"no datagram block: magic {magic!r}, {count} datagrams, {len(body)} octets"
        )
    at = _HEADER.size
    received_at = np.frombuffer(body, "<i8", count, at)
    source_address = np.frombuffer(body, "V16", count, at + 8 * count)
    source_port = np.frombuffer(body, "<u2", count, at + 24 * count)
    local_port = np.frombuffer(body, "<u2", count, at + 26 * count)
    lengths = np.frombuffer(body, "<u4", count, at + 28 * count).astype(np.int64)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if count else 0
    if fixed + total != len(body):
        raise ValueError(f"lengths sum to {total}, payload holds {len(body) - fixed} octets")
    return DatagramBlock(
        received_at=received_at,
        source_address=source_address,
        source_port=source_port,
        local_port=local_port,
        offsets=ends - lengths,
        lengths=lengths,
        payload=memoryview(body)[fixed:],
    )
