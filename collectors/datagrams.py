"""The body of a `flow.datagrams` block: raw datagrams, column by column.

Layout, little endian: magic ``FRD1``, u32 count, then per datagram received_at (i64 ms),
source address (16 octets, IPv4 mapped), source port (u16), local port (u16), length (u32), each
as one column; then the payloads one after another. Columns let decode read a block of thousands
of datagrams without one Python object per datagram.

``FRD2`` is the same with one more column behind the lengths, the connection (u64) that a message
came over: messages of IPFIX over TCP lie among the datagrams, and an empty one on a connection says
that it has ended (decision 0121). A block without connections is written as ``FRD1``.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAGIC = b"FRD1"
MAGIC_CONNECTIONS = b"FRD2"
"""Begins a block that has the column of connections."""

NO_CONNECTION = 0
"""Connection of what came over UDP."""

_HEADER = struct.Struct("<4sI")


@dataclasses.dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP payload as it came: addresses are 16 octets, received_at ms since 1970 UTC.

    connection is NO_CONNECTION, or names the transport session that a message came over; an empty
    payload on a connection is its end.
    """

    received_at: int
    source_address: bytes
    source_port: int
    local_port: int
    payload: bytes
    connection: int = NO_CONNECTION


@dataclasses.dataclass(frozen=True, slots=True)
class DatagramBlock:
    """Many datagrams as columns of equal length n, and their payloads in one buffer.

    received_at: int64 ms [n]; source_address: void 16 [n]; source_port, local_port: uint16 [n];
    offsets: int64 [n] into payload; lengths: int64 octets [n]; connections: uint64 [n], or None
    where all came over UDP.
    """

    received_at: NDArray[np.int64]
    source_address: NDArray[np.void]
    source_port: NDArray[np.uint16]
    local_port: NDArray[np.uint16]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    payload: memoryview
    connections: NDArray[np.uint64] | None = None

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
            NO_CONNECTION if self.connections is None else int(self.connections[index]),
        )

    def take(self, rows: NDArray[np.int64]) -> DatagramBlock:
        """Return some of the datagrams, over the same payload."""
        return DatagramBlock(
            received_at=self.received_at[rows],
            source_address=self.source_address[rows],
            source_port=self.source_port[rows],
            local_port=self.local_port[rows],
            offsets=self.offsets[rows],
            lengths=self.lengths[rows],
            payload=self.payload,
            connections=None if self.connections is None else self.connections[rows],
        )


def encode_columns(
    received_at: NDArray[np.int64],
    source_address: bytes,
    ports: NDArray[np.uint16],
    lengths: NDArray[np.uint32],
    payload: bytes | bytearray | memoryview,
    connections: NDArray[np.uint64] | None = None,
) -> bytes:
    """Return a block body from columns: ports is uint16 [2, n], source ports then local ports.

    source_address is n x 16 octets; payload holds the n datagrams without gaps; connections is
    None or n, as in `DatagramBlock`. Raises ValueError where the columns disagree about n or the
    lengths about the payload.
    """
    count = len(lengths)
    if not (len(received_at) == ports.shape[1] == count == len(source_address) // 16):
        raise ValueError(f"columns disagree: {count} lengths, {len(received_at)} times")
    if int(lengths.sum(dtype=np.int64)) != len(payload):
        raise ValueError(f"lengths sum to {lengths.sum()}, payload holds {len(payload)} octets")
    named = b""
    if connections is not None and connections.any():
        if len(connections) != count:
            raise ValueError(f"columns disagree: {count} lengths, {len(connections)} connections")
        named = connections.astype("<u8").tobytes()
    return b"".join(
        (
            _HEADER.pack(MAGIC_CONNECTIONS if named else MAGIC, count),
            received_at.astype("<i8").tobytes(),
            source_address,
            ports.astype("<u2").tobytes(),
            lengths.astype("<u4").tobytes(),
            named,
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
        np.array([d.connection for d in datagrams], np.uint64),
    )


def decode_datagrams(body: bytes) -> DatagramBlock:
    """Return the columns of a block body, views into it where possible.

    Raises ValueError for a body that is no block or whose lengths do not add up.
    """
    if len(body) < _HEADER.size:
        raise ValueError(f"a datagram block has at least {_HEADER.size} octets, got {len(body)}")
    magic, count = _HEADER.unpack_from(body)
    fixed = _HEADER.size + count * (40 if magic == MAGIC_CONNECTIONS else 32)
    if magic not in (MAGIC, MAGIC_CONNECTIONS) or len(body) < fixed:
        raise ValueError(
            f"no datagram block: magic {magic!r}, {count} datagrams, {len(body)} octets"
        )
    at = _HEADER.size
    received_at = np.frombuffer(body, "<i8", count, at)
    source_address = np.frombuffer(body, "V16", count, at + 8 * count)
    source_port = np.frombuffer(body, "<u2", count, at + 24 * count)
    local_port = np.frombuffer(body, "<u2", count, at + 26 * count)
    lengths = np.frombuffer(body, "<u4", count, at + 28 * count).astype(np.int64)
    connections = None
    if magic == MAGIC_CONNECTIONS:
        connections = np.frombuffer(body, "<u8", count, at + 32 * count)
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
        connections=connections,
    )
