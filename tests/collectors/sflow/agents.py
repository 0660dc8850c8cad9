"""Writes sFlow v5 datagrams for tests, and the frames in them: every layer, every lie.

Independent of the decoder: it shares no code with `collectors.sflow`.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence

ETHERNET, PPP, IPV4, IPV6, MPLS = 1, 7, 11, 12, 13
"""Header protocols."""
UP_MS = 3_600_000
"""Uptime in the headers made here, ms."""


def address(text: str) -> bytes:
    """Return an address as sFlow writes it: its type, then its octets; "" is of unknown type."""
    if not text:
        return struct.pack(">I", 0)
    packed = ipaddress.ip_address(text).packed
    return struct.pack(">I", 1 if len(packed) == 4 else 2) + packed


def datagram(
    samples: Sequence[bytes],
    *,
    agent: str = "198.51.100.7",
    sub_agent: int = 0,
    sequence: int = 1,
    count: int = -1,
) -> bytes:
    """Return a datagram; count lies where it is given."""
    number = len(samples) if count < 0 else count
    tail = struct.pack(">IIII", sub_agent, sequence, UP_MS, number)
    return struct.pack(">I", 5) + address(agent) + tail + b"".join(samples)


def item(kind: int, body: bytes, *, length: int = -1) -> bytes:
    """Return a sample or record; length lies where it is given."""
    padded = body + bytes(-len(body) % 4)
    return struct.pack(">II", kind, len(padded) if length < 0 else length) + padded


def flow_sample(
    records: Sequence[bytes],
    *,
    rate: int = 1_000,
    drops: int = 0,
    sequence: int = 1,
    source: int = 3,
    ports: tuple[int, int] = (3, 4),
) -> bytes:
    """Return a flow sample; ports are input and output as on the wire."""
    head = struct.pack(
        ">IIIIIIII", sequence, source, rate, sequence * rate % 2**32, drops, *ports, len(records)
    )
    return item(1, head + b"".join(records))


def expanded_sample(
    records: Sequence[bytes],
    *,
    rate: int = 1_000,
    drops: int = 0,
    sequence: int = 1,
    source: tuple[int, int] = (0, 3),
    ports: tuple[tuple[int, int], tuple[int, int]] = ((0, 3), (0, 4)),
) -> bytes:
    """Return an expanded flow sample; source and ports are (type or format, value)."""
    head = struct.pack(
        ">IIIIIIIIIII",
        *(
            sequence,
            *source,
            rate,
            sequence * rate % 2**32,
            drops,
            *ports[0],
            *ports[1],
            len(records),
        ),
    )
    return item(3, head + b"".join(records))


def counter_sample(records: Sequence[bytes], *, is_expanded: bool = False) -> bytes:
    """Return a counters sample of interface 3."""
    source = struct.pack(">II", 0, 3) if is_expanded else struct.pack(">I", 3)
    head = struct.pack(">I", 1) + source + struct.pack(">I", len(records))
    return item(4 if is_expanded else 2, head + b"".join(records))


def generic_counters(
    index: int, octets_in: int, octets_out: int, *, speed: int = 10**9, status: int = 3
) -> bytes:
    """Return generic interface counters, packets and errors all 0."""
    head = struct.pack(">IIQIIQ", index, 6, speed, 1, status, octets_in)
    return item(1, head + bytes(24) + struct.pack(">Q", octets_out) + bytes(24))


def drop_sample() -> bytes:
    """Return a notice of a dropped packet."""
    return item(5, struct.pack(">IIIIIIII", 1, 0, 3, 0, 3, 0, 258, 0))


def header(
    frame: bytes, *, protocol: int = ETHERNET, frame_octets: int = -1, stripped: int = 4
) -> bytes:
    """Return a sampled_header record of the frame's first octets; the FCS of 4 is stripped."""
    total = len(frame) + stripped if frame_octets < 0 else frame_octets
    head = struct.pack(">IIII", protocol, total, stripped, len(frame))
    return item(1, head + frame)


