"""Messages out of a stream of octets: whole ones, in order, however they are cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.framing import FAULTS, ipfix_octets, radius_octets, take_messages
from tests.collectors.netflow import exports as x


def ipfix(body: bytes = b"") -> bytes:
    return struct.pack(">HHIII", 10, 16 + len(body), 0, 0, 0) + body


def radius(attributes: bytes = b"") -> bytes:
    return struct.pack(">BBH16s", 4, 7, 20 + len(attributes), bytes(16)) + attributes


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(1, 60), max_size=40))
def test_however_a_stream_is_cut_its_messages_are_the_same(
    bodies: list[bytes], cuts: list[int]
) -> None:
    messages = [ipfix(body) for body in bodies]
    stream = b"".join(messages)
    received = bytearray()
    found: list[bytes] = []
    for size in [*cuts, len(stream)]:
        received += stream[:size]
        stream = stream[size:]
        some, fault = take_messages(received, ipfix_octets)
        assert fault == ""
        found += some
    assert found == messages
    assert not received


@pytest.mark.parametrize("octets", [16, 65_535])
def test_the_shortest_and_the_longest_message(octets: int) -> None:
    received = bytearray(ipfix(bytes(octets - 16)))
    assert take_messages(received, ipfix_octets) == ([ipfix(bytes(octets - 16))], "")


@pytest.mark.parametrize("version", [0, 1, 5, 7, 9, 11, 0x0A00])
def test_another_version_is_a_fault_from_its_second_octet_on(version: int) -> None:
    received = bytearray(ipfix() + version.to_bytes(2, "big"))
    assert take_messages(received, ipfix_octets) == ([ipfix()], "version_not_ipfix")


def test_netflow_9_over_tcp_is_no_protocol() -> None:
    assert take_messages(bytearray(x.v9([])), ipfix_octets) == ([], "version_not_ipfix")


@pytest.mark.parametrize("length", [0, 4, 15])
def test_a_length_below_the_header_is_a_fault(length: int) -> None:
    received = bytearray(struct.pack(">HH", 10, length))
    assert take_messages(received, ipfix_octets) == ([], "message_too_short")


@pytest.mark.parametrize(
    ("length", "fault"), [(19, "message_too_short"), (4_097, "message_too_long"), (4_096, "")]
)
def test_a_radius_packet_has_20_to_4096_octets(length: int, fault: str) -> None:
    received = bytearray(radius() + struct.pack(">BBH", 4, 1, length))
    assert take_messages(received, radius_octets) == ([radius()], fault)


@given(st.binary(max_size=200), st.sampled_from([ipfix_octets, radius_octets]))
def test_nothing_that_comes_raises_or_stays_beyond_a_message(octets: bytes, which: object) -> None:
    received = bytearray(octets)
    assert callable(which)
    messages, fault = take_messages(received, which)
    assert b"".join(messages) + received == octets
    assert fault == "" or fault in FAULTS
