"""The body of a `radius.accounting` block: verified packets with when and whence they came.

Layout, little endian: magic ``FRA1``, u32 count n, u32 number of NAS ids; per NAS id a u16 length
and UTF-8; then columns: received_at (i64 ms) n, NAS id index (u32) n, source address (16 octets,
IPv4 mapped) n, source port (u16) n, packet length (u16) n; then the packets one after another.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

MAGIC = b"FRA1"
_HEADER = struct.Struct("<4sII")
_SHORT = struct.Struct("<H")
_COLUMN_OCTETS = 8 + 4 + 16 + 2 + 2


class AccountingPacket(NamedTuple):
    """One verified Accounting-Request as received.

    received_at is ms since 1970 UTC; nas_id the configured identity (`NasConfig.nas_id`);
    source_address 16 octets; packet the RADIUS packet without padding, at most 4096 octets.
    """

    received_at: int
    nas_id: str
    source_address: bytes
    source_port: int
    packet: bytes


def encode_packets(packets: Sequence[AccountingPacket]) -> bytes:
    """Return a block body that holds the packets in order."""
    count = len(packets)
    names: dict[str, int] = {}
    indexes = [names.setdefault(p.nas_id, len(names)) for p in packets]
    encoded = [name.encode() for name in names]
    return b"".join(
        (
            _HEADER.pack(MAGIC, count, len(names)),
            *(_SHORT.pack(len(name)) + name for name in encoded),
            struct.pack(f"<{count}q", *[p.received_at for p in packets]),
            struct.pack(f"<{count}I", *indexes),
            b"".join([p.source_address for p in packets]),
            struct.pack(f"<{count}H", *[p.source_port for p in packets]),
            struct.pack(f"<{count}H", *[len(p.packet) for p in packets]),
            *[p.packet for p in packets],
        )
    )


def decode_packets(body: bytes) -> list[AccountingPacket]:
    """Return the packets of a block body; ValueError for a body that is no such block."""
    try:
        return _decode(body)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"no block of accounting packets: {error}") from error


def _decode(body: bytes) -> list[AccountingPacket]:
    magic, count, name_count = _HEADER.unpack_from(body)
    if magic != MAGIC:
        raise ValueError(f"no block of accounting packets: magic {magic!r}")
    at = _HEADER.size
    names = []
    for _ in range(name_count):
        (size,) = _SHORT.unpack_from(body, at)
        names.append(body[at + 2 : at + 2 + size].decode())
        at += 2 + size
    if at + count * _COLUMN_OCTETS > len(body):
        raise ValueError(f"{count} accounting packets do not fit {len(body)} octets")
    times = struct.unpack_from(f"<{count}q", body, at)
    indexes = struct.unpack_from(f"<{count}I", body, at + 8 * count)
    addresses_at = at + 12 * count
    ports = struct.unpack_from(f"<{count}H", body, at + 28 * count)
    lengths = struct.unpack_from(f"<{count}H", body, at + 30 * count)
    at += count * _COLUMN_OCTETS
    if at + sum(lengths) != len(body):
        raise ValueError(f"lengths sum to {sum(lengths)}, the block holds {len(body) - at} octets")
    packets = []
    for i in range(count):
        address = body[addresses_at + 16 * i : addresses_at + 16 * i + 16]
        packet = body[at : at + lengths[i]]
        packets.append(AccountingPacket(times[i], names[indexes[i]], address, ports[i], packet))
        at += lengths[i]
    return packets