def sampled_v4(source: str, destination: str, octets: int, *, tos: int = 0) -> bytes:
    """Return a sampled_ipv4 record of UDP from port 53 to 4000."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return item(3, struct.pack(">II", octets, 17) + ends + struct.pack(">IIII", 53, 4000, 0, tos))


def sampled_v6(source: str, destination: str, octets: int, *, priority: int = 0) -> bytes:
    """Return a sampled_ipv6 record of UDP from port 53 to 4000."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    tail = struct.pack(">IIII", 53, 4000, 0, priority)
    return item(4, struct.pack(">II", octets, 17) + ends + tail)


def gateway(source_as: int, path: Iterable[tuple[int, Sequence[int]]]) -> bytes:
    """Return an extended_gateway record; path is segments of (1 set or 2 sequence, numbers)."""
    segments = [struct.pack(f">II{len(n)}I", kind, len(n), *n) for kind, n in path]
    head = address("192.0.2.254") + struct.pack(">IIII", 64_500, source_as, 64_502, len(segments))
    return item(1003, head + b"".join(segments) + struct.pack(">III", 1, 4_000_000, 100))


def nat(source: str, destination: str) -> bytes:
    """Return an extended_nat record."""
    return item(1007, address(source) + address(destination))


def nat_ports(source: int, destination: int) -> bytes:
    """Return an extended_nat_port record."""
    return item(1020, struct.pack(">II", source, destination))


def switch(vlan: int) -> bytes:
    """Return an extended_switch record."""
    return item(1001, struct.pack(">IIII", vlan, 0, vlan, 0))


def ethernet(ether_type: int, payload: bytes, *, tags: Iterable[tuple[int, int]] = ()) -> bytes:
    """Return an Ethernet frame; tags are (EtherType of the tag, VLAN), outermost first."""
    out = bytes.fromhex("020000000001020000000002")
    for kind, vlan in tags:
        out += struct.pack(">HH", kind, vlan)
    return out + struct.pack(">H", ether_type) + payload


def snap(ether_type: int, payload: bytes) -> bytes:
    """Return an IEEE 802.3 frame with LLC and SNAP."""
    body = bytes.fromhex("aaaa03000000") + struct.pack(">H", ether_type) + payload
    return bytes.fromhex("020000000001020000000002") + struct.pack(">H", len(body)) + body


def labels(numbers: Sequence[int], payload: bytes) -> bytes:
    """Return an MPLS label stack over a payload."""
    last = len(numbers) - 1
    stack = (struct.pack(">I", n << 12 | (i == last) << 8 | 64) for i, n in enumerate(numbers))
    return b"".join(stack) + payload


def pppoe(ppp_protocol: int, payload: bytes) -> bytes:
    """Return a PPPoE session packet."""
    return struct.pack(">BBHHH", 0x11, 0, 7, len(payload) + 2, ppp_protocol) + payload


def ipv4(
    source: str,
    destination: str,
    payload: bytes = b"",
    *,
    protocol: int = 17,
    total: int = -1,
    fragment: int = 0,
    options: bytes = b"",
    tos: int = 0,
) -> bytes:
    """Return an IPv4 packet; total lies where it is given."""
    words = 5 + len(options) // 4
    length = words * 4 + len(payload) if total < 0 else total
    head = struct.pack(">BBHHHBBH", 0x40 | words, tos, length, 7, fragment, 64, protocol, 0)
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return head + ends + options + payload


def ipv6(
    source: str,
    destination: str,
    payload: bytes = b"",
    *,
    following: int = 17,
    length: int = -1,
    traffic_class: int = 0,
) -> bytes:
    """Return an IPv6 packet; length (of the payload) lies where it is given."""
    octets = len(payload) if length < 0 else length
    head = struct.pack(">IHBB", 6 << 28 | traffic_class << 20, octets, following, 64)
    return (
        head
        + ipaddress.ip_address(source).packed
        + ipaddress.ip_address(destination).packed
        + payload
    )


def extension(following: int, octets: int = 8) -> bytes:
    """Return an IPv6 options header of so many octets."""
    return struct.pack(">BB", following, octets // 8 - 1) + bytes(octets - 2)


def ports(source: int, destination: int, octets: int = 100) -> bytes:
    """Return octets that begin with two ports."""
    return struct.pack(">HH", source, destination) + bytes(octets - 4)
