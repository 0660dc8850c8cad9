"""Datagrams out of captures: every link layer, fragments in any order, files that end early."""

from __future__ import annotations

import itertools
import random
import struct

import pytest

from collectors.captures import CaptureError, raw_datagrams, read_capture, split_messages
from tests.collectors.netflow import exports as x

PAYLOAD = x.v9([x.template(256, x.BASIC)])
AT_MS = 1_700_000_000_123

V4_SOURCE, V4_TARGET = "192.0.2.1", "192.0.2.2"
V6_SOURCE = bytes.fromhex("20010db8000000000000000000000001")
V6_TARGET = bytes.fromhex("20010db8000000000000000000000002")


def udp(payload: bytes) -> bytes:
    return struct.pack(">HHHH", 50_000, 2055, 8 + len(payload), 0) + payload


def v4(body: bytes, *, protocol: int = 17, fragment: int = 0, options: bytes = b"") -> bytes:
    header = 20 + len(options)
    return (
        struct.pack(">BBHHHBBH", 0x40 | header // 4, 0, header + len(body), 7, fragment, 64,
                    protocol, 0)
        + x.v4(V4_SOURCE).to_bytes(4, "big") + x.v4(V4_TARGET).to_bytes(4, "big")
        + options + body
    )  # fmt: skip


def v6(body: bytes, *, following: int = 17) -> bytes:
    return struct.pack(">IHBB", 0x60000000, len(body), following, 64) + V6_SOURCE + V6_TARGET + body


def pcap(frames: list[bytes], link: int = 1, *, order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    out = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65_535, link)
    fraction = 123_000 if magic == 0xA1B2C3D4 else 123_000_000
    for frame in frames:
        out += struct.pack(f"{order}IIII", 1_700_000_000, fraction, len(frame), len(frame)) + frame
    return out


