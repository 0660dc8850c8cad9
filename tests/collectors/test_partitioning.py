"""A block split over partitions: nothing lost, order kept, together what belongs together."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.config import MESSAGE_OCTETS_LEAST
from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams
from collectors.partitioning import (
    EVERY,
    packet_partition,
    split_flows,
    split_packets,
)
from collectors.radius.log_codec import AccountingPacket, decode_packets, encode_packets
from tests.collectors.radius.packets import INTERIM, OFF, ON, START, STOP, logged, request

LARGE = 8_388_608
PARTITIONS = st.integers(1, 64)
ADDRESSES = [bytes(10) + b"\xff\xff" + bytes((192, 0, 2, host)) for host in range(12)]


def datagrams_of(body: bytes) -> list[Datagram]:
    block = decode_datagrams(body)
    return [block.datagram(index) for index in range(len(block))]


@st.composite
def flow_blocks(draw: st.DrawFn) -> list[Datagram]:
    chosen = draw(st.lists(st.tuples(st.sampled_from(ADDRESSES), st.binary(max_size=40))))
    return [
        Datagram(1_000 + number, address, 40_000 + number, 2_055, payload)
        for number, (address, payload) in enumerate(chosen)
    ]


@given(flow_blocks(), PARTITIONS)
def test_every_datagram_is_in_its_exporters_partition_once_and_in_order(
    datagrams: list[Datagram], partitions: int
) -> None:
    parts = split_flows(encode_datagrams(datagrams), partitions, LARGE)
    assert [partition for partition, _ in parts] == sorted({p for p, _ in parts})
    by_partition = {partition: datagrams_of(body) for partition, body in parts}
    expected: dict[int, list[Datagram]] = {}
    for datagram in datagrams:
        partition = zlib.crc32(datagram.source_address) % partitions
        expected.setdefault(partition, []).append(datagram)
    if partitions > 1 or datagrams:
        assert {p: some for p, some in by_partition.items() if some} == expected
    assert parts == split_flows(encode_datagrams(datagrams), partitions, LARGE)


def test_a_block_that_goes_to_one_partition_is_not_copied() -> None:
    body = encode_datagrams([Datagram(1, ADDRESSES[0], 1, 2, bytes(9)) for _ in range(3)])
    ((partition, same),) = split_flows(body, 64, LARGE)
    assert same is body
    assert partition == zlib.crc32(ADDRESSES[0]) % 64
    mixed = encode_datagrams([Datagram(1, address, 1, 2, b"x") for address in ADDRESSES])
    assert split_flows(mixed, 1, LARGE)[0][1] is mixed


@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize("size", [0, 1_400, 65_535])
def test_no_part_of_a_flow_block_exceeds_the_message(partitions: int, size: int) -> None:
    datagrams = [
        Datagram(number, ADDRESSES[number % 5], 1, 2, bytes([number % 251]) * size)
        for number in range(20_000 if size < 65_535 else 40)
    ]
    parts = split_flows(encode_datagrams(datagrams), partitions, MESSAGE_OCTETS_LEAST)
    assert max(len(body) for _, body in parts) <= MESSAGE_OCTETS_LEAST
    assert sum(len(decode_datagrams(body)) for _, body in parts) == len(datagrams)
    assert len(parts) > len({partition for partition, _ in parts})
    for address in ADDRESSES[:5]:
        came = [d for _, body in parts for d in datagrams_of(body) if d.source_address == address]
        assert came == [d for d in datagrams if d.source_address == address]


def test_a_body_that_is_no_flow_block_is_told() -> None:
    with pytest.raises(ValueError, match="no datagram block"):
        split_flows(bytes(40), 4, LARGE)


def packets(number: int, statuses: list[int]) -> list[AccountingPacket]:
    return [
        logged(
            request(status=status, session_id=b"S%04d" % (at % number), identifier=at % 256),
            1_000 + at,
            f"bng{at % 3}",
        )
        for at, status in enumerate(statuses)
    ]


@settings(max_examples=60)
@given(
    st.integers(1, 20),
    st.lists(st.sampled_from([START, INTERIM, STOP, ON, OFF]), max_size=40),
    PARTITIONS,
)
def test_every_packet_is_in_its_sessions_partition_and_a_nas_restart_in_all(
    sessions: int, statuses: list[int], partitions: int
) -> None:
    block = packets(sessions, statuses)
    parts = split_packets(encode_packets(block), partitions, LARGE)
    expected: dict[int, list[AccountingPacket]] = {}
    for at, packet in enumerate(block):
        key = packet.nas_id.encode() + b"\x1fS%04d" % (at % sessions)
        own = zlib.crc32(key) % partitions
        for partition in range(partitions) if statuses[at] in (ON, OFF) else (own,):
            expected.setdefault(partition, []).append(packet)
    assert {p: decode_packets(body) for p, body in parts if decode_packets(body)} == expected


def test_one_partition_gets_the_same_body() -> None:
    body = encode_packets(packets(3, [START, ON, STOP]))
    assert split_packets(body, 1, LARGE)[0][1] is body


def test_a_marker_without_session_id_goes_everywhere() -> None:
    marker = logged(request(status=ON, session_id=b""))
    assert packet_partition(marker, 8) == EVERY
    parts = split_packets(encode_packets([marker]), 8, LARGE)
    assert [partition for partition, _ in parts] == list(range(8))


def test_a_session_id_with_the_c_terminator_is_the_same_session() -> None:
    plain = logged(request(session_id=b"5A001"))
    counted_in = logged(request(session_id=b"5A001\0"))
    assert packet_partition(plain, 997) == packet_partition(counted_in, 997)


def test_the_nas_is_part_of_the_session() -> None:
    one, other = (logged(request(), nas_id=name) for name in ("bng1", "bng2"))
    assert packet_partition(one, 9_973) != packet_partition(other, 9_973)


@pytest.mark.parametrize("partitions", [1, 2])
def test_no_part_of_an_accounting_block_exceeds_the_message(partitions: int) -> None:
    filler = [(25, bytes(253))] * 15
    block = [
        logged(request(*filler, session_id=b"S%04d" % number, identifier=number % 256))
        for number in range(200)
    ]
    parts = split_packets(encode_packets(block), partitions, MESSAGE_OCTETS_LEAST)
    assert max(len(body) for _, body in parts) <= MESSAGE_OCTETS_LEAST
    assert len(parts) > partitions
    came = [packet for _, body in parts for packet in decode_packets(body)]
    assert sorted(came, key=lambda p: p.packet) == sorted(block, key=lambda p: p.packet)
