"""UDP datagrams out of recorded bytes: pcap, pcapng, one raw datagram, a stream of messages.

Pure: bytes in, `Datagram`s out, in the order of the file. Link layers: Ethernet (with any number
of VLAN tags), Linux cooked v1 and v2, raw IP, BSD loopback; IPv4 and IPv6, fragments put together.
What is no UDP is skipped; what is cut or contradicts itself is counted by reason.
"""

from __future__ import annotations

import collections
import dataclasses
import struct
from collections.abc import Iterator

from collectors.datagrams import Datagram

PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"

_PCAP: dict[bytes, tuple[str, int]] = {
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000),
}
"""Magic -> byte order, and units of the sub-second field in a millisecond."""

_V4_MAPPED = b"\0" * 10 + b"\xff\xff"
_VLAN_TYPES = frozenset((0x8100, 0x88A8, 0x9100, 0x9200))
_EXTENSIONS = frozenset((0, 43, 60, 135, 139, 140))
"""IPv6 extension headers whose second octet is a length in 8 octets (RFC 8200 §4, RFC 7045)."""

SFLOW_BEGINNING = b"\0\0\0\x05"
"""The version of sFlow v5, 32 bits; NetFlow's has 16, and is never 0."""

FRAGMENTS_MAX = 4_096
"""Most packets that wait for their missing fragments; the oldest go first."""


class CaptureError(ValueError):
    """The bytes are no capture of a kind that is read here."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame: link type (LINKTYPE_*), ms since 1970, octets, and whether it is cut."""

    link_type: int
    received_at: int
    octets: bytes
    is_cut: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Capture:
    """What a file held: datagrams in order, and what was skipped, by reason."""

    datagrams: list[Datagram]
    skipped: dict[str, int]


def is_capture(data: bytes) -> bool:
    """Return whether the bytes begin like a pcap or pcapng file."""
    return data[:4] in _PCAP or data[:4] == PCAPNG_MAGIC


def read_capture(data: bytes) -> Capture:
    """Return the UDP datagrams of a pcap or pcapng file.

    A datagram's source_address and source_port are the packet's, local_port is its destination
    port. Raises CaptureError where the file is neither; a file that ends early is read to there.
    """
    if not is_capture(data):
        raise CaptureError("neither pcap nor pcapng: unknown magic number")
    frames = _pcapng_frames(data) if data[:4] == PCAPNG_MAGIC else _pcap_frames(data)
    skipped: collections.Counter[str] = collections.Counter()
    reassembly = _Reassembly()
    datagrams: list[Datagram] = []
    for frame in frames:
        packet = _network_packet(frame)
        if packet is None:
            skipped["not_ip"] += 1
            continue
        found = _datagram(packet, frame.received_at, reassembly)
        if isinstance(found, Datagram):
            datagrams.append(found)
        else:
            skipped["frame_cut" if frame.is_cut and found != "not_udp" else found] += 1
    skipped["fragment_waiting"] -= reassembly.completed_fragments
    return Capture(datagrams, {k: v for k, v in sorted(skipped.items()) if v > 0})


