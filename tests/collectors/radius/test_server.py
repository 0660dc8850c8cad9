"""The server's judgement: accept, answer again, or stay silent."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.config import NasConfig, RadiusConfig
from collectors.radius.packet import (
    Attribute,
    decode_packet,
    encode_packet,
    message_authenticator,
    sign_request,
    verify_response,
)
from collectors.radius.server import REFUSALS, Accepted, AccountingServer, Duplicate, Refused
from tests.collectors.radius.packets import (
    NAS_ADDRESS,
    RECEIVED_AT,
    SECRET,
    STOP,
    integer,
    request,
)

NAS = NasConfig("bng1", "192.0.2.1", "testing123")
STRICT = NasConfig("bng2", "192.0.2.2", "testing123", require_message_authenticator=True)
STRICT_ADDRESS = NAS_ADDRESS[:15] + b"\x02"
PORT = 40_000


def server(**limits: Any) -> AccountingServer:
    return AccountingServer(RadiusConfig(clients=(NAS, STRICT), **limits))


def accept(judge: AccountingServer, datagram: bytes, at: int = RECEIVED_AT) -> Accepted:
    judged = judge.handle(datagram, NAS_ADDRESS, PORT, at)
    assert isinstance(judged, Accepted)
    return judged


def test_an_accepted_request_is_logged_as_received_without_padding() -> None:
    datagram = request()
    packet = accept(server(), datagram + b"padding").packet
    assert packet is not None
    assert (packet.packet, packet.nas_id, packet.received_at) == (datagram, "bng1", RECEIVED_AT)
    assert (packet.source_address, packet.source_port) == (NAS_ADDRESS, PORT)


def test_the_answer_fits_the_request_and_echoes_proxy_state_in_order() -> None:
    judge = server()
    datagram = request((33, b"first"), (1, b"bob"), (33, b"second"))
    answer = judge.release(accept(judge, datagram))
    decoded = decode_packet(answer)
    assert decoded.code == 5
    assert decoded.attributes == ((33, b"first"), (33, b"second"))
    assert verify_response(answer, decoded, decode_packet(datagram), SECRET) == ""


@pytest.mark.parametrize("counters", [(), (integer(46, 0), integer(42, 0), integer(43, 0))])
def test_a_stop_of_zero_length_is_recorded_and_answered(counters: tuple[Attribute, ...]) -> None:
    judge = server()
    accepted = accept(judge, request(*counters, integer(49, 2), status=STOP))
    assert accepted.packet is not None
    assert decode_packet(judge.release(accepted)).code == 5


def test_an_accounting_response_carries_no_message_authenticator() -> None:
    # No RFC says how to compute it there, and FreeRADIUS drops an answer computed as pyrad does.
    judge = server()
    answer = judge.release(accept(judge, request(with_message_authenticator=True)))
    assert decode_packet(answer).attributes == ()


def test_a_retransmission_waits_until_the_first_is_durable() -> None:
    judge = server()
    first = accept(judge, request())
    assert judge.handle(request(), NAS_ADDRESS, PORT, RECEIVED_AT + 1) == Duplicate(None)
    answer = judge.release(first)
    assert judge.handle(request(), NAS_ADDRESS, PORT, RECEIVED_AT + 2) == Duplicate(answer)


def test_a_request_the_disk_refused_is_new_when_it_comes_again() -> None:
    judge = server()
    judge.abandon(accept(judge, request()))
    assert accept(judge, request()).packet is not None


def test_an_answer_is_kept_for_a_time() -> None:
    judge = server(duplicate_cache_seconds=30)
    judge.release(accept(judge, request()))
    late = RECEIVED_AT + 29_999
    assert isinstance(judge.handle(request(), NAS_ADDRESS, PORT, late), Duplicate)
    assert accept(judge, request(), RECEIVED_AT + 30_000).packet is not None


def test_at_most_so_many_answers_are_kept() -> None:
    judge = server(duplicate_cache_entries=3)
    for identifier in range(10):
        judge.release(accept(judge, request(identifier=identifier)))
    assert judge.cached == 3
    assert isinstance(accept(judge, request(identifier=0)), Accepted)
    again = judge.handle(request(identifier=9), NAS_ADDRESS, PORT, RECEIVED_AT)
    assert isinstance(again, Duplicate)


def test_the_same_octets_from_another_port_are_another_request() -> None:
    judge = server()
    judge.release(accept(judge, request()))
    assert isinstance(judge.handle(request(), NAS_ADDRESS, PORT + 1, RECEIVED_AT), Accepted)


def test_a_changed_delay_is_a_new_request() -> None:
    # RFC 2866 §5.2: a changed Acct-Delay-Time changes the authenticator; sessions knows it is one.
    judge = server()
    judge.release(accept(judge, request(integer(41, 0))))
    assert accept(judge, request(integer(41, 2))).packet is not None


def unsigned(code: int, *attributes: Attribute) -> bytes:
    return encode_packet(code, 1, bytes(16), attributes)


@pytest.mark.parametrize(
    ("datagram", "source", "reason"),
    [
        (request(), NAS_ADDRESS[:15] + b"\x63", "unknown_nas"),
        (b"\xff" * 40, NAS_ADDRESS[:15] + b"\x63", "unknown_nas"),
        (request(secret=b"guess"), NAS_ADDRESS, "wrong_secret"),
        (request()[:-1], NAS_ADDRESS, "length_field_too_large"),
        (unsigned(1, (1, b"bob")), NAS_ADDRESS, "unexpected_code"),
        (unsigned(5), NAS_ADDRESS, "unexpected_code"),
        (request(), STRICT_ADDRESS, "message_authenticator_required"),
        (sign_request(4, 1, [(44, b"x")], SECRET), NAS_ADDRESS, "status_type_missing"),
        (sign_request(4, 1, [(40, b"\1")], SECRET), NAS_ADDRESS, "status_type_missing"),
        (sign_request(4, 1, [integer(40, STOP)], SECRET), NAS_ADDRESS, "session_id_missing"),
        (unsigned(12, (80, bytes(16))), NAS_ADDRESS, "message_authenticator_wrong"),
    ],
)
def test_what_is_not_believed_is_refused_for_its_reason(
    datagram: bytes, source: bytes, reason: str
) -> None:
    judge = server()
    assert judge.handle(datagram, source, PORT, RECEIVED_AT) == Refused(reason)
    assert reason in REFUSALS
    assert judge.cached == 0


def test_a_strict_client_that_signs_is_served() -> None:
    datagram = request(with_message_authenticator=True)
    assert isinstance(server().handle(datagram, STRICT_ADDRESS, PORT, RECEIVED_AT), Accepted)


def test_status_server_is_answered_and_records_nothing() -> None:
    blank = encode_packet(12, 3, b"r" * 16, [(80, bytes(16))])
    datagram = blank[:22] + message_authenticator(blank, b"r" * 16, SECRET)
    judge = server()
    accepted = accept(judge, datagram)
    assert accepted.packet is None
    answer = judge.release(accepted)
    decoded = decode_packet(answer)
    assert decoded.first(80) is not None
    assert verify_response(answer, decoded, decode_packet(datagram), SECRET) == ""
    assert judge.cached == 0
