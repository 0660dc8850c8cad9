"""The relay to a second server that is there, slow, away, picky or lying: what is sent when."""

from __future__ import annotations

import dataclasses
import itertools
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collectors.config import RelayConfig
from collectors.radius.packet import (
    ACCOUNTING_RESPONSE,
    decode_packet,
    sign_response,
)
from collectors.radius.relay import Relay, Transmission, sockets_of
from collectors.radius.relay_packets import RelaySetting, relay_request
from tests.collectors.radius.packets import RECEIVED_AT, START, STOP, logged, request

SECRET = b"second-secret"
CONFIG = RelayConfig("server:1813", "second-secret")
SETTING = RelaySetting(SECRET, b"flowrate", False)
NOW = RECEIVED_AT


def relay(**changes: Any) -> Relay:
    return Relay(dataclasses.replace(CONFIG, **changes), SETTING)


def fill(one: Relay, count: int, block: int = 1) -> None:
    """Take so many packets of as many sessions."""
    packets = [logged(request(session_id=b"s%d" % n)) for n in range(count)]
    one.take(block, list(enumerate(packets)))


def respond(sent: Transmission, secret: bytes = SECRET) -> bytes:
    decoded = decode_packet(sent.octets)
    return sign_response(ACCOUNTING_RESPONSE, decoded, [], secret)


def acknowledge(one: Relay, sent: Transmission, now: int) -> str:
    return one.answer(sent.socket, respond(sent), now)


def waits(one: Relay, seconds: int) -> list[tuple[int, Transmission]]:
    """Return (ms since the first, transmission) of a server that answers nothing."""
    found = []
    for now in range(NOW, NOW + seconds * 1000, 50):
        found += [(now - NOW, sent) for sent in one.poll(now)]
    return found


def test_an_acknowledged_packet_is_done() -> None:
    one = relay()
    fill(one, 1)
    (sent,) = one.poll(NOW)
    assert (one.held, one.done()) == (1, [])
    assert acknowledge(one, sent, NOW + 5) == ""
    assert (one.held, one.done(), one.acknowledged, one.due_at is None) == (0, [(1, 0)], 1, False)
    assert one.poll(NOW + 60_000) == []


def test_waits_double_to_their_limit_with_the_same_octets() -> None:
    one = relay(attempt_seconds=1_000)
    fill(one, 1)
    times, sent = zip(*waits(one, 90), strict=True)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    for gap, planned in zip(gaps, [2_000, 4_000, 8_000, 16_000, 16_000], strict=False):
        assert 0.9 * planned - 60 <= gap <= 1.1 * planned + 60
    assert {each.octets for each in sent} == {sent[0].octets}
    assert [each.is_repeated for each in sent[:3]] == [False, True, True]


def test_after_an_attempt_it_is_a_new_request_with_a_greater_delay() -> None:
    one = relay()
    fill(one, 1)
    sent = [each for _, each in waits(one, 70)]
    attempts = list(dict.fromkeys(each.octets for each in sent))
    assert len(attempts) >= 2
    first, second = (decode_packet(each) for each in attempts[:2])
    assert first.identifier != second.identifier
    assert first.first(41) is None
    assert int.from_bytes(second.first(41) or b"", "big") >= 29


def test_a_server_that_is_away_is_asked_with_one_packet_at_a_time() -> None:
    one = relay()
    fill(one, 400)
    found = waits(one, 120)
    late = [at for at, _ in found if at > 60_000]
    assert 0 < len(late) < 60
    assert one.held == 400


def test_more_are_on_their_way_as_the_server_keeps_up() -> None:
    one = relay(window_packets_max=100)
    fill(one, 400)
    batch = one.poll(NOW)
    assert len(batch) < 100
    for _ in range(4):
        for sent in batch:
            acknowledge(one, sent, NOW)
        batch = one.poll(NOW)
    assert len(batch) == 100


def test_packets_of_a_session_go_one_after_the_other() -> None:
    one = relay()
    of_a, of_b = (
        [logged(request(status=status, session_id=name)) for status in (START, STOP)]
        for name in (b"a", b"b")
    )
    one.take(1, list(enumerate([*of_a, *of_b])))
    first = one.poll(NOW)
    assert [decode_packet(sent.octets).first(44) for sent in first] == [b"a", b"b"]
    acknowledge(one, first[0], NOW)
    (second,) = one.poll(NOW)
    assert decode_packet(second.octets).first(40) == STOP.to_bytes(4, "big")