def _pcap_frames(data: bytes) -> Iterator[Frame]:
    """Yield the frames of a pcap file."""
    order, units = _PCAP[data[:4]]
    if len(data) < 24:
        return
    link_type = struct.unpack_from(f"{order}I", data, 20)[0] & 0xFFFF
    record = struct.Struct(f"{order}IIII")
    position = 24
    while position + 16 <= len(data):
        seconds, fraction, captured, length = record.unpack_from(data, position)
        octets = data[position + 16 : position + 16 + captured]
        is_cut = len(octets) < length
        yield Frame(link_type, seconds * 1000 + fraction // units, octets, is_cut)
        position += 16 + captured


def _pcapng_frames(data: bytes) -> Iterator[Frame]:
    """Yield the frames of a pcapng file: enhanced, simple and obsolete packet blocks."""
    order = "<"
    interfaces: list[tuple[int, float, int]] = []
    position = 0
    while position + 12 <= len(data):
        if data[position : position + 4] == PCAPNG_MAGIC:
            order = "<" if data[position + 8 : position + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, length = struct.unpack_from(f"{order}II", data, position)
        if length < 12 or length % 4:
            return
        body = data[position + 8 : position + length - 4]
        position += length
        if kind == 1 and len(body) >= 8:
            interfaces.append(_interface(order, body))
        elif kind in (2, 6) and len(body) >= 20:
            head = f"{order}HHIIII" if kind == 2 else f"{order}IIIII"
            number, *_, high, low, captured, original = struct.unpack_from(head, body)
            if number >= len(interfaces):
                continue
            link_type, per_ms, offset = interfaces[number]
            received_at = int((high << 32 | low) / per_ms) + offset
            octets = body[20 : 20 + captured]
            yield Frame(link_type, received_at, octets, len(octets) < original)
        elif kind == 3 and len(body) >= 4 and interfaces:
            (original,) = struct.unpack_from(f"{order}I", body)
            octets = body[4 : 4 + original]
            yield Frame(interfaces[0][0], 0, octets, len(octets) < original)


def _interface(order: str, body: bytes) -> tuple[int, float, int]:
    """Return an interface's link type, its time units per ms, and its offset in ms."""
    (link_type,) = struct.unpack_from(f"{order}H", body)
    per_ms, offset, position = 1000.0, 0, 8
    while position + 4 <= len(body):
        code, length = struct.unpack_from(f"{order}HH", body, position)
        value = body[position + 4 : position + 4 + length]
        if code == 0:
            break
        if code == 9 and len(value) == 1:
            exponent = value[0] & 0x7F
            per_ms = (2.0 if value[0] & 0x80 else 10.0) ** exponent / 1000
        elif code == 14 and len(value) == 8:
            offset = struct.unpack(f"{order}q", value)[0] * 1000
        position += 4 + (length + 3) // 4 * 4
    return link_type, per_ms, offset


def _network_packet(frame: Frame) -> bytes | None:
    """Return the IP packet of a frame, None where it carries something else."""
    octets, link = frame.octets, frame.link_type
    if link in (12, 14, 101, 228, 229):
        return octets
    if link in (0, 108):
        return octets[4:]
    ether_type, position = {
        1: (octets[12:14], 14),
        113: (octets[14:16], 16),
        276: (octets[0:2], 20),
    }.get(link, (b"", 0))
    kind = int.from_bytes(ether_type, "big")
    while kind in _VLAN_TYPES:
        kind = int.from_bytes(octets[position + 2 : position + 4], "big")
        position += 4
    return octets[position:] if kind in (0x0800, 0x86DD) else None


class _Reassembly:
    """IP fragments that wait for the rest of their packet (RFC 791 §3.2, RFC 8200 §4.5)."""

    def __init__(self) -> None:
        """Start with nothing waiting."""
        self._parts: dict[bytes, dict[int, bytes]] = {}
        self._totals: dict[bytes, int] = {}
        self.completed_fragments = 0

    def add(self, key: bytes, offset: int, is_last: bool, part: bytes) -> bytes | None:
        """Add one fragment; return the whole payload once it is complete."""
        parts = self._parts.setdefault(key, {})
        parts.setdefault(offset, part)
        if is_last:
            self._totals[key] = offset + len(part)
        total = self._totals.get(key, -1)
        whole = bytearray()
        for start in sorted(parts):
            if start > len(whole):
                break
            whole[start:] = (
                parts[start] if start + len(parts[start]) > len(whole) else whole[start:]
            )
        if total < 0 or len(whole) < total:
            while len(self._parts) > FRAGMENTS_MAX:
                oldest = next(iter(self._parts))
                del self._parts[oldest]
                self._totals.pop(oldest, None)
            return None
        self.completed_fragments += len(parts) - 1
        del self._parts[key], self._totals[key]
        return bytes(whole[:total])


def _datagram(packet: bytes, received_at: int, reassembly: _Reassembly) -> Datagram | str:
    """Return the UDP datagram of an IP packet, or why there is none (yet)."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        found = _v4_payload(packet, reassembly)
    elif version == 6:
        found = _v6_payload(packet, reassembly)
    else:
        return "not_ip"
    if isinstance(found, str):
        return found
    source, payload = found
    if len(payload) < 8:
        return "udp_truncated"
    source_port, port, length = struct.unpack_from(">HHH", payload)
    # Length 0 is a jumbogram (RFC 2675 §4) or an offloaded segment: all that is there.
    length = length or len(payload)
    if length < 8 or length > len(payload):
        return "udp_truncated"
    return Datagram(received_at, source, source_port, port, payload[8:length])


def _v4_payload(packet: bytes, reassembly: _Reassembly) -> tuple[bytes, bytes] | str:
    """Return source address and UDP octets of an IPv4 packet, or why not."""
    header = (packet[0] & 15) * 4
    if len(packet) < 20 or header < 20:
        return "ip_truncated"
    total, identification, fragment = struct.unpack_from(">HHH", packet, 2)
    if packet[9] != 17:
        return "not_udp"
    total = total or len(packet)
    if total > len(packet) or total < header:
        return "ip_truncated"
    payload = packet[header:total]
    source = _V4_MAPPED + packet[12:16]
    offset, more = (fragment & 0x1FFF) * 8, fragment & 0x2000
    if offset or more:
        key = packet[12:20] + identification.to_bytes(2, "big")
        whole = reassembly.add(key, offset, not more, payload)
        return (source, whole) if whole is not None else "fragment_waiting"
    return source, payload


def _v6_payload(packet: bytes, reassembly: _Reassembly) -> tuple[bytes, bytes] | str:
    """Return source address and UDP octets of an IPv6 packet, or why not."""
    if len(packet) < 40:
        return "ip_truncated"
    length = int.from_bytes(packet[4:6], "big")
    end = 40 + length if length else len(packet)
    if end > len(packet):
        return "ip_truncated"
    source, kind, position = packet[8:24], packet[6], 40
    while kind in _EXTENSIONS or kind in (44, 51):
        if position + 8 > end:
            return "ip_truncated"
        following = packet[position]
        if kind == 44:
            (word,) = struct.unpack_from(">H", packet, position + 2)
            if word & 0xFFF9:
                if following != 17 and not word & 0xFFF8:
                    return "not_udp"
                key = packet[8:40] + packet[position + 4 : position + 8]
                whole = reassembly.add(key, word & 0xFFF8, not word & 1, packet[position + 8 : end])
                return (source, whole) if whole is not None else "fragment_waiting"
            position += 8
        elif kind == 51:
            position += (packet[position + 1] + 2) * 4
        else:
            position += (packet[position + 1] + 1) * 8
        kind = following
    return (source, packet[position:end]) if kind == 17 else "not_udp"


def split_messages(data: bytes) -> list[bytes]:
    """Return the datagrams of a raw file: several messages where they fill it exactly, else one.

    A NetFlow v5 or v7 datagram tells its length by its record count, an IPFIX message by its length
    field (RFC 5655 §7); NetFlow v1, v9 and sFlow tell none, so such a file is one datagram.
    """
    messages: list[bytes] = []
    position = 0
    while position + 4 <= len(data):
        version, number = struct.unpack_from(">HH", data, position)
        record_octets = {5: 48, 7: 52}.get(version)
        length = 24 + record_octets * number if record_octets else number if version == 10 else 0
        if length < 16 or position + length > len(data):
            break
        messages.append(data[position : position + length])
        position += length
    return messages if position == len(data) and messages else [data]


def raw_datagrams(data: bytes, port: int) -> list[Datagram]:
    """Return a raw file's datagrams, from address 0.0.0.0, received at their export time.

    sFlow tells none: received in 1970.
    """
    out: list[Datagram] = []
    for message in split_messages(data):
        if message[:4] == SFLOW_BEGINNING:
            out.append(Datagram(0, _V4_MAPPED + bytes(4), 0, port, message))
            continue
        at = 4 if message[:2] == b"\0\x0a" else 8
        exported = int.from_bytes(message[at : at + 4], "big") * 1000
        out.append(Datagram(exported, _V4_MAPPED + bytes(4), 0, port, message))
    return out
