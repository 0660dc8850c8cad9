"""What is judged at a glance comes out as what is judged attribute by attribute."""

from __future__ import annotations

import random

from collectors.config import NasConfig, RadiusConfig
from collectors.radius.ordinary import LAYOUTS_OF_LENGTH_MAX, OrdinaryRequests
from collectors.radius.packet import sign_request
from collectors.radius.server import Accepted, AccountingServer, Duplicate, Refused
from tests.collectors.radius.packets import (
    NAS_ADDRESS,
    ON,
    RECEIVED_AT,
    SECRET,
    integer,
    request,
)

CONFIG = RadiusConfig(
    clients=(
        NasConfig("bng1", "192.0.2.1", "testing123"),
        NasConfig("bng2", "192.0.2.1", "other", nas_identifier="second"),
        NasConfig("bng3", "192.0.2.3", "testing123", nas_identifier="third"),
        NasConfig("strict", "192.0.2.4", "testing123", require_message_authenticator=True),
        NasConfig("many", "192.0.2.128/25", "testing123"),
    )
)
PORT = 40_000
USER = (1, b"subscriber-17")
NAMED = (32, b"second")


def test_a_layout_is_known_once_it_was_seen() -> None:
    known = OrdinaryRequests()
    assert known.nas_identifier(request(USER, NAMED)) is None
    known.learn(request(USER, NAMED))
    assert known.nas_identifier(request((1, b"subscriber-18"), NAMED)) == b"second"
    known.learn(request(USER))
    assert known.nas_identifier(request(USER)) == b""


def test_what_asks_for_more_than_a_look_has_no_layout() -> None:
    known = OrdinaryRequests()
    odd = (
        request(USER, (33, b"proxy")),
        request(USER, (79, b"eap"), with_message_authenticator=True),
        request(USER, with_message_authenticator=True),
        request(USER, integer(40, 2)),
        request(USER, (44, b"5A002")),
        request(NAMED, NAMED),
        request(USER, status=ON),
        request(USER, session_id=b""),
        request(USER) + b"padding",
    )
    for datagram in odd:
        known.learn(datagram)
        assert known.nas_identifier(datagram) is None


def test_a_session_id_that_begins_with_nul_is_looked_at_more_closely() -> None:
    known = OrdinaryRequests()
    known.learn(request(session_id=b"5A001"))
    assert known.nas_identifier(request(session_id=b"5A002")) == b""
    assert known.nas_identifier(request(session_id=b"\0A002")) is None


def test_so_many_layouts_of_one_length_are_kept() -> None:
    known = OrdinaryRequests()
    layouts = [request((1, b"u" * n), (31, b"c" * (20 - n))) for n in range(1, 9)]
    for datagram in layouts:
        known.learn(datagram)
    found = [known.nas_identifier(datagram) is not None for datagram in layouts]
    assert found == [n < LAYOUTS_OF_LENGTH_MAX for n in range(8)]


def _judge_slowly(server: AccountingServer, datagram: bytes, address: bytes) -> object:
    return server._handle_any(datagram, address, PORT, RECEIVED_AT, None)


def _some(chance: random.Random) -> bytes:
    """An accounting packet, mostly as it should be: of few layouts, often signed rightly."""
    attributes = [
        integer(40, chance.choice((1, 2, 3, 3, 3, 7, 15))),
        (44, chance.choice((b"5A001", b"5A002", b"\0\0\0\0\0", b"\0A001"))),
        (1, b"subscriber-%02d" % chance.randrange(20)),
        *((32, name) for name in chance.choice(((), (b"second",), (b"third",), (b"thirds",)))),
        integer(42, chance.randrange(2**32)),
    ]
    if chance.random() < 0.2:
        attributes.insert(
            chance.randrange(5),
            chance.choice(((33, b"proxy"), (79, b"e"), (80, bytes(16)), integer(40, 2), (44, b""))),
        )
    if chance.random() < 0.1:
        del attributes[chance.randrange(len(attributes))]
    secret = chance.choice((SECRET, SECRET, SECRET, b"other"))
    code = chance.choice((4,) * 12 + (40,))
    packet = bytearray(sign_request(code, chance.randrange(4), attributes, secret))
    if chance.random() < 0.3:
        packet[chance.randrange(len(packet))] ^= 1 << chance.randrange(8)
    if chance.random() < 0.1:
        packet = packet[: chance.randrange(len(packet))] + b"padding"
    return bytes(packet)


def test_a_glance_judges_as_a_closer_look_does() -> None:
    chance = random.Random(7)
    quick, slow = AccountingServer(CONFIG), AccountingServer(CONFIG)
    seen: dict[object, int] = {}
    glances = 0
    for _ in range(30_000):
        datagram = _some(chance)
        address = NAS_ADDRESS[:15] + bytes((chance.choice((1, 1, 3, 4, 9, 200, 201)),))
        glances += quick._ordinary.nas_identifier(datagram) is not None
        judged = quick.handle(datagram, address, PORT, RECEIVED_AT)
        assert judged == _judge_slowly(slow, datagram, address)
        seen[judged.reason if isinstance(judged, Refused) else type(judged)] = 1
        if isinstance(judged, Accepted) and chance.random() < 0.8:
            assert quick.release(judged) == slow.release(judged)
        elif isinstance(judged, Accepted):
            quick.abandon(judged)
            slow.abandon(judged)
    assert quick.cached == slow.cached > 1_000
    assert glances > 5_000
    expected = {Accepted, Duplicate, "unknown_nas", "wrong_secret", "session_id_missing"}
    assert expected | {"message_authenticator_required", "status_type_missing"} <= seen.keys()
