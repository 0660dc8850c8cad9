"""Which address a session held, from when until when."""

from __future__ import annotations

from typing import Any

from rating.bindings import bindings_of, forget_before, holds_of
from rating.session_config import SessionsConfig
from rating.session_state import SessionGroup
from rating.sessions import Session, add_packet, facts_of, packet_of, sessions_of
from tests.rating.accounting_log import address, at, interim, prefix, start

CONFIG = SessionsConfig()
V4: dict[str, Any] = {"framed_address": address("100.64.0.1")}


def session_of(*records: Any) -> Session:
    group = SessionGroup("bras", "0001")
    for record in records:
        facts = facts_of(record, CONFIG.identity_order)
        group = add_packet(group, packet_of(record, facts, group), facts)
    (session,) = sessions_of(group, CONFIG)
    return session


def spans(session: Session, who: Any = lambda _at: "s-alice") -> list[tuple[str, int, int | None]]:
    bindings = bindings_of(session.session_id, holds_of(session, who), None).values()
    return sorted((b.subscriber_id, b.from_at, b.until_at) for b in bindings)


def test_the_first_packets_address_is_held_from_the_implied_start() -> None:
    assert spans(session_of(interim("10:05:00", 300, 1, **V4))) == [
        ("s-alice", at("10:00:00"), None)
    ]


def test_a_packet_without_addresses_says_nothing_of_them() -> None:
    session = session_of(start("10:00:00", **V4), interim("10:05:00", 300, 1))
    assert spans(session) == [("s-alice", at("10:00:00"), None)]


def test_another_kind_of_address_leaves_the_first_alone() -> None:
    six: dict[str, Any] = {"framed_ipv6_prefixes": (prefix("2001:db8:1::/64"),)}
    session = session_of(start("10:00:00", **V4), interim("10:05:00", 300, 1, **six))
    assert spans(session) == [
        ("s-alice", at("10:00:00"), None),
        ("s-alice", at("10:05:00"), None),
    ]


def test_an_address_that_comes_back_is_a_binding_of_its_own() -> None:
    other: dict[str, Any] = {"framed_address": address("100.64.0.2")}
    session = session_of(
        start("10:00:00", **V4),
        interim("10:05:00", 300, 1, **other),
        interim("10:10:00", 600, 2, **V4),
    )
    holds = holds_of(session, lambda _at: "s-alice")
    names = sorted(bindings_of(session.session_id, holds, None))
    assert len(names) == 3
    assert names[0].endswith("64400001/128/1")
    assert names[1].endswith("64400001/128/2")


def test_a_subscriber_that_changes_closes_and_opens() -> None:
    session = session_of(start("10:00:00", **V4), interim("10:05:00", 300, 1, **V4))
    who = {at("10:00:00"): "", at("10:05:00"): "s-alice"}
    assert spans(session, who.__getitem__) == [
        ("", at("10:00:00"), at("10:05:00")),
        ("s-alice", at("10:05:00"), None),
    ]


def test_the_end_of_the_session_cuts_what_is_open_and_nothing_of_no_duration_is_left() -> None:
    session = session_of(start("10:00:00", **V4))
    holds = holds_of(session, lambda _at: "s-alice")
    (binding,) = bindings_of(session.session_id, holds, at("10:01:00")).values()
    assert binding.until_at == at("10:01:00")
    assert not bindings_of(session.session_id, holds, at("10:00:00"))


def test_holds_closed_before_the_horizon_are_forgotten() -> None:
    other: dict[str, Any] = {"framed_address": address("100.64.0.2")}
    session = session_of(start("10:00:00", **V4), interim("10:05:00", 300, 1, **other))
    holds = holds_of(session, lambda _at: "s-alice")
    assert len(forget_before(holds, at("10:04:00")).closed) == 1
    forgotten = forget_before(holds, at("10:05:00"))
    assert not forgotten.closed
    assert len(forgotten.open) == 1
