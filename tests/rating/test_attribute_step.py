"""Whose octets they are: one situation, one test; then any order, any batching, the same sums."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rating.records import FlowMinute, SessionBinding
from rating.session_config import AttributionConfig, check_attribution
from tests.rating.accounting_log import PEOPLE, at, entry, minute
from tests.rating.flow_log import Attribution, binding, flow

ALICE = binding("s-alice", "100.64.0.1", "10:00:00")
PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
NOBODY = "unattributed:flows"


def test_a_minute_is_joined_when_the_watermark_has_passed_its_end_by_the_delay() -> None:
    stage = Attribution()
    stage.feed([flow("10:05", "100.64.0.1", 500)], [ALICE], watermark="10:06:29")
    assert not stage.rows
    stage.feed(watermark="10:06:30")
    assert stage.minutes() == {
        ("s-alice", "s-alice", "session of s-alice", "unclassified", minute("10:05")): 500
    }


def test_a_row_that_comes_after_its_minute_was_joined_is_joined_at_once() -> None:
    stage = Attribution()
    stage.feed([flow("10:05", "100.64.0.1", 500)], [ALICE], watermark="10:06:30")
    stage.feed([flow("10:05", "100.64.0.1", 7)])
    assert stage.by_key() == {"s-alice": 507}
    assert stage.counters["attribute_late_rows"] == 1


def test_what_matches_nobody_is_kept_and_reported_by_routing_block() -> None:
    stage = Attribution()
    rows = [flow("10:05", "100.64.0.9", 5), flow("10:05", "2001:db8:1:2::9", 6, octets_up=1)]
    stage.feed(rows, watermark="10:10:00")
    assert stage.by_key() == {NOBODY: 11}
    assert stage.unattributed == {
        ("100.64.0.0/24", minute("10:05")): 5,
        ("2001:db8::/40", minute("10:05")): 7,
    }


def test_a_binding_of_an_unknown_user_hides_the_former_holder_and_is_nobodys() -> None:
    stranger = binding("", "100.64.0.1", "10:04:00")
    stage = Attribution()
    stage.feed([flow("10:05", "100.64.0.1", 5)], [ALICE, stranger], watermark="10:10:00")
    assert stage.by_key() == {NOBODY: 5}


def test_a_static_prefix_holds_where_no_session_does_and_the_longest_wins() -> None:
    fixed = [
        entry("static_prefix", "203.0.113.0/24", "s-campus"),
        entry("static_prefix", "203.0.113.8/29", "s-lab"),
        entry("static_prefix", "2001:db8:9::/48", "s-six", valid_until_at=at("10:06:00")),
        entry("static_prefix", "no prefix", "s-broken"),
    ]
    stage = Attribution(directory=[*PEOPLE, *fixed])
    rows = [
        flow("10:05", "203.0.113.1", 1),
        flow("10:05", "203.0.113.9", 10),
        flow("10:05", "203.0.113.10", 100),
        flow("10:05", "2001:db8:9:7::1", 1000),
        flow("10:06", "2001:db8:9:7::1", 10_000),
    ]
    session = binding("s-alice", "203.0.113.10", "10:00:00")
    stage.feed(rows, [session], watermark="10:10:00")
    assert stage.by_key() == {
        "s-campus": 1,
        "s-lab": 10,
        "s-alice": 100,
        "s-six": 1000,
        NOBODY: 10_000,
    }


def test_a_delegated_prefix_covers_every_address_in_it() -> None:
    stage = Attribution()
    held = binding("s-bob", "2001:db8:1:100::/56", "10:00:00")
    rows = [flow("10:05", "2001:db8:1:1ff::1", 10), flow("10:05", "2001:db8:1:200::1", 1)]
    stage.feed(rows, [held], watermark="10:10:00")
    assert stage.by_key() == {"pool-family": 10, NOBODY: 1}


def test_of_overlapping_bindings_the_latest_begun_has_the_whole_minute() -> None:
    stage = Attribution()
    leaves = binding("s-alice", "100.64.0.1", "10:00:00", "10:05:50")
    comes = binding("s-bob", "100.64.0.1", "10:05:55")
    rows = [flow(clock, "100.64.0.1", 100) for clock in ("10:04", "10:05", "10:06")]
    stage.feed(rows, [leaves, comes], watermark="10:10:00")
    assert stage.by_key() == {"s-alice": 100, "pool-family": 200}


def test_port_blocks_share_an_address() -> None:
    stage = Attribution()
    blocks = [
        binding("s-alice", "198.51.100.1", "10:00:00", port_block=1024),
        binding("s-bob", "198.51.100.1", "10:00:00", port_block=2048),
    ]
    rows = [flow("10:05", "198.51.100.1", 10**n, port_block=1024 * n) for n in (1, 2, 3)]
    stage.feed(rows, blocks, watermark="10:10:00")
    assert stage.by_key() == {"s-alice": 10, "pool-family": 100, NOBODY: 1000}


def test_a_late_binding_moves_what_was_joined_by_difference() -> None:
    stage = Attribution()
    rows = [flow(clock, "100.64.0.1", 100) for clock in ("10:04", "10:05")]
    rows.append(flow("10:05", "100.64.0.2", 1))
    stage.feed(rows, [ALICE], watermark="10:10:00")
    late = binding("s-bob", "100.64.0.1", "10:05:00", arrives="10:12:00")
    before = len(stage.rows)
    stage.feed([], [late])
    assert stage.by_key() == {"s-alice": 100, "pool-family": 100, NOBODY: 1}
    moved = stage.rows[before:]
    assert sorted((row["rating_key"], row["octets_down"]) for row in moved) == [
        ("pool-family", 100),
        ("s-alice", -100),
    ]
    assert {row["received_at"] for row in moved} == {at("10:12:00")}


def test_a_binding_closed_late_gives_back_what_came_after_its_end() -> None:
    stage = Attribution()
    rows = [flow(clock, "100.64.0.1", 100) for clock in ("10:04", "10:05", "10:06")]
    stage.feed(rows, [ALICE], watermark="10:10:00")
    assert stage.by_key() == {"s-alice": 300}
    closed = binding("s-alice", "100.64.0.1", "10:00:00", "10:04:30", arrives="10:15:00")
    stage.feed([], [closed])
    assert stage.by_key() == {"s-alice": 100, NOBODY: 200}
    assert stage.unattributed[("100.64.0.0/24", minute("10:05"))] == 100


def test_a_binding_taken_back_never_was() -> None:
    stage = Attribution()
    stage.feed([flow("10:05", "100.64.0.1", 100)], [ALICE], watermark="10:10:00")
    gone = dataclasses.replace(ALICE, revision=2, valid_until_at=ALICE.valid_from_at)
    stage.feed([], [gone])
    assert stage.by_key() == {NOBODY: 100}


def test_an_older_revision_changes_nothing() -> None:
    stage = Attribution()
    closed = binding("s-alice", "100.64.0.1", "10:00:00", "10:04:00")
    stage.feed([flow("10:05", "100.64.0.1", 100)], [closed], watermark="10:10:00")
    stage.feed([], [ALICE])
    assert stage.by_key() == {NOBODY: 100}


def test_pages_are_forgotten_behind_the_lateness_bound() -> None:
    stage = Attribution()
    stage.feed([flow("10:05", "100.64.0.1", 100)], watermark="10:10:00")
    assert stage.state.collections["pages"]
    stage.feed(watermark="12:10:00")
    assert not stage.state.collections["pages"]
    assert not stage.state.collections["minutes"]
    stage.feed([flow("10:05", "100.64.0.1", 7)], [ALICE])
    assert stage.by_key() == {NOBODY: 100, "s-alice": 7}
    assert not stage.state.collections["pages"]


def test_bindings_that_ended_long_ago_are_forgotten() -> None:
    stage = Attribution()
    closed = binding("s-alice", "100.64.0.1", "10:00:00", "10:04:00")
    stage.feed([], [closed], watermark="10:10:00")
    again = dataclasses.replace(closed, revision=3, valid_until_at=at("10:05:00"))
    small = max(len(body) for body in stage.state.collections["bindings"].values())
    stage.feed([], [again], watermark="20:00:00")
    assert max(len(body) for body in stage.state.collections["bindings"].values()) < small


def test_many_small_steps_leave_few_chunks() -> None:
    stage = Attribution()
    for number in range(100):
        stage.feed([flow("10:05", f"100.64.{number}.1", 1)])
    assert len(stage.state.collections["pages"]) <= 16
    stage.feed(watermark="10:10:00")
    for number in range(100):
        stage.feed([flow("10:05", f"100.64.{number}.2", 1)])
    assert len(stage.state.collections["pages"]) <= 16
    assert stage.by_key() == {NOBODY: 200}


def test_how_far_back_a_binding_reaches_follows_from_its_own_receipt() -> None:
    rows = [flow("10:05", "100.64.0.1", 100), flow("10:06", "100.64.0.1", 7)]
    # The bound is two hours: at 12:06:30 it reaches back to 10:06, however far the watermark lags.
    late = binding("s-alice", "100.64.0.1", "10:00:00", arrives="12:06:30")
    apart = Attribution()
    apart.feed(rows, watermark="10:10:00")
    apart.feed([], [late], watermark="10:11:00")
    together = Attribution()
    together.feed(rows, [late], watermark="10:11:00")
    prompt = Attribution()
    prompt.feed(rows, watermark="12:06:20")
    prompt.feed([], [late], watermark="12:06:30")
    for stage in (apart, together, prompt):
        assert stage.by_key() == {NOBODY: 100, "s-alice": 7}


def test_rows_of_different_lateness_are_not_added_up() -> None:
    stage = Attribution()
    rows = [flow("10:05", "100.64.0.1", 1), flow("10:05", "100.64.0.1", 2, arrives="12:30:00")]
    stage.feed(rows, [ALICE], watermark="10:10:00")
    assert sorted((row["octets_down"], row["received_at"]) for row in stage.rows) == [
        (1, at("10:06:10")),
        (2, at("12:30:00")),
    ]


def test_a_late_row_that_a_binding_moves_stays_as_late_as_it_was() -> None:
    stage = Attribution()
    rows = [flow("10:05", "100.64.0.1", 1), flow("10:05", "100.64.0.1", 2, arrives="12:30:00")]
    stage.feed(rows, watermark="10:10:00")
    stage.feed([], [binding("s-alice", "100.64.0.1", "10:00:00", arrives="11:00:00")])
    given = [row for row in stage.rows if row["rating_key"] == "s-alice"]
    assert sorted((row["octets_down"], row["received_at"]) for row in given) == [
        (1, at("11:00:00")),
        (2, at("12:30:00")),
    ]


ADDRESSES = ("100.64.0.1", "100.64.0.2", "2001:db8:1:100::1", "2001:db8:1:180::1")
PREFIXES = ("100.64.0.1", "100.64.0.2", "2001:db8:1:100::/56", "2001:db8:1:180::/57")


@st.composite
def flow_rows(draw: st.DrawFn) -> list[FlowMinute]:
    """Draw flow minutes of four addresses between 10:00 and 10:09."""
    return [
        flow(
            f"10:{draw(st.integers(0, 9)):02}",
            draw(st.sampled_from(ADDRESSES)),
            draw(st.integers(0, 10**6)),
            traffic_class=draw(st.sampled_from(["unclassified", "cdn"])),
        )
        for _ in range(draw(st.integers(1, 12)))
    ]


@st.composite
def binding_rows(draw: st.DrawFn) -> list[SessionBinding]:
    """Draw bindings with their revisions: opened, closed, moved, taken back."""
    rows = []
    for number in range(draw(st.integers(0, 5))):
        who = draw(st.sampled_from(["s-alice", "s-bob", "s-carol", ""]))
        prefix = draw(st.sampled_from(PREFIXES))
        for revision in range(1, draw(st.integers(1, 3)) + 1):
            since = at("10:00:00") + draw(st.integers(-3, 20)) * 30_000
            length = draw(st.sampled_from([None, 0, 1, 2, 5, 9]))
            made = binding(who, prefix, "10:00:00", binding_id=f"b{number}", revision=revision)
            until = None if length is None else since + length * 30_000
            rows.append(dataclasses.replace(made, valid_from_at=since, valid_until_at=until))
    return rows


def expected(flows: list[FlowMinute], bindings: list[SessionBinding]) -> dict[Any, int]:
    """Return octets per (subscriber, class, minute) by the rule, one address at a time."""
    standing: dict[str, SessionBinding] = {}
    for row in sorted(bindings, key=lambda row: row.revision):
        standing[row.binding_id] = row
    sums: dict[Any, int] = {}
    for one in flows:
        start, end = one.minute * 60_000, one.minute * 60_000 + 60_000
        covering = []
        for row in standing.values():
            until = row.valid_until_at
            shift = 128 - row.prefix_length
            inside = int.from_bytes(one.address, "big") >> shift == (
                int.from_bytes(row.address, "big") >> shift
            )
            overlaps = row.valid_from_at < end and (until is None or until > start)
            if inside and overlaps and (until is None or until > row.valid_from_at):
                rank = (row.valid_from_at, row.prefix_length, row.binding_id)
                covering.append((rank, row.subscriber_id))
        who = max(covering)[1] if covering else ""
        key = (who, one.traffic_class, one.minute)
        sums[key] = sums.get(key, 0) + one.octets_down
    return {key: octets for key, octets in sums.items() if octets}


@PROPERTY
@given(flow_rows(), binding_rows(), st.randoms(use_true_random=False))
def test_any_order_and_batching_gives_the_sums_of_the_rule(
    flows: list[FlowMinute], bindings: list[SessionBinding], chance: random.Random
) -> None:
    stage = Attribution()
    todo: list[FlowMinute | SessionBinding] = [*flows, *bindings]
    chance.shuffle(todo)
    while todo:
        count = chance.randint(1, 4)
        batch, todo = todo[:count], todo[count:]
        stage.feed(
            [row for row in batch if isinstance(row, FlowMinute)],
            [row for row in batch if isinstance(row, SessionBinding)],
            watermark=at("10:00:00") + chance.randint(0, 900) * 1000,
        )
    stage.feed(watermark="10:20:00")
    sums: dict[Any, int] = {}
    for (_, who, _, traffic_class, which), octets in stage.minutes().items():
        key = (who, traffic_class, which)
        sums[key] = sums.get(key, 0) + octets
    assert {key: octets for key, octets in sums.items() if octets} == expected(flows, bindings)
    nobodys = sum(octets for key, octets in expected(flows, bindings).items() if not key[0])
    assert sum(stage.unattributed.values()) == nobodys


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (AttributionConfig(attribution_delay_seconds=-1), "attribution_delay_seconds"),
        (AttributionConfig(lateness_bound_seconds=10), "attribution_delay_seconds"),
    ],
)
def test_the_check_of_the_settings_names_the_wrong_key(config: AttributionConfig, key: str) -> None:
    assert not check_attribution(AttributionConfig())
    assert key in check_attribution(config)[0]