def test_a_lying_answer_is_refused_and_the_packet_sent_again() -> None:
    one = relay()
    fill(one, 1)
    (sent,) = one.poll(NOW)
    assert one.answer(sent.socket, respond(sent, b"another"), NOW) == "wrong_secret"
    assert one.answer(sent.socket, b"\x05", NOW) == "malformed"
    assert one.answer(sent.socket, sent.octets, NOW) == "malformed"
    assert one.answer(sent.socket + 1, respond(sent), NOW) == "unexpected"
    assert (one.done(), one.held) == ([], 1)
    assert one.poll(NOW + 3_000)[0].octets == sent.octets
    assert acknowledge(one, sent, NOW + 3_000) == ""
    assert acknowledge(one, sent, NOW + 3_000) == "unexpected"


def test_a_packet_that_the_server_ignores_is_given_up_and_stops_no_other() -> None:
    one = relay(ignored_transmissions_max=3)
    fill(one, 1)
    (poison,) = one.poll(NOW)
    for at in range(NOW, NOW + 120_000, 500):
        one.take(at, [(0, logged(request(session_id=b"%d" % at)))])
        for sent in one.poll(at):
            if decode_packet(sent.octets).first(33) != decode_packet(poison.octets).first(33):
                acknowledge(one, sent, at)
    assert one.abandoned == 1
    assert (1, 0) in one.done()


def test_nothing_is_given_up_while_the_server_is_away() -> None:
    one = relay(ignored_transmissions_max=1)
    fill(one, 5)
    waits(one, 7_200)
    assert (one.abandoned, one.held) == (0, 5)


def test_what_was_relayed_from_here_is_not_relayed_again() -> None:
    packet = logged(request())
    octets = relay_request(packet, (1, 0), 1, NOW, SETTING)
    one = relay()
    one.take(5, [(0, packet._replace(packet=octets))])
    assert (one.poll(NOW), one.looping, one.done()) == ([], 1, [(5, 0)])


def test_old_blocks_can_be_given_up_wherever_their_packets_are() -> None:
    one = relay(window_packets_max=2)
    same = [logged(request(session_id=b"x", identifier=n)) for n in range(3)]
    one.take(1, list(enumerate(same)))
    fill(one, 3, block=2)
    sent = one.poll(NOW)
    assert len(sent) == 2
    assert one.drop_through(1) == 3
    assert one.held == 3
    assert sorted(one.done()) == [(1, 0), (1, 1), (1, 2)]
    for each in sent:
        acknowledge(one, each, NOW)
    assert one.held == 2


def test_an_identifier_rests_before_it_is_used_again() -> None:
    one = relay(window_packets_max=128)
    slots = []
    for _ in range(40):
        fill(one, 8)
        for sent in one.poll(NOW):
            slots.append((sent.socket, sent.octets[1]))
            acknowledge(one, sent, NOW)
    assert sockets_of(dataclasses.replace(CONFIG, window_packets_max=128)) == 1
    for n, slot in enumerate(slots):
        assert slot not in slots[max(0, n - 128) : n]


@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), loss=st.floats(0, 0.6))
def test_whatever_is_lost_everything_is_acknowledged_once(
    seed: int, count: int, loss: float
) -> None:
    """Requests and answers are lost, answers come late and twice: each packet is done once."""
    chance = random.Random(seed)
    one = relay(window_packets_max=16)
    fill(one, count)
    answers: list[tuple[int, Transmission]] = []
    done: list[tuple[int, int]] = []
    for now in range(NOW, NOW + 3_600_000, 400):
        for sent in one.poll(now):
            if chance.random() >= loss:
                answers += [(now + chance.randrange(4_000), sent)] * chance.choice((1, 1, 2))
        for at, sent in [each for each in answers if each[0] <= now]:
            answers.remove((at, sent))
            if chance.random() >= loss:
                acknowledge(one, sent, now)
        done += one.done()
        if not one.held:
            break
    assert sorted(done) == [(1, n) for n in range(count)]
