"""CoA on the wire: retries are the same octets, and only a true answer counts."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrad.packet import CoAACK, CoANAK, CoAPacket, DisconnectACK

from billing.acting.exchange import CoaAnswer, CoaRequest, CoaTarget, Exchange
from billing.acting.profiles import VENDOR_PROFILES, SpeedProfile, identity_of, speed_attributes
from billing.adapters.coa import (
    UdpCoaTransport,
    decode_answer,
    dictionary,
    encode_request,
)
from tests.billing.acting_world import session

SECRET = "s3cret"


class Nas:
    """A UDP socket on loopback that answers as told."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self.socket.settimeout(2)
        host, port = self.socket.getsockname()[:2]
        self.target = CoaTarget("nas-1", host, port, SECRET, "mikrotik")

    def receive(self) -> tuple[bytes, Any]:
        return self.socket.recvfrom(4096)

    def reply(self, datagram: bytes, code: int, cause: int | None = None) -> bytes:
        request = CoAPacket(packet=datagram, secret=SECRET.encode(), dict=dictionary())
        assert request.VerifyCoARequest()
        reply = request.CreateReply()
        reply.code = code
        if cause:
            reply["Error-Cause"] = cause
        return bytes(reply.ReplyPacket())


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def nas(request: pytest.FixtureRequest) -> Iterator[Nas]:
    try:
        nas = Nas(request.param)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with contextlib.closing(nas.socket):
        yield nas


@pytest.fixture
def transport() -> Iterator[UdpCoaTransport]:
    with contextlib.closing(UdpCoaTransport((60, 60, 60), clock)) as transport:
        yield transport


def clock() -> int:
    return time.monotonic_ns() // 1_000_000


def throttle(target: CoaTarget, command_id: str = "c1", kind: str = "coa") -> CoaRequest:
    profile = VENDOR_PROFILES["mikrotik"]
    attributes = identity_of(profile, session())
    attributes += speed_attributes(profile, SpeedProfile("slow", 1_000_000, 2_000_000))
    return CoaRequest(command_id, kind, target, attributes)


def first_answer(transport: UdpCoaTransport) -> CoaAnswer:
    for _ in range(100):
        if answers := transport.poll(20):
            return answers[0]
    pytest.fail("neither answer nor silence")


def test_an_ack_is_taken(nas: Nas, transport: UdpCoaTransport) -> None:
    transport.send([throttle(nas.target)])
    datagram, source = nas.receive()
    nas.socket.sendto(nas.reply(datagram, CoAACK), source)
    answer = first_answer(transport)
    assert (answer.command_id, answer.is_ack, answer.error_cause) == ("c1", True, None)


def test_a_nak_brings_its_cause(nas: Nas, transport: UdpCoaTransport) -> None:
    transport.send([throttle(nas.target)])
    datagram, source = nas.receive()
    nas.socket.sendto(nas.reply(datagram, CoANAK, 503), source)
    answer = first_answer(transport)
    assert (answer.is_answered, answer.is_ack, answer.error_cause) == (True, False, 503)


def test_a_retransmission_is_the_same_octets_from_the_same_port(
    nas: Nas, transport: UdpCoaTransport
) -> None:
    transport.send([throttle(nas.target)])
    answer = first_answer(transport)
    assert (answer.is_answered, answer.transmissions) == (False, 3)
    assert len({nas.receive() for _ in range(3)}) == 1
    assert transport.retransmissions == 2


def test_an_answer_that_is_not_for_us_is_counted_and_ignored(
    nas: Nas, transport: UdpCoaTransport
) -> None:
    transport.send([throttle(nas.target)])
    datagram, source = nas.receive()
    true = nas.reply(datagram, CoAACK)
    false = [
        b"",
        true[:19],
        true[:1] + bytes([true[1] ^ 1]) + true[2:],  # another Identifier
        true[:4] + bytes(16),  # no authenticator
        nas.reply(datagram, DisconnectACK),  # the answer to another kind of request
        datagram,  # our own request, reflected
    ]
    for forged in false:
        nas.socket.sendto(forged, source)
    nas.socket.sendto(true, source)
    assert first_answer(transport).is_ack
    assert transport.refused_answers == len(false)


def test_a_stranger_with_the_right_octets_is_ignored(nas: Nas, transport: UdpCoaTransport) -> None:
    transport.send([throttle(nas.target)])
    datagram, source = nas.receive()
    with contextlib.closing(Nas(nas.socket.family).socket) as stranger:
        stranger.sendto(nas.reply(datagram, CoAACK), source)
        assert not first_answer(transport).is_answered


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_no_octets_can_break_the_decoder(tail: bytes) -> None:
    target = CoaTarget("nas-1", "127.0.0.1", 3799, SECRET, "mikrotik")
    _, sent = encode_request(throttle(target), 7, 0)
    head = bytes([CoAACK, 7]) + (20 + len(tail)).to_bytes(2, "big") + bytes(16)
    assert decode_answer(sent, head + tail) is None
    assert decode_answer(sent, tail) is None


def test_identifiers_go_round_and_256_may_wait() -> None:
    exchange = Exchange((10,))
    target = CoaTarget("nas-1", "127.0.0.1", 3799, SECRET, "mikrotik")
    for n in range(256):
        identifier = exchange.free_identifier(target.endpoint)
        assert identifier == n
        exchange.begin(throttle(target, f"c{n}"), identifier, b"", None, 0)
    assert exchange.free_identifier(target.endpoint) is None
    assert exchange.free_identifier(("127.0.0.1", 1700)) == 0, "another port has its own 256"
    waiting = exchange.find(target.endpoint, 3)
    assert waiting
    exchange.finish(waiting)
    assert exchange.free_identifier(target.endpoint) == 3
    again, silent = exchange.overdue(10)
    assert (again, len(silent), len(exchange)) == ([], 255, 0)


def test_a_refused_send_leaves_nothing_in_flight(transport: UdpCoaTransport) -> None:
    unreachable = CoaTarget("nas-1", "not an address", 3799, SECRET, "mikrotik")
    assert transport.send([throttle(unreachable)]) == {}
    assert transport.poll(0) == []


def test_int32_vendors_are_capped_and_kilobits_are_floored() -> None:
    fast = SpeedProfile("fast", 10_000_000_000, 2_500_999)
    assert speed_attributes(VENDOR_PROFILES["huawei"], fast) == (
        ("Huawei-Input-Average-Rate", "2147483647"),
        ("Huawei-Output-Average-Rate", "2500999"),
    )
    assert speed_attributes(VENDOR_PROFILES["accel-ppp"], fast) == (("Filter-Id", "2500/10000000"),)


@pytest.mark.parametrize("name", sorted(VENDOR_PROFILES))
def test_every_profile_encodes(name: str) -> None:
    profile = VENDOR_PROFILES[name]
    attributes = identity_of(profile, session())
    assert attributes, "a request without identification would concern every session"
    attributes += speed_attributes(profile, SpeedProfile("slow", 1_000_000, 2_000_000))
    target = CoaTarget("nas-1", "127.0.0.1", 3799, SECRET, name)
    octets, _ = encode_request(CoaRequest("c", "coa", target, attributes), 1, 0)
    assert octets[0] == 43
    assert octets[20] == 80, "Message-Authenticator comes first"
