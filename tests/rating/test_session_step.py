"""What a billing clerk may ask about accounting packets: one oddity, one test.

Each names what the NAS sent and what the subscriber is charged for it.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from rating.session_config import SessionsConfig
from tests.rating.accounting_log import (
    DAY_AT,
    PEOPLE,
    Stage,
    address,
    at,
    entry,
    interim,
    minute,
    off,
    on,
    prefix,
    run,
    start,
    stop,
)

GB = 10**9


def test_a_plain_session_is_cut_at_minutes_and_adds_up() -> None:
    stage = run(
        [start("10:00:30"), interim("10:02:30", 120, 1000), stop("10:03:30", 180, 1600)],
        watermark="10:04:00",
    )
    assert stage.down_by_minute() == {"10:00": 250, "10:01": 500, "10:02": 550, "10:03": 300}
    session = stage.session()
    assert (session.octets_down, session.ended_at, session.end_cause) == (
        1600,
        at("10:03:30"),
        "stop",
    )
    assert sum(counters[4] for counters in stage.minutes().values()) == 180


def test_usage_belongs_to_the_subscriber_and_the_pool_of_its_minute() -> None:
    joins = entry(
        "membership", "s-alice", "pool-family", entry_id="m", valid_from_at=at("10:02:00")
    )
    stage = Stage(directory=[*PEOPLE, joins])
    stage.feed([start("10:00:00"), stop("10:04:00", 240, 400)])
    by_key = {(key[0], key[3]): sums[1] for key, sums in stage.minutes().items()}
    assert by_key == {
        ("s-alice", minute("10:00")): 100,
        ("s-alice", minute("10:01")): 100,
        ("pool-family", minute("10:02")): 100,
        ("pool-family", minute("10:03")): 100,
    }


def test_an_unknown_user_is_kept_and_reported() -> None:
    stage = run([start("10:00:00", user_name="mallory"), stop("10:01:00", 60, 70, 5, user_name="")])
    assert {key[0] for key in stage.minutes()} == {"unattributed:accounting"}
    assert stage.unattributed == {("user_name:mallory", minute("10:00")): 75}


def test_identities_are_tried_in_the_order_of_the_setting() -> None:
    people = [*PEOPLE, entry("identity", "mac:aa:bb:cc:00:00:01", "s-device")]
    packets = [start("10:00:00", calling_station_id="AA-BB-CC-00-00-01:ssid")]
    assert run(packets, directory=people).session().subscriber_id == "s-alice"
    by_mac = SessionsConfig(identity_order=("mac", "user_name"))
    assert run(packets, directory=people, config=by_mac).session().subscriber_id == "s-device"
    stranger = [replace(packets[0], user_name="nobody")]
    assert run(stranger, directory=people).session().subscriber_id == "s-device"


def test_gigawords_are_part_of_the_counter() -> None:
    stage = run(
        [
            start("10:00:00"),
            interim("10:05:00", 300, 4 * GB),
            stop("10:10:00", 600, 2**32 + 700, has_gigawords=True),
        ]
    )
    assert stage.down() == 2**32 + 700


def test_a_nas_without_gigawords_wraps_at_four_gigabytes() -> None:
    flagged: dict[str, Any] = {"octets_modulus": 2**32}
    stage = run(
        [
            start("10:00:00", **flagged),
            interim("10:05:00", 300, 3 * GB, **flagged),
            interim("10:10:00", 600, 2 * GB, **flagged),
            stop("10:15:00", 900, 1 * GB, **flagged),
        ]
    )
    assert stage.down() == 2 * 2**32 + 1 * GB


def test_a_wrap_is_seen_without_the_flag_where_it_is_the_short_way_round() -> None:
    stage = run(
        [start("10:00:00"), interim("10:05:00", 300, 2**32 - 100), stop("10:10:00", 600, 50)]
    )
    assert stage.down() == 2**32 + 50


def test_a_counter_that_was_reset_is_not_charged_as_four_gigabytes() -> None:
    stage = run([start("10:00:00"), interim("10:05:00", 300, 90_000), stop("10:10:00", 600, 100)])
    assert stage.down() == 90_000


def test_no_wrap_is_guessed_for_a_nas_that_sends_gigawords() -> None:
    stage = run(
        [
            start("10:00:00"),
            interim("10:05:00", 300, 2**32 - 100, has_gigawords=True),
            stop("10:10:00", 600, 50, has_gigawords=True),
        ]
    )
    assert stage.down() == 2**32 - 100


def test_a_retransmission_with_a_new_delay_is_the_same_packet() -> None:
    first = interim("10:05:00", 300, 3000)
    again = replace(first, received_at=at("10:05:20"), delay_seconds=20)
    stage = run([start("10:00:00"), first, again, again])
    assert stage.down() == 3000
    assert stage.counters["sessions_duplicates"] == 2
    assert len(stage.usage_rows) == 5


def test_a_retransmission_without_delay_keeps_the_earliest_time() -> None:
    first = interim("10:05:00", 300, 3000)
    again = replace(first, event_at=at("10:07:00"), received_at=at("10:07:00"))
    in_order = run([start("10:00:00"), first, again, stop("10:10:00", 600, 6000)])
    reversed_ = run([start("10:00:00"), again, stop("10:10:00", 600, 6000), first])
    assert in_order.down_by_minute() == reversed_.down_by_minute()
    assert set(in_order.down_by_minute().values()) == {600}


def test_a_stop_repeated_for_hours_without_delay_is_charged_once() -> None:
    short = stop("10:00:20", 20, 5000)
    again = [replace(short, event_at=at(t), received_at=at(t)) for t in LATER]
    stage = run([start("10:00:00"), short, *again], watermark="18:00:00")
    assert stage.down() == 5000


LATER = ("10:01:00", "10:30:00", "11:30:00", "12:05:00")


def test_a_reordered_packet_lowers_nothing_and_lands_where_it_belongs() -> None:
    packets = [start("10:00:00"), interim("10:10:00", 600, 6000), interim("10:05:00", 300, 1000)]
    stage = run(packets)
    assert stage.down() == 6000
    assert stage.down_by_minute()["10:00"] == 200
    assert stage.down_by_minute()["10:09"] == 1000


def test_a_late_knot_corrects_only_the_minutes_between_its_neighbours() -> None:
    packets = [start("10:00:00"), interim("10:05:00", 300, 500), interim("10:15:00", 900, 1500)]
    stage = run([*packets, stop("10:20:00", 1200, 2000)])
    before = len(stage.usage_rows)
    late = interim("10:10:00", 600, 700, arrives="10:30:00")
    stage.feed([late])
    corrections = stage.usage_rows[before:]
    assert {row["minute"] for row in corrections} == set(range(minute("10:05"), minute("10:15")))
    assert sum(row["octets_down"] for row in corrections) == 0
    assert {row["received_at"] for row in corrections} == {at("10:30:00")}


def test_a_missing_start_is_the_implied_start() -> None:
    stage = run([interim("10:05:00", 300, 3000), stop("10:10:00", 600, 6000)])
    assert stage.session().started_at == at("10:00:00")
    assert set(stage.down_by_minute().values()) == {600}


def test_a_first_packet_without_session_time_lands_in_its_minute() -> None:
    stage = run([interim("10:05:10", None, 3000), interim("10:07:10", None, 3200)])
    assert stage.down_by_minute() == {"10:05": 3083, "10:06": 100, "10:07": 17}


def test_a_session_found_running_on_installation_day_is_not_charged_for_the_past() -> None:
    month = 30 * 86_400
    stage = run([interim("10:05:00", month, 900 * GB), interim("10:10:00", month + 300, 901 * GB)])
    assert stage.down() == 1 * GB
    assert stage.counters["sessions_opened_midway"] == 1


def test_a_zero_stop_lowers_nothing_but_ends() -> None:
    stage = run([start("10:00:00"), interim("10:05:00", 300, 3000), stop("10:07:00", 420, 0)])
    assert stage.down() == 3000
    assert stage.session().ended_at == at("10:07:00")


def test_a_stop_without_counters_ends() -> None:
    stage = run([start("10:00:00"), interim("10:05:00", 300, 3000), stop("10:07:00", 420, None)])
    assert stage.down() == 3000
    assert stage.session().ended_at == at("10:07:00")


def test_a_late_stop_replaces_the_presumption() -> None:
    stage = run([start("10:00:00"), interim("10:05:00", 300, 3000)], watermark="10:30:00")
    presumed = stage.session()
    assert (presumed.ended_at, presumed.end_cause) == (at("10:05:00"), "presumed")
    stage.feed([stop("10:09:00", 540, 5000, arrives="10:40:00", terminate_cause=2)])
    assert stage.down() == 5000
    final = stage.session()
    assert (final.ended_at, final.end_cause) == (at("10:09:00"), "stop: lost carrier")


def test_a_missing_stop_ends_the_session_and_a_later_interim_reopens_it() -> None:
    held: dict[str, Any] = {"framed_address": address("100.64.0.1")}
    stage = run([start("10:00:00", **held), interim("10:05:00", 300, 3000, **held)])
    stage.feed([], watermark="10:19:59")
    assert stage.session().ended_at is None
    stage.feed([], watermark="10:20:00")
    assert stage.session().ended_at == at("10:05:00")
    (row,) = stage.bindings.values()
    assert (row["valid_until_at"], row["received_at"]) == (at("10:05:00"), at("10:20:00"))
    stage.feed([interim("10:25:00", 1500, 4000, **held)], watermark="10:25:01")
    assert stage.session().ended_at is None
    assert stage.down() == 4000
    assert [row[3] for row in stage.held()] == [None]
    assert stage.counters["sessions_reopened"] == 1


def test_an_interim_after_the_stop_is_not_counted_and_does_not_reopen() -> None:
    packets = [start("10:00:00"), stop("10:05:00", 300, 3000), interim("10:05:30", 330, 3500)]
    stage = run(packets)
    assert stage.down() == 3000
    assert stage.session().ended_at == at("10:05:00")
    assert stage.counters["sessions_after_stop"] == 1


def test_an_interim_that_was_overtaken_by_the_stop_counts_as_a_late_knot() -> None:
    packets = [start("10:00:00"), stop("10:10:00", 600, 6000), interim("10:05:00", 300, 1000)]
    stage = run(packets)
    assert (stage.down(), stage.down_by_minute()["10:00"]) == (6000, 200)


def test_a_session_id_used_again_is_a_new_session() -> None:
    packets = [
        start("10:00:00"),
        stop("10:10:00", 600, 6000),
        start("11:00:00", user_name="bob"),
        stop("11:05:00", 300, 500, user_name="bob"),
    ]
    stage = run(packets)
    assert [row.octets_down for row in stage.sessions()] == [6000, 500]
    assert {key[0] for key in stage.minutes()} == {"s-alice", "pool-family"}


def test_a_counter_reset_with_a_later_start_is_a_new_session_even_without_start_or_stop() -> None:
    stage = run([interim("10:10:00", 600, 6000), interim("11:00:00", 300, 500)])
    assert stage.down() == 6500
    assert [row.end_cause for row in stage.sessions()] == ["superseded", ""]


def test_a_drifting_clock_does_not_make_a_session_anew() -> None:
    packets = [start("10:00:00")]
    for number in range(1, 12):
        clock = f"{10 + number // 12}:{number * 5 % 60:02}:{number * 4 % 60:02}"
        packets.append(interim(clock, number * 300, number * 1000))
    stage = run(packets)
    assert stage.session().octets_down == 11_000
    assert stage.down() == 11_000


def test_accounting_on_ends_what_began_before_it_also_for_packets_that_come_later() -> None:
    running = [start("10:00:00"), start("10:30:00", acct_session_id="0002", nas_id="other")]
    stage = run([*running, on("11:00:00")])
    causes = {row.acct_session_id: row.end_cause for row in stage.sessions()}
    assert causes == {"0001": "accounting_on", "0002": ""}
    stage.feed([interim("10:59:00", 3540, 9000, arrives="11:01:00")])
    late = start("10:50:00", acct_session_id="0003", arrives="11:02:00")
    fresh = start("11:00:30", acct_session_id="0004")
    stage.feed([late, fresh])
    ended = {row.acct_session_id: row.ended_at for row in stage.sessions() if row.nas_id == "bras"}
    assert ended == {"0001": at("11:00:00"), "0003": at("11:00:00"), "0004": None}
    assert stage.down() == 9000


def test_a_repeated_accounting_on_keeps_its_first_time() -> None:
    stage = run([on("11:00:00"), start("11:00:05"), on("11:00:30")])
    assert stage.session().ended_at is None
    backwards = run([on("11:00:30"), start("11:00:05"), on("11:00:00")])
    assert backwards.session().ended_at is None


def test_accounting_off_ends_the_sessions_of_its_nas() -> None:
    stage = run([start("10:00:00"), off("10:30:00")])
    assert (stage.session().ended_at, stage.session().end_cause) == (
        at("10:30:00"),
        "accounting_off",
    )


def test_a_delegated_prefix_given_after_start_is_held_from_its_first_packet() -> None:
    v4: dict[str, Any] = {"framed_address": address("100.64.0.1")}
    both: dict[str, Any] = {**v4, "delegated_prefixes": (prefix("2001:db8:1:100::/56"),)}
    stage = run(
        [
            start("10:00:00", **v4),
            interim("10:00:10", 10, 100, **both),
            interim("10:05:00", 300, 3000, **v4),
            stop("10:10:00", 600, 6000, **both),
        ]
    )
    assert stage.held() == [
        ("s-alice", "00000000000000000000ffff64400001/128", at("10:00:00"), at("10:10:00")),
        ("s-alice", "20010db8000101000000000000000000/56", at("10:00:10"), at("10:10:00")),
    ]
    assert stage.session().delegated_prefix == "2001:db8:1:100::/56"


def test_an_address_change_in_mid_session_closes_and_opens() -> None:
    one: dict[str, Any] = {"framed_address": address("100.64.0.1")}
    two: dict[str, Any] = {"framed_address": address("100.64.0.2")}
    stage = run(
        [start("10:00:00", **one), interim("10:05:00", 300, 1, **two), stop("10:10:00", 600, 2)]
    )
    assert stage.held() == [
        ("s-alice", "00000000000000000000ffff64400001/128", at("10:00:00"), at("10:05:00")),
        ("s-alice", "00000000000000000000ffff64400002/128", at("10:05:00"), at("10:10:00")),
    ]


def test_an_address_used_again_has_one_holder_at_a_time() -> None:
    held: dict[str, Any] = {"framed_address": address("100.64.0.1")}
    stage = run(
        [
            start("10:00:00", **held),
            stop("10:05:00", 300, 10, **held),
            start("10:05:10", acct_session_id="0002", user_name="bob", **held),
        ]
    )
    assert [(row[0], row[2], row[3]) for row in stage.held()] == [
        ("s-alice", at("10:00:00"), at("10:05:00")),
        ("s-bob", at("10:05:10"), None),
    ]


def test_the_live_rate_is_that_of_the_last_knot_interval() -> None:
    stage = run(
        [start("10:00:00"), interim("10:05:00", 300, 100), interim("10:10:00", 600, 37_600)]
    )
    session = stage.session()
    assert (session.rate_down_bps, session.interval_start_at) == (1000, at("10:05:00"))


def test_a_packet_long_after_silence_first_ends_the_session_in_whatever_batch() -> None:
    held: dict[str, Any] = {"framed_address": address("100.64.0.1")}
    packets = [start("10:00:00", **held), interim("13:00:00", 10_800, 3000, **held)]
    apart = run(packets)
    together = Stage()
    together.feed(packets)
    assert [row["received_at"] for row in apart.binding_rows] == [
        at("10:00:00"),
        at("10:15:00"),
        at("13:00:00"),
    ]
    assert together.binding_rows == apart.binding_rows


def test_what_lies_behind_the_bound_is_compacted_and_still_adds_up() -> None:
    stage = Stage()
    octets = 0
    for number in range(1, 200):
        octets += 1000 + 7 * number
        clock = f"{10 + number * 5 // 60}:{number * 5 % 60:02}:00"
        stage.feed([interim(clock, number * 300, octets)], watermark=clock)
    (group,) = stage.state.collections["sessions"].values()
    assert len(group.packets) < 30
    assert stage.down() == octets
    before = len(stage.usage_rows)
    last = at("26:35:00")
    stage.feed([interim("11:02:00", 3720, 10**6, arrives="26:36:00")], watermark=last)
    assert all(
        row["octets_down"] >= 0 or row["minute"] > minute("20:00") for row in stage.usage_rows
    )
    assert sum(row["octets_down"] for row in stage.usage_rows[before:]) == max(0, 10**6 - octets)


def test_a_packet_repeated_after_the_session_was_compacted_is_not_charged_again() -> None:
    last = stop("10:05:00", 300, 3000)
    stage = run([start("10:00:00"), last], watermark="20:00:00")
    (group,) = stage.state.collections["sessions"].values()
    assert not group.packets
    again = replace(last, received_at=at("20:00:30"))
    stage.feed([again], watermark="20:01:00")
    assert stage.down() == 3000
    assert len(stage.sessions()) == 1


def test_an_ended_session_is_forgotten_when_its_retention_is_over() -> None:
    stage = run([start("10:00:00"), stop("10:05:00", 300, 3000)])
    for hours in range(11, 100, 4):
        stage.feed([], watermark=f"{hours}:00:00")
    assert not stage.state.collections["sessions"]
    assert not stage.state.collections["session_timers"]


def test_more_packets_than_the_limit_are_compacted_early() -> None:
    stage = Stage(SessionsConfig(packets_per_session_max=16))
    for second in range(1, 60):
        stage.feed([interim(f"10:00:{second:02}", second, second * 10)], watermark="10:00:00")
    (group,) = stage.state.collections["sessions"].values()
    assert len(group.packets) <= 16
    assert stage.down() == 590


def test_a_nas_that_reports_each_five_seconds_costs_bounded_state_and_no_octet() -> None:
    config = SessionsConfig(packets_per_session_max=64)
    stage = Stage(config)
    stage.feed([start("10:00:00")])
    for second in range(5, 3_600, 5):
        event = f"10:{second // 60:02}:{second % 60:02}"
        stage.feed([interim(event, second, second * 1_000)], watermark=event)
        (group,) = [group for _, group in stage.state.scan("sessions")]
        assert len(group.packets) <= config.packets_per_session_max
    assert stage.down() == 3_595_000
    assert stage.down_by_minute()["10:30"] == 60_000


def test_tunnel_packets_and_packets_without_session_id_are_counted_only() -> None:
    stage = run([start("10:00:00", acct_session_id=""), replace(on("10:00:00"), status="other")])
    assert stage.counters["sessions_ignored"] == 2
    assert not stage.sessions()


@pytest.mark.parametrize("name", ["identity_order", "interim_interval_seconds"])
def test_the_check_of_the_settings_names_the_wrong_key(name: str) -> None:
    from rating.session_config import check_sessions

    wrong = {"identity_order": ("imsi",), "interim_interval_seconds": 0}
    assert not check_sessions(SessionsConfig())
    (problem,) = check_sessions(SessionsConfig(**{name: wrong[name]}))  # type: ignore[arg-type]
    assert name in problem


def test_the_day_of_these_tests_is_a_whole_day() -> None:
    assert DAY_AT % 86_400_000 == 0


def test_a_session_that_a_successor_overtook_keeps_its_start_for_its_own_late_packets() -> None:
    config = SessionsConfig(lateness_bound_seconds=600, interim_interval_seconds=100)
    held: dict[str, Any] = {"framed_address": address("100.64.0.1")}
    stage = Stage(config)
    stage.feed([start("10:00:00", **held)], watermark="10:00:00")
    stage.feed([interim("10:12:00", 120, 500, **held)], watermark="10:05:40")
    stage.feed([interim("10:05:39", 339, 60_000, arrives="10:12:10", **held)], watermark="10:06:00")
    assert [row.octets_down for row in stage.sessions()] == [60_000, 500]
    assert [row[2:] for row in stage.held()] == [
        (at("10:00:00"), at("10:05:39")),
        (at("10:10:00"), None),
    ]


def test_hours_of_spooled_packets_may_come_in_any_order() -> None:
    knots = [interim(f"0{n}:00:00", n * 3600, n * 1000, arrives="10:00:00") for n in range(1, 9)]
    packets = [start("00:00:00", arrives="10:00:00"), *knots]
    forwards, backwards = Stage(), Stage()
    for one, other in zip(packets, reversed(packets), strict=True):
        forwards.feed([one], watermark="10:00:00")
        backwards.feed([other], watermark="10:00:00")
    assert forwards.minutes() == backwards.minutes()
    assert forwards.down() == 8000


def test_a_stop_repeated_without_delay_after_its_compaction_is_no_new_session() -> None:
    last = stop("10:00:20", 20, 5000)
    stage = run([start("10:00:00"), last], watermark="13:00:00")
    again = replace(last, event_at=at("13:00:00"), received_at=at("13:00:00"))
    stage.feed([again], watermark="13:01:00")
    assert stage.down() == 5000
    assert len(stage.sessions()) == 1


def test_an_interim_repeated_without_delay_after_its_compaction_makes_no_knot() -> None:
    packets = [start("10:00:00"), interim("10:05:00", 300, 300), interim("10:10:00", 600, 600)]
    stage = run(packets, watermark="13:00:00")
    late = interim("13:00:00", 300, 300)
    stage.feed([late, interim("13:10:00", 11_400, 11_400)], watermark="13:11:00")
    assert set(stage.down_by_minute().values()) == {60}


def test_spooled_packets_of_a_session_that_began_long_ago_may_come_in_any_order() -> None:
    knots = [interim(f"0{n}:00:00", n * 3600, n**2, arrives="10:00:00") for n in range(1, 9)]
    forwards, backwards = Stage(), Stage()
    for stage, spooled in ((forwards, knots), (backwards, knots[::-1])):
        stage.feed([start("00:00:00")], watermark="00:00:00")
        for one in spooled:
            stage.feed([one], watermark="10:00:00")
    assert forwards.minutes() == backwards.minutes()
