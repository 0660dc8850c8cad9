"""IPFIX over connections: withdrawals, one session per connection, what outlives it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.datagrams import Datagram
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.state import PROGRESS, SESSION
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run, run_of, run_singly

ADDRESSES: tuple[x.Field, ...] = ((8, 4), (12, 4), (1, 4), (2, 4))
SWAPPED: tuple[x.Field, ...] = ((2, 4), (1, 4), (12, 4), (8, 4))
SAMPLING: tuple[x.Field, ...] = ((34, 4),)
FIRST, SECOND = 0x1111, 0x2222


def message(
    sets: Sequence[bytes],
    *,
    connection: int = FIRST,
    sequence: int = 0,
    at: int = 0,
    port: int = 50_000,
) -> Datagram:
    payload = x.ipfix(sets, sequence=sequence)
    received_at = x.EXPORTED_AT * 1000 + at
    return Datagram(received_at, x.mapped("192.0.2.1"), port, 4739, payload, connection)


def end(connection: int = FIRST, at: int = 0) -> Datagram:
    received_at = x.EXPORTED_AT * 1000 + at
    return Datagram(received_at, x.mapped("192.0.2.1"), 50_000, 4739, b"", connection)


def template(template_id: int, fields: Sequence[x.Field]) -> bytes:
    return x.template(template_id, fields, version=10)


def rate_template(template_id: int = 300) -> bytes:
    return x.options_template(template_id, ((149, 4),), SAMPLING, version=10)


def rate(value: int, template_id: int = 300) -> bytes:
    return x.data(template_id, [struct.pack(">II", 0, value)])


def withdrawal(set_id: int, *template_ids: int) -> bytes:
    return x.one_set(set_id, b"".join(struct.pack(">HH", each, 0) for each in template_ids))


def plain(octets: int) -> bytes:
    values = (x.v4("10.0.0.1"), x.v4("10.0.0.2"), octets, 1)
    return x.data(256, [x.record(ADDRESSES, values)])


def swapped(octets: int) -> bytes:
    values = (1, octets, x.v4("10.0.0.2"), x.v4("10.0.0.1"))
    return x.data(256, [x.record(SWAPPED, values)])


def octets_of(run: Run) -> list[int]:
    return [int(value) for decoded in run.flows for value in decoded.flows.octets]


@pytest.mark.parametrize("way", ["one block", "singly", "with restarts"])
def test_an_id_is_withdrawn_and_used_again_with_another_layout(way: str) -> None:
    messages = [
        message([template(256, ADDRESSES), plain(10)]),
        message([plain(20)], sequence=1),
        message([withdrawal(2, 256), template(256, SWAPPED), swapped(30)], sequence=2),
        message([swapped(40)], sequence=3),
    ]
    if way == "one block":
        run = run_of(messages)
    else:
        run = run_singly(messages, restart=way == "with restarts")
    assert octets_of(run) == [10, 20, 30, 40]
    assert run.counts["templates_withdrawn"] == 1
    assert run.counts["lost"] == 0


@pytest.mark.parametrize("batched", [True, False])
def test_data_behind_a_withdrawal_waits_for_the_next_template(batched: bool) -> None:
    messages = [
        message([template(256, ADDRESSES), plain(10)]),
        message([withdrawal(2, 256)], sequence=1),
        message([swapped(30)], sequence=1),
        message([template(256, SWAPPED)], sequence=2),
        message([swapped(40)], sequence=2),
    ]
    run = run_of(messages) if batched else run_singly(messages, restart=True)
    assert sorted(octets_of(run)) == [10, 30, 40]
    assert run.held == 0


def test_data_behind_a_withdrawal_is_not_read_with_what_was_withdrawn() -> None:
    run = run_of([message([template(256, ADDRESSES), withdrawal(2, 256), plain(10)])])
    assert (octets_of(run), run.held) == ([], 1)


@pytest.mark.parametrize(("set_id", "kept"), [(2, 300), (3, 256)])
def test_all_templates_of_a_kind_are_withdrawn_under_the_id_of_their_set(
    set_id: int, kept: int
) -> None:
    run = run_of([message([template(256, ADDRESSES), template(257, SWAPPED), rate_template()])])
    run.take(x.block_of([message([withdrawal(set_id, set_id)], at=1)]))
    (held,) = [s for key, s in run.state.collections[SESSION].items() if "tcp-" in key]
    assert set(held.templates) == ({256, 257} if kept == 256 else {300})
    assert run.counts["templates_withdrawn"] == (1 if kept == 256 else 2)


def test_several_templates_are_withdrawn_by_one_set() -> None:
    run = run_of(
        [message([template(256, ADDRESSES), template(257, SWAPPED), withdrawal(2, 256, 257)])]
    )
    assert run.counts["templates_withdrawn"] == 2
    assert not any(s.templates for s in run.state.collections.get(SESSION, {}).values())


def test_a_withdrawal_of_what_is_not_in_force_is_counted_and_changes_nothing() -> None:
    run = run_of([message([template(256, ADDRESSES), withdrawal(2, 999), plain(7)])])
    assert run.counts["template_withdrawal_unknown"] == 1
    assert octets_of(run) == [7]


def test_withdrawn_templates_make_room_under_the_limit() -> None:
    run = Run(FlowDecodeConfig(templates_per_session_limit=2))
    for number in range(5):
        sets = [template(256 + number, ADDRESSES), withdrawal(2, 256 + number)]
        run.take(x.block_of([message(sets, at=number)]))
    run.take(x.block_of([message([template(300 + n, ADDRESSES) for n in range(3)], at=9)]))
    assert run.counts["templates_per_session_limit"] == 1


@pytest.mark.parametrize("which", [256, 2])
def test_over_udp_a_withdrawal_stays_ignored(which: int) -> None:
    sets = [template(256, ADDRESSES), withdrawal(2, which), plain(10)]
    run = run_of([message(sets, connection=0)])
    assert octets_of(run) == [10]
    assert run.counts["template_withdrawal_ignored"] == 1
    assert run.counts["templates_withdrawn"] == 0


def test_two_connections_of_one_exporter_do_not_share_templates_or_numbers() -> None:
    messages = [
        message([template(256, ADDRESSES), plain(10)], sequence=700),
        message([template(256, SWAPPED), swapped(20)], connection=SECOND, sequence=0),
        message([plain(30)], sequence=701),
        message([withdrawal(2, 2)], connection=SECOND, sequence=1),
        message([plain(40)], sequence=702),
    ]
    run = run_of(messages)
    assert sorted(octets_of(run)) == [10, 20, 30, 40]
    assert run.counts["lost"] == 0
    assert run_singly(messages, restart=True).result() == run.result()


def test_a_connection_from_the_same_port_is_another_session() -> None:
    run = run_of(
        [
            message([template(256, ADDRESSES), plain(10)], sequence=3_000),
            end(),
            message([plain(20)], connection=SECOND, sequence=0),
        ]
    )
    assert (octets_of(run), run.held, run.counts["lost"]) == ([10], 1, 0)


def test_a_gap_within_a_connection_is_loss() -> None:
    run = run_of([message([template(256, ADDRESSES), plain(10)]), message([plain(20)], sequence=5)])
    assert run.counts["lost"] == 4


@pytest.mark.parametrize("batched", [True, False])
def test_the_end_of_a_connection_leaves_nothing_of_its_session(batched: bool) -> None:
    messages = [
        message([template(256, ADDRESSES), plain(10)]),
        message([x.data(400, [bytes(8)])], sequence=1),  # Its template never comes.
        end(at=5),
    ]
    run = run_of(messages) if batched else run_singly(messages, restart=True)
    assert octets_of(run) == [10]
    assert run.held == 0
    assert not any("tcp-" in key for key in run.state.collections.get(SESSION, {}))
    assert not any("tcp-" in key for key in run.state.collections.get(PROGRESS, {}))
    totals = run.state.get("flow_totals", "")
    assert totals is None or (totals.sessions, totals.held_octets, totals.template_octets) == (
        0, 0, 0,
    )  # fmt: skip
    assert sum(decoded.ended for decoded in run.flows) == 1


def test_the_end_of_one_connection_leaves_the_others() -> None:
    run = run_of(
        [
            message([template(256, ADDRESSES)]),
            message([template(256, ADDRESSES)], connection=SECOND),
        ]
    )
    run.take(x.block_of([end(at=1)]))
    run.take(x.block_of([message([plain(20)], connection=SECOND, at=2)]))
    assert octets_of(run) == [20]


@pytest.mark.parametrize("batched", [True, False])
def test_a_reconnecting_exporter_keeps_its_sampling_rate(batched: bool) -> None:
    messages = [
        message([rate_template(), rate(100), template(256, ADDRESSES), plain(10)]),
        end(at=1),
        message([template(256, ADDRESSES), plain(10)], connection=SECOND, at=2),
        message([rate_template(), rate(7)], connection=SECOND, sequence=1, at=3),
        message([plain(10)], connection=SECOND, sequence=2, at=4),
    ]
    run = run_of(messages) if batched else run_singly(messages, restart=True)
    assert run.totals["octets"] == 30
    assert run.totals["octets_scaled"] == 1_000 + 1_000 + 70


@pytest.mark.parametrize("batched", [True, False])
def test_a_rate_that_another_connection_announces_later_is_not_inherited(batched: bool) -> None:
    messages = [
        message([rate_template(), rate(100)]),
        message([template(256, ADDRESSES), plain(10)], connection=SECOND),
        message([rate(3)], sequence=1, at=1),
        message([plain(10)], connection=SECOND, sequence=1, at=2),
    ]
    run = run_of(messages) if batched else run_singly(messages, restart=True)
    assert run.totals["octets_scaled"] == 2_000


@pytest.mark.parametrize("batched", [True, False])
def test_the_same_messages_over_two_connections_count_once_and_teach_both(batched: bool) -> None:
    """An exporter that sends everything to two collectors: either may be ahead."""
    first = [rate_template(), rate(5), template(256, ADDRESSES)]
    messages = [
        message(first),
        message(first, connection=SECOND),
        message([plain(10)], sequence=1, connection=SECOND),
        message([plain(10)], sequence=1),
        message([plain(20)], sequence=2),
        message([plain(20)], sequence=2, connection=SECOND),
        message([withdrawal(2, 256), template(256, SWAPPED)], sequence=3),
        message([withdrawal(2, 256), template(256, SWAPPED)], sequence=3, connection=SECOND),
        message([swapped(30)], sequence=3, connection=SECOND),
        message([swapped(30)], sequence=3),
    ]
    run = run_of(messages) if batched else run_singly(messages, restart=True)
    assert run.totals["octets"] == 60
    assert run.totals["octets_scaled"] == 300
    assert run.counts["duplicate"] == 5
    assert run.counts["lost"] == 0
    assert run.held == 0


def test_udp_and_a_connection_of_one_exporter_are_apart() -> None:
    run = run_of(
        [
            message([template(256, ADDRESSES), plain(10)], connection=0),
            message([template(256, SWAPPED), swapped(20)]),
            message([plain(30)], connection=0, sequence=1),
            message([withdrawal(2, 2)], sequence=1),
            message([plain(40)], connection=0, sequence=2),
        ]
    )
    assert sorted(octets_of(run)) == [10, 20, 30, 40]


def test_many_connections_that_end_unseen_are_forgotten_the_longest_silent_first() -> None:
    run = Run(FlowDecodeConfig(sessions_limit=20))
    for number in range(100):
        each = message([template(256, ADDRESSES)], connection=number + 1, at=number * 1000)
        run.take(x.block_of([each]))
    assert len(run.state.collections[PROGRESS]) <= 20
    assert f"{100:016x}" in max(run.state.collections[PROGRESS])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_batching_and_restarts_change_nothing(data: st.DataObject) -> None:
    """Whatever connections do, in whatever blocks they come: the same flows."""
    sets = st.sampled_from(
        [
            template(256, ADDRESSES), template(256, SWAPPED), withdrawal(2, 256), withdrawal(2, 2),
            withdrawal(3, 3), rate_template() + rate(3), rate_template() + rate(4), plain(11),
            swapped(13),
        ]
    )  # fmt: skip
    messages: list[Datagram] = []
    over: set[int] = set()
    for number in range(data.draw(st.integers(1, 12))):
        connection = data.draw(st.sampled_from([0, 1, 2, 3]))
        if connection in over:
            continue
        if connection and data.draw(st.integers(0, 5)) == 0:
            over.add(connection)
            messages.append(end(connection, at=number))
            continue
        chosen = data.draw(st.lists(sets, max_size=4))
        messages.append(message(chosen, connection=connection, at=number, sequence=number * 100))
    whole = run_of(messages)
    single = run_singly(messages, restart=True)
    assert single.result() == whole.result()
    assert single.state.collections.get(SESSION, {}) == whole.state.collections.get(SESSION, {})
    assert whole.state.collections.get(PROGRESS, {}).keys() == (
        single.state.collections.get(PROGRESS, {}).keys()
    )
