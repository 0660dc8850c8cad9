"""Sessions are a function of the packet set: any order, any repetition, any batching."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rating import session_step
from rating.accounting import AccountingRecord
from rating.session_config import SessionsConfig
from rating.session_state import SessionGroup
from rating.sessions import add_packet, facts_of, packet_of, sessions_of
from tests.rating.accounting_log import (
    DAY_AT,
    Stage,
    address,
    at,
    interim,
    on,
    prefix,
    start,
    stop,
)

CONFIG = SessionsConfig()
PROPERTY = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@dataclasses.dataclass
class Truth:
    """Packets of a NAS and what they must add up to: (user, octets up, octets down)."""

    packets: list[AccountingRecord]
    totals: dict[str, list[int]]


@st.composite
def nas_histories(draw: st.DrawFn) -> Truth:
    """Draw a NAS that reuses session ids and addresses, reboots, loses Starts and Stops."""
    packets: list[AccountingRecord] = []
    totals: dict[str, list[int]] = {}
    instant = at("10:00:00")
    for number in range(draw(st.integers(1, 4))):
        instant += draw(st.integers(60, 400)) * 1000
        user = draw(st.sampled_from(["alice", "bob"]))
        sid = draw(st.sampled_from(["0001", "0002"]))
        knots = draw(
            st.lists(
                st.tuples(st.integers(20, 400), st.integers(0, 10**7), st.integers(0, 10**7)),
                min_size=1,
                max_size=4,
            )
        )
        # Without its Start, a session with the counters of another is taken for its repetition.
        knots = [(span, up * 4 + number, down) for span, up, down in knots]
        made = _session(draw, instant, user, sid, knots)
        packets += made
        up = sum(knot[1] for knot in knots)
        down = sum(knot[2] for knot in knots)
        held = totals.setdefault(user, [0, 0])
        held[0] += up
        held[1] += down
        instant += sum(knot[0] for knot in knots) * 1000
        if draw(st.booleans()):
            instant += 30_000
            packets.append(replace(on("10:00:00"), event_at=instant, received_at=instant))
    return Truth(packets, totals)


def _session(
    draw: st.DrawFn, begins_at: int, user: str, sid: str, knots: list[tuple[int, int, int]]
) -> list[AccountingRecord]:
    facts: dict[str, Any] = {
        "user_name": user,
        "acct_session_id": sid,
        "framed_address": address(draw(st.sampled_from(["100.64.0.1", "100.64.0.2"]))),
    }
    made = [replace(start("10:00:00", **facts), event_at=begins_at)]
    if draw(st.booleans()):
        facts["delegated_prefixes"] = (prefix("2001:db8:1:100::/56"),)
    seconds, up, down = 0, 0, 0
    for number, (span, more_up, more_down) in enumerate(knots, start=1):
        seconds, up, down = seconds + span, up + more_up, down + more_down
        make = stop if number == len(knots) else interim
        counted = make("10:00:00", seconds, down, up, packets_down=down // 1000, **facts)
        jitter = draw(st.integers(0, 900))
        made.append(replace(counted, event_at=begins_at + seconds * 1000 + jitter))
    lost = draw(st.sampled_from(["", "start", "stop"]))
    if lost == "start":
        made = made[1:]
    if lost == "stop":
        made[-1] = replace(made[-1], status="interim")
    return [replace(p, received_at=p.event_at + 40) for p in made]


def outcome(stage: Stage) -> tuple[Any, ...]:
    """Return everything final: usage per minute, bindings, live rows."""
    live = {row.session_id: row for row in stage.sessions()}
    return stage.minutes(), stage.held(), live


def play(batches: list[list[AccountingRecord]], config: SessionsConfig = CONFIG) -> Stage:
    stage = Stage(config)
    for batch in batches:
        stage.feed(batch)
    stage.feed([], watermark="11:40:00")
    return stage


def whole_sessions(stage: Stage) -> dict[str, int]:
    """Return session_id -> octets down by looking at all kept packets at once."""
    groups = stage.state.collections.get("sessions", {}).values()
    made = [session for group in groups for session in sessions_of(group, CONFIG)]
    octets = {s.session_id: s.curve.values[-1].octets_down - s.curve.base.octets_down for s in made}
    return {name: count for name, count in octets.items() if count}


def cut(packets: list[AccountingRecord], chance: random.Random) -> list[list[AccountingRecord]]:
    batches: list[list[AccountingRecord]] = [[]]
    for one in packets:
        if chance.random() < 0.4:
            batches.append([])
        batches[-1].append(one)
    return batches


@PROPERTY
@given(nas_histories(), st.randoms(use_true_random=False))
def test_shuffled_repeated_and_rebatched_packets_give_the_same_outcome(
    truth: Truth, chance: random.Random
) -> None:
    in_order = play([[one] for one in truth.packets])
    shuffled = [one for one in truth.packets for _ in range(chance.choice((1, 1, 2, 3)))]
    chance.shuffle(shuffled)
    again = play(cut(shuffled, chance))
    assert outcome(again) == outcome(in_order)
    assert again.octets_by_session() == in_order.octets_by_session() == whole_sessions(in_order)


@PROPERTY
@given(nas_histories(), st.randoms(use_true_random=False))
def test_usage_adds_up_to_the_final_counters(truth: Truth, chance: random.Random) -> None:
    packets = list(truth.packets)
    chance.shuffle(packets)
    stage = play(cut(packets, chance))
    totals: dict[str, list[int]] = {}
    for key, sums in stage.minutes().items():
        held = totals.setdefault({"s-alice": "alice", "s-bob": "bob"}[key[1]], [0, 0])
        held[0] += sums[0]
        held[1] += sums[1]
    assert {user: sums for user, sums in totals.items() if any(sums)} == {
        user: sums for user, sums in truth.totals.items() if any(sums)
    }


@PROPERTY
@given(nas_histories(), st.randoms(use_true_random=False))
def test_compaction_changes_nothing_for_packets_within_the_bound(
    truth: Truth, chance: random.Random
) -> None:
    config = SessionsConfig(lateness_bound_seconds=600, interim_interval_seconds=100)
    packets = sorted(truth.packets, key=lambda one: one.received_at + chance.randint(0, 590_000))
    plain = play([packets])
    compacting = Stage(config)
    for one in packets:
        behind = min(later.received_at for later in packets[packets.index(one) :])
        compacting.feed([one], watermark=behind - 1)
    compacting.feed([], watermark="11:40:00")
    assert compacting.minutes() == plain.minutes()
    assert compacting.held() == plain.held()


@PROPERTY
@given(nas_histories())
def test_a_retransmission_with_a_new_delay_never_changes_anything(truth: Truth) -> None:
    plain = play([truth.packets])
    repeated = [
        copy
        for one in truth.packets
        for copy in (one, replace(one, received_at=one.received_at + 9_000))
    ]
    assert outcome(play([repeated])) == outcome(plain)


def group_of(*records: AccountingRecord) -> SessionGroup:
    group = SessionGroup("bras", "0001")
    for record in records:
        facts = facts_of(record, CONFIG.identity_order)
        group = add_packet(group, packet_of(record, facts, group), facts)
    return group


@pytest.mark.parametrize(
    ("records", "sessions"),
    [
        pytest.param(
            [start("10:00:00"), interim("10:05:00", 300, 1)], 1, id="implied-start-agrees"
        ),
        pytest.param([start("10:00:00"), interim("10:05:09", 300, 1)], 1, id="within-tolerance"),
        pytest.param(
            [interim("10:05:00", 300, 5), interim("10:10:00", 480, 1)], 1, id="inside-span"
        ),
        pytest.param(
            [interim("10:05:00", 300, 5), interim("10:10:00", 299, 1)], 2, id="starts-after"
        ),
        pytest.param([stop("10:05:00", 300, 5), start("10:05:00")], 2, id="restart-in-that-second"),
        pytest.param([start("10:00:00"), start("10:00:09")], 1, id="start-repeated-undelayed"),
        pytest.param([start("10:00:00"), start("10:00:30")], 2, id="two-starts-unexplained"),
        pytest.param(
            [start("10:00:00"), start("10:00:30"), interim("10:05:00", 300, 1)], 1, id="explained"
        ),
        pytest.param([interim("10:00:00", None, 1), interim("10:05:00", None, 2)], 1, id="undated"),
        pytest.param(
            [start("10:00:00"), interim("10:05:00", None, 1), start("10:10:00")], 2, id="by-start"
        ),
    ],
)
def test_generations(records: list[AccountingRecord], sessions: int) -> None:
    forwards = sessions_of(group_of(*records), CONFIG)
    backwards = sessions_of(group_of(*reversed(records)), CONFIG)
    assert len(forwards) == sessions
    assert [(s.session_id, s.curve) for s in backwards] == [
        (s.session_id, s.curve) for s in forwards
    ]


def test_two_generations_of_one_minute_have_two_names() -> None:
    names = [
        s.generation
        for s in sessions_of(
            group_of(stop("10:00:20", 20, 5), start("10:00:40"), stop("10:00:50", 10, 9)), CONFIG
        )
    ]
    base = str(DAY_AT // 60_000 + 600)
    assert names == [base, f"{base}.2"]


def test_a_packet_known_by_content_gives_the_same_group() -> None:
    first = interim("10:05:00", 300, 5)
    group = group_of(first)
    again = replace(first, received_at=at("10:06:00"))
    facts = facts_of(first, CONFIG.identity_order)
    assert add_packet(group, packet_of(again, facts, group), facts) is group


def test_equal_counters_are_one_session_unless_a_start_says_otherwise() -> None:
    twice = [stop("10:00:20", 20, 500), stop("10:05:20", 20, 500)]
    assert len(sessions_of(group_of(*twice), CONFIG)) == 1
    assert len(sessions_of(group_of(*twice, start("10:05:00")), CONFIG)) == 2


@st.composite
def hostile_packets(draw: st.DrawFn) -> list[AccountingRecord]:
    """Draw packets of one Acct-Session-Id whose times and counters need not make sense."""
    packets = []
    for _ in range(draw(st.integers(2, 7))):
        make: Any = draw(st.sampled_from([start, interim, interim, interim, stop]))
        offset = draw(st.sampled_from([0, 55, 60, 62, 300, 305, 600]))
        event_at = at("10:00:00") + offset * 1000
        seconds = draw(st.sampled_from([offset, offset, max(0, offset - 5), 60, 300, None]))
        counters = (
            {}
            if make is start
            else {
                "seconds": seconds,
                "down": draw(st.sampled_from([None, 0, 5, 500, 2**32 - 9])),
                "has_gigawords": draw(st.booleans()),
            }
        )
        who = draw(st.sampled_from(["alice", "alice", "bob", ""]))
        made = make("10:00:00", user_name=who, **counters)
        packets.append(replace(made, event_at=event_at, received_at=event_at + 40))
    return packets


@settings(PROPERTY, max_examples=300)
@given(hostile_packets())
def test_looking_at_the_tail_only_gives_what_looking_at_all_packets_gives(
    packets: list[AccountingRecord],
) -> None:
    quick = play([[one] for one in packets])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_step, "extended", lambda *_: None)
        thorough = play([[one] for one in packets])
    assert outcome(quick) == outcome(thorough)
    assert quick.usage_rows == thorough.usage_rows


@st.composite
def long_sessions(draw: st.DrawFn) -> list[AccountingRecord]:
    """Draw a session of many interim updates, a few of which are not as they should be."""
    packets = [start("10:00:00", framed_address=address("100.64.0.1"))]
    seconds, down = 0, draw(st.sampled_from([0, 2**32 - 5000]))
    framed, received_at = "100.64.0.1", packets[0].received_at
    for _ in range(draw(st.integers(6, 24))):
        kind = draw(
            st.sampled_from(["on"] * 8 + ["again", "late", "address", "wrap", "low", "end"])
        )
        seconds += draw(st.sampled_from([57, 60, 61, 300]))
        down += 1000
        if kind == "address":
            framed = draw(st.sampled_from(["100.64.0.1", "100.64.0.2", "100.64.0.3"]))
        raw = down % 2**32 if kind == "wrap" else 7 if kind == "low" else down
        make: Any = stop if kind == "end" else interim
        made = make("10:00:00", seconds, raw, framed_address=address(framed))
        event_at = made.event_at + seconds * 1000 + draw(st.integers(0, 999))
        received_at = max(received_at, event_at) + draw(st.sampled_from([20, 20, 9_000]))
        if kind == "late":
            event_at -= 100_000
        packets.append(replace(made, event_at=event_at, received_at=received_at))
        if kind == "again":
            packets.append(replace(packets[-1], event_at=event_at + 5_000, delay_seconds=0))
    return packets


@settings(PROPERTY, max_examples=200)
@given(long_sessions(), st.booleans())
def test_compacting_a_straight_group_gives_what_looking_at_all_of_it_gives(
    packets: list[AccountingRecord], has_marker: bool
) -> None:
    if has_marker:
        marker = replace(on("10:00:00"), event_at=packets[3].event_at + 1)
        packets.insert(4, replace(marker, received_at=packets[3].received_at))
    config = dataclasses.replace(CONFIG, lateness_bound_seconds=400)
    stages = Stage(config), Stage(config)
    for number, stage in enumerate(stages):
        with pytest.MonkeyPatch.context() as patch:
            if number:
                patch.setattr(session_step, "compact_straight", lambda *_: None)
            for one in packets:
                stage.feed([one], watermark=one.received_at)
    quick, thorough = stages
    assert outcome(quick) == outcome(thorough)
    assert quick.usage_rows == thorough.usage_rows
    assert quick.binding_rows == thorough.binding_rows
    assert quick.state.collections["sessions"] == thorough.state.collections["sessions"]


@pytest.mark.parametrize(
    "packets",
    [
        pytest.param(
            [start("10:00:00"), interim("10:01:02", 57, 10), interim("10:01:00", 60, 500)],
            id="later-by-its-own-count-earlier-by-the-clock",
        ),
        pytest.param(
            [
                start("10:00:00", user_name=""),
                interim("10:02:00", 120, 500, user_name=""),
                interim("10:05:00", 300, 900),
            ],
            id="the-user-is-named-late",
        ),
        pytest.param(
            [
                interim("10:01:00", 60, 500),
                interim("10:10:30", 30, 100),
                interim("10:11:00", 60, 500),
                interim("10:12:00", 120, 800),
            ],
            id="counters-of-a-former-session",
        ),
        pytest.param(
            [interim("10:00:00", None, None), interim("10:00:55", 50, 500)],
            id="the-one-before-had-no-session-time",
        ),
    ],
)
def test_a_packet_that_only_seems_to_go_on_is_looked_at_closely(
    packets: list[AccountingRecord],
) -> None:
    quick = play([[one] for one in packets])
    backwards = play([[one] for one in reversed(packets)])
    assert outcome(quick) == outcome(backwards)
    assert quick.octets_by_session() == whole_sessions(quick)
