"""A template that its UDP exporter does not repeat is no longer believed (RFC 7011 §8.4)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.datagrams import Datagram
from collectors.netflow.config import FlowDecodeConfig, check_decode
from collectors.netflow.state import SESSION
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run

FIELDS: tuple[x.Field, ...] = ((8, 4), (12, 4), (1, 4), (2, 4))
HOUR = 3_600
CONFIG = FlowDecodeConfig(template_expiry_seconds=2 * HOUR, held_seconds=1 << 33)


def message(sets: Sequence[bytes], at_seconds: int, *, connection: int = 0) -> Datagram:
    received_at = (x.EXPORTED_AT + at_seconds) * 1000
    payload = x.ipfix(sets, sequence=at_seconds)
    return Datagram(received_at, x.mapped("192.0.2.1"), 50_000, 4739, payload, connection)


def template(at_seconds: int, *, connection: int = 0) -> Datagram:
    return message([x.template(256, FIELDS, version=10)], at_seconds, connection=connection)


def flow(octets: int, at_seconds: int, *, connection: int = 0) -> Datagram:
    values = (x.v4("10.0.0.1"), x.v4("10.0.0.2"), octets, 1)
    sets = [x.data(256, [x.record(FIELDS, values)])]
    return message(sets, at_seconds, connection=connection)


def taken(blocks: Sequence[Sequence[Datagram]], config: FlowDecodeConfig = CONFIG) -> Run:
    run = Run(config)
    for block in blocks:
        run.take(x.block_of(block))
        run.restart()
    return run


def test_a_flow_behind_the_expiry_waits_for_the_next_template() -> None:
    sent = [template(0), flow(1, 2 * HOUR), flow(10, 2 * HOUR + 1)]
    run = taken([sent])
    assert run.totals["octets"] == 1
    assert (run.held, run.counts["templates_expired"]) == (1, 1)
    assert not run.state.collections[SESSION].popitem()[1].templates
    run.take(x.block_of([template(2 * HOUR + 60)]))
    assert (run.totals["octets"], run.held) == (11, 0)


def test_a_template_that_is_repeated_holds_on() -> None:
    sent = [template(0), template(HOUR), flow(1, 2 * HOUR + 600), flow(10, 3 * HOUR + 1)]
    run = taken([[datagram] for datagram in sent])
    assert (run.totals["octets"], run.held) == (1, 1)


def test_within_the_expiry_a_repeat_seldom_writes_the_state() -> None:
    run = taken([[template(0)]])
    before = run.state.collections[SESSION].copy()
    run.take(x.block_of([template(60)]))
    assert run.state.collections[SESSION] == before
    run.take(x.block_of([template(120)]))
    assert run.state.collections[SESSION] != before


def test_what_came_over_a_connection_does_not_expire() -> None:
    sent = [template(0, connection=7), flow(1, 3 * HOUR, connection=7)]
    assert taken([sent]).totals["octets"] == 1


def test_no_expiry_where_the_setting_is_0_and_none_is_known_of_a_former_version() -> None:
    never = FlowDecodeConfig(template_expiry_seconds=0)
    run = taken([[template(0)], [flow(1, 1_000 * HOUR)]], never)
    assert run.totals["octets"] == 1
    # What the version before wrote has no time: it holds until it is repeated.
    run.config = CONFIG
    run.take(x.block_of([flow(10, 2_000 * HOUR)]))
    assert run.totals["octets"] == 11
    run.take(x.block_of([template(2_001 * HOUR), flow(100, 2_003 * HOUR + 1)]))
    assert (run.totals["octets"], run.held) == (11, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 3 * HOUR)), min_size=2, max_size=12),
    st.data(),
)
def test_any_batching_and_restarts_give_the_same(
    steps: list[tuple[bool, int]], data: st.DataObject
) -> None:
    now, sent = 0, [template(0)]
    for number, (is_template, later) in enumerate(steps):
        now += later
        sent.append(template(now) if is_template else flow(1 << number, now))
    blocks: list[list[Datagram]] = [[]]
    for datagram in sent:
        if data.draw(st.booleans()):
            blocks.append([])
        blocks[-1].append(datagram)
    whole = taken([sent])
    assert taken([block for block in blocks if block]).result() == whole.result()


@pytest.mark.parametrize(("seconds", "is_right"), [(0, True), (599, False), (600, True)])
def test_the_setting_is_checked(seconds: int, is_right: bool) -> None:
    found = check_decode(FlowDecodeConfig(template_expiry_seconds=seconds))
    assert (not found) == is_right