def pcapng(frames: list[bytes], link: int = 1, *, order: str = "<", nanoseconds: bool) -> bytes:
    def blockof(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        length = 12 + len(body)
        return struct.pack(f"{order}II", kind, length) + body + struct.pack(f"{order}I", length)

    resolution = struct.pack(f"{order}HHB3xHH", 9, 1, 9, 0, 0) if nanoseconds else b""
    out = blockof(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    out += blockof(1, struct.pack(f"{order}HHI", link, 0, 65_535) + resolution)
    ticks = AT_MS * (1_000_000 if nanoseconds else 1_000)
    for frame in frames:
        head = struct.pack(f"{order}IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, *[len(frame)] * 2)
        out += blockof(6, head + frame)
    return out + blockof(5, bytes(12))


MACS = bytes(12)
FRAMES = {
    "ethernet": (1, MACS + b"\x08\x00"),
    "vlan": (1, MACS + b"\x81\x00\x00\x05\x08\x00"),
    "qinq": (1, MACS + b"\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00"),
    "cooked v1": (113, bytes(14) + b"\x08\x00"),
    "cooked v2": (276, b"\x08\x00" + bytes(18)),
    "raw": (101, b""),
    "raw IPv4": (228, b""),
    "BSD loopback": (0, b"\x02\0\0\0"),
    "OpenBSD loopback": (108, b"\0\0\0\x02"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_link_layer(name: str) -> None:
    link, head = FRAMES[name]
    (found,) = read_capture(pcap([head + v4(udp(PAYLOAD)) + b"\0" * 4], link)).datagrams
    assert found.payload == PAYLOAD
    assert (found.source_port, found.local_port) == (50_000, 2055)
    assert found.source_address == x.mapped(V4_SOURCE)
    assert found.received_at == AT_MS


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_pcap_in_both_byte_orders_and_resolutions(order: str, magic: int) -> None:
    frame = MACS + b"\x86\xdd" + v6(udp(PAYLOAD))
    (found,) = read_capture(pcap([frame], order=order, magic=magic)).datagrams
    assert (found.payload, found.received_at) == (PAYLOAD, AT_MS)
    assert found.source_address == V6_SOURCE


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_pcapng_in_both_byte_orders_and_resolutions(order: str, nanoseconds: bool) -> None:
    data = pcapng([MACS + b"\x08\x00" + v4(udp(PAYLOAD))], order=order, nanoseconds=nanoseconds)
    (found,) = read_capture(data).datagrams
    assert (found.payload, found.received_at) == (PAYLOAD, AT_MS)


def _v4_fragments(payload: bytes) -> list[bytes]:
    whole = udp(payload)
    cuts = [*range(0, len(whole), 64), len(whole)]
    return [
        MACS + b"\x08\x00"
        + v4(whole[a:b], fragment=a // 8 | (0x2000 if b < len(whole) else 0), options=bytes(4))
        for a, b in itertools.pairwise(cuts)
    ]  # fmt: skip


def _v6_fragments(payload: bytes) -> list[bytes]:
    whole = udp(payload)
    cuts = [*range(0, len(whole), 64), len(whole)]
    return [
        MACS + b"\x86\xdd"
        + v6(
            struct.pack(">BBBB", 44, 0, 0, 0) + bytes(4)
            + struct.pack(">BBHI", 17, 0, a | (b < len(whole)), 99) + whole[a:b],
            following=60,
        )
        for a, b in itertools.pairwise(cuts)
    ]  # fmt: skip


@pytest.mark.parametrize("fragments", [_v4_fragments, _v6_fragments])
def test_fragments_in_any_order_and_twice(fragments: object) -> None:
    payload = bytes(range(256)) * 2
    chance = random.Random(3)
    frames = fragments(payload)  # type: ignore[operator]
    for _ in range(10):
        chance.shuffle(frames)
        found = read_capture(pcap([*frames[:3], frames[0], *frames[3:]]))
        assert [d.payload for d in found.datagrams] == [payload]
    missing = read_capture(pcap(frames[1:]))
    assert missing.datagrams == []
    assert missing.skipped == {"fragment_waiting": len(frames) - 1}


def test_what_is_no_udp_is_skipped_and_what_is_cut_is_counted() -> None:
    ethernet = MACS + b"\x08\x00"
    whole = ethernet + v4(udp(PAYLOAD))
    arp = MACS + b"\x08\x06" + bytes(28)
    tcp = ethernet + v4(bytes(20), protocol=6)
    found = read_capture(pcap([whole, arp, tcp, whole[:-5], whole]))
    assert len(found.datagrams) == 2
    assert found.skipped == {"ip_truncated": 1, "not_ip": 1, "not_udp": 1}


def test_any_truncation_and_any_noise_is_survived() -> None:
    chance = random.Random(5)
    frames = [*_v4_fragments(PAYLOAD * 3), *_v6_fragments(PAYLOAD * 3)]
    for data in (pcap(frames), pcapng(frames, nanoseconds=True)):
        for end in range(4, len(data), 7):
            read_capture(data[:end])
        for _ in range(300):
            noisy = bytearray(data)
            for _ in range(8):
                noisy[chance.randrange(4, len(noisy))] = chance.randrange(256)
            read_capture(bytes(noisy))
    for _ in range(300):
        read_capture(data[:4] + chance.randbytes(chance.randrange(300)))


def test_no_capture() -> None:
    with pytest.raises(CaptureError):
        read_capture(b"GIF89a")


def test_a_stream_of_messages_is_split_and_one_datagram_is_not() -> None:
    five = x.v5([x.v5_record("10.0.0.1", "10.0.0.2", 1)] * 2)
    message = x.ipfix([x.template(256, x.BASIC, version=10)])
    assert split_messages(five * 3) == [five] * 3
    assert split_messages(message + five) == [message, five]
    seven = x.v7([x.v5_record("10.0.0.1", "10.0.0.2", 1)] * 3)
    assert split_messages(seven + five + seven) == [seven, five, seven]
    assert split_messages(PAYLOAD * 2) == [PAYLOAD * 2]
    assert split_messages(message + b"\0\0") == [message + b"\0\0"]
    assert split_messages(b"") == [b""]


def test_raw_datagrams_are_received_when_they_were_exported() -> None:
    for payload in (PAYLOAD, x.ipfix([]), x.v5([x.v5_record("10.0.0.1", "10.0.0.2", 1)])):
        (found,) = raw_datagrams(payload, 2055)
        assert found.received_at == x.EXPORTED_AT * 1000
