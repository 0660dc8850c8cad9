"""Ordinary traffic in capture files: written by a seed, or read packet by packet with struct.

Nothing of Flowrate is used here: what it sums up is what an exporter's and our numbers are held
against. Octets are those of the IP packet, as flow export counts them.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import random
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ETHERNET, LINUX_COOKED = 1, 113
_LINK_OCTETS = {ETHERNET: 14, LINUX_COOKED: 16}
_IPV4, _IPV6, _VLAN = 0x0800, 0x86DD, 0x8100
_TCP, _UDP = 6, 17
_HEADER = struct.Struct("<IHHiIII")
_PACKET = struct.Struct("<IIII")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """Who sent how many octets of IP to whom."""

    source: Address
    destination: Address
    octets: int


@dataclasses.dataclass(frozen=True, slots=True)
class Moved:
    """Octets by own address: sent (up) and received (down)."""

    up: Counter[Address]
    down: Counter[Address]


def read_packets(capture: Path) -> list[Packet]:
    """Return the IP packets of a pcap (Ethernet or Linux cooked), VLAN tags taken off.

    Octets are those of the wire behind the link header: equal to the IP length unless a frame is
    padded or, in one fuzzed capture, longer than an IP packet can be.
    """
    data = capture.read_bytes()
    order = "<" if data[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    link = struct.unpack_from(order + "I", data, 20)[0]
    packets, at = [], _HEADER.size
    while at + _PACKET.size <= len(data):
        _, _, captured, length = struct.unpack_from(order + "4I", data, at)
        at += _PACKET.size
        frame, at = data[at : at + captured], at + captured
        packets.append(_parse_frame(frame, length, _LINK_OCTETS[link]))
    return packets


def _parse_frame(frame: bytes, length: int, header: int) -> Packet:
    while int.from_bytes(frame[header - 2 : header], "big") == _VLAN:
        header += 4
    kind = int.from_bytes(frame[header - 2 : header], "big")
    ip = frame[header:]
    ends: tuple[bytes, bytes]
    if kind == _IPV4:
        ends = ip[12:16], ip[16:20]
    else:
        assert kind == _IPV6, f"ethertype {kind:#x}"
        ends = ip[8:24], ip[24:40]
    source, destination = map(ipaddress.ip_address, ends)
    return Packet(source, destination, length - header)


def moved_by(packets: Iterable[Packet], own: Iterable[Address]) -> Moved:
    """Return what each own address sent and received."""
    mine = set(own)
    up: Counter[Address] = Counter()
    down: Counter[Address] = Counter()
    for packet in packets:
        if packet.source in mine:
            up[packet.source] += packet.octets
        if packet.destination in mine:
            down[packet.destination] += packet.octets
    return Moved(up, down)


def write_traffic(
    capture: Path, lines: Iterable[Address], *, seed: int, from_ms: int, until_ms: int
) -> None:
    """Write conversations of the lines' addresses with servers elsewhere, TCP and UDP, as a pcap.

    Packets lie in order of time between two instants (ms); a conversation may last all of it.
    """
    chance = random.Random(seed)
    packets = [
        timed
        for line in lines
        for _ in range(chance.randint(1, 4))
        for timed in _conversation(line, chance, from_ms, until_ms)
    ]
    packets.sort()
    with capture.open("wb") as out:
        out.write(_HEADER.pack(0xA1B2C3D4, 2, 4, 0, 0, 65_535, ETHERNET))
        for at_ms, frame in packets:
            out.write(_PACKET.pack(at_ms // 1000, at_ms % 1000 * 1000, len(frame), len(frame)))
            out.write(frame)


def _conversation(
    line: Address, chance: random.Random, from_ms: int, until_ms: int
) -> Iterator[tuple[int, bytes]]:
    if line.version == 4:
        server: Address = ipaddress.IPv4Address("198.51.100.0") + chance.randrange(256)
    else:
        server = ipaddress.IPv6Address("2001:db8:ffff::") + chance.randrange(1 << 16)
    protocol = chance.choice((_TCP, _UDP))
    ports = chance.randrange(1024, 65_536), chance.choice((53, 80, 443))
    begin = chance.randrange(from_ms, until_ms)
    end = chance.randint(begin, until_ms)
    for _ in range(chance.randint(1, 12)):
        at_ms = chance.randint(begin, end)
        yield at_ms, _frame((line, server), protocol, ports, bytes(chance.randrange(20, 400)))
        answer = bytes(chance.randrange(20, 1_400))
        yield at_ms, _frame((server, line), protocol, ports[::-1], answer)


def _frame(
    ends: tuple[Address, Address], protocol: int, ports: tuple[int, int], content: bytes
) -> bytes:
    source, destination = ends
    if protocol == _UDP:
        segment = struct.pack(">HHHH", *ports, 8 + len(content), 0) + content
    else:
        segment = struct.pack(">HHIIBBHHH", *ports, 1, 1, 0x50, 0x10, 8192, 0, 0) + content
    if source.version == 4:
        first = (0x45, 0, 20 + len(segment), 1, 0, 64, protocol, 0)
        header = struct.pack(">BBHHHBBH", *first) + source.packed + destination.packed
        kind = _IPV4
    else:
        header = struct.pack(">IHBB", 6 << 28, len(segment), protocol, 64)
        header += source.packed + destination.packed
        kind = _IPV6
    # Long enough that Ethernet adds no padding: 20 octets of content are the least.
    return bytes(12) + struct.pack(">H", kind) + header + segment
