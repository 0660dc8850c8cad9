"""Whose ports they were: one situation of a NAT, one test."""

from __future__ import annotations

import pytest

from rating import translations
from rating.nat_pools import PORTS
from rating.records import FlowMinute, schema_of
from rating.session_config import AttributionConfig, check_attribution
from tests.rating.accounting_log import at
from tests.rating.translation_log import OUTSIDE, Translation, freed, seen, told

ALICE, BOB = "100.64.0.1", "100.64.0.2"


def test_a_block_is_its_inside_addresss_from_allocation_to_release() -> None:
    stage = Translation()
    rows = [seen(clock, 1024, 512, 10**n) for n, clock in enumerate(("09:59", "10:05", "10:31"))]
    events = [told(ALICE, 1024, 1535, "10:00:00"), freed(ALICE, 1024, 1535, "10:30:30")]
    stage.feed(rows, events, watermark="10:40:00")
    assert stage.totals() == {ALICE: 10, OUTSIDE: 101}
    inside = next(row for row in stage.rows if row["octets_down"] == 10)
    assert list(inside) == schema_of(FlowMinute).names()
    assert inside["port_block"] == 0
    assert inside["exporter"] == "edge"
    assert inside["octets_exported"] == 10


def test_blocks_share_an_address() -> None:
    stage = Translation()
    events = [told(ALICE, 1024, 1535, "10:00:00"), told(BOB, 1536, 2047, "10:00:00")]
    rows = [seen("10:05", 1024 + 512 * n, 512, 10**n) for n in range(3)]
    stage.feed(rows, events, watermark="10:10:00")
    assert stage.totals() == {ALICE: 1, BOB: 10, OUTSIDE: 100}
    assert stage.counters["translate_uncovered_rows"] == 1
    assert stage.counters["translate_uncovered_octets"] == 100
    assert not stage.counters["translate_ambiguous_rows"]


def test_a_minute_with_two_holders_is_the_later_ones() -> None:
    stage = Translation()
    events = [
        told(ALICE, 1024, 1535, "10:00:00"),
        freed(ALICE, 1024, 1535, "10:05:10"),
        told(BOB, 1024, 1535, "10:05:40"),
    ]
    rows = [seen(clock, 1024, 512, 1) for clock in ("10:04", "10:05", "10:06")]
    stage.feed(rows, events, watermark="10:10:00")
    assert stage.totals() == {ALICE: 1, BOB: 2}


def test_a_lost_release_ends_with_the_ports_next_holder_for_good() -> None:
    stage = Translation()
    events = [
        told(ALICE, 1024, 2047, "10:00:00"),
        told(BOB, 1024, 1535, "10:05:00"),
        freed(BOB, 1024, 1535, "10:07:00"),
    ]
    rows = [seen("10:08", 1024, 512, 1), seen("10:08", 1536, 512, 10), seen("10:04", 1024, 512, 4)]
    stage.feed(rows, events, watermark="10:10:00")
    assert stage.totals() == {ALICE: 4, OUTSIDE: 11}


def test_a_lost_release_ends_after_the_retention() -> None:
    stage = Translation(AttributionConfig(nat_binding_retention_seconds=600))
    rows = [seen("10:09", 1024, 512, 1), seen("10:11", 1024, 512, 10)]
    stage.feed(rows, [told(ALICE, 1024, 1535, "10:00:00")], watermark="10:20:00")
    assert stage.totals() == {ALICE: 1, OUTSIDE: 10}


def test_an_allocation_told_again_lasts_longer() -> None:
    stage = Translation(AttributionConfig(nat_binding_retention_seconds=600))
    rows = [seen("10:11", 1024, 512, 1), seen("10:17", 1024, 512, 10)]
    events = [told(ALICE, 1024, 1535, f"10:{minute:02}:00") for minute in (0, 6, 3)]
    stage.feed(rows, events, watermark="10:20:00")
    assert stage.totals() == {ALICE: 1, OUTSIDE: 10}


def test_the_release_of_a_former_holder_ends_nothing_of_the_present_one() -> None:
    stage = Translation()
    events = [
        told(ALICE, 1024, 1535, "10:00:00"),
        told(BOB, 1024, 1535, "10:05:00"),
        freed(ALICE, 1024, 1535, "10:05:01"),
    ]
    stage.feed([seen("10:08", 1024, 512, 1)], events, watermark="10:10:00")
    assert stage.totals() == {BOB: 1}


def test_a_release_of_less_than_the_block_ends_nothing() -> None:
    stage = Translation()
    events = [told(ALICE, 1024, 1535, "10:00:00"), freed(ALICE, 1100, 1100, "10:01:00")]
    stage.feed([seen("10:08", 1024, 512, 1)], events, watermark="10:10:00")
    assert stage.totals() == {ALICE: 1}


def test_a_session_logged_beside_its_block_neither_ends_nor_hides_it() -> None:
    stage = Translation()
    events = [
        told(ALICE, 1024, 1535, "10:00:00"),
        told(ALICE, 1100, 1100, "10:02:00", protocol=6),
        freed(ALICE, 1100, 1100, "10:03:00", protocol=6),
    ]
    rows = [seen(clock, 1024, 512, 1) for clock in ("10:02", "10:05")]
    stage.feed(rows, events, watermark="10:10:00")
    assert stage.totals() == {ALICE: 2}


def test_an_event_is_taken_to_be_no_older_than_the_lateness_bound() -> None:
    stage = Translation()
    stage.feed([], [told(ALICE, 1024, 1535, "07:00:00", arrives="10:00:00")], watermark="10:01:00")
    [body] = stage.state.collections["translations"].values()
    assert translations.read_rows(body)["at"].tolist() == [at("08:00:00")]


def test_a_cell_across_two_holders_is_nobodys() -> None:
    stage = Translation()
    events = [told(ALICE, 1024, 1279, "10:00:00"), told(BOB, 1280, 1535, "10:00:00")]
    stage.feed([seen("10:05", 1024, 512, 1)], events, watermark="10:10:00")
    assert stage.totals() == {OUTSIDE: 1}
    assert stage.counters["translate_ambiguous_rows"] == 1


def test_a_cell_of_which_a_part_was_given_away_later_is_nobodys() -> None:
    stage = Translation()
    events = [told(ALICE, 1024, 1535, "10:00:00"), told(BOB, 1100, 1100, "10:05:30")]
    stage.feed([seen("10:05", 1024, 512, 1)], events, watermark="10:10:00")
    assert stage.totals() == {OUTSIDE: 1}


def test_a_block_of_several_cells_has_them_all() -> None:
    stage = Translation()
    rows = [seen("10:05", 1024 + 64 * n, 64, 1) for n in range(9)]
    stage.feed(rows, [told(ALICE, 1024, 1535, "10:00:00")], watermark="10:10:00")
    assert stage.totals() == {ALICE: 8, OUTSIDE: 1}


def test_sessions_of_one_port_differ_by_protocol() -> None:
    stage = Translation()
    events = [
        told(ALICE, 5000, 5000, "10:00:00", protocol=6),
        told(BOB, 5000, 5000, "10:00:00", protocol=17),
    ]
    rows = [seen("10:05", 5000, 1, 1, protocol=6), seen("10:05", 5000, 1, 10, protocol=17),
            seen("10:05", 5000, 1, 100, protocol=132)]  # fmt: skip
    stage.feed(rows, events, watermark="10:10:00")
    assert stage.totals() == {ALICE: 1, BOB: 10, OUTSIDE: 100}


def test_ports_that_are_a_step_apart_interleave() -> None:
    stage = Translation()
    events = [
        told(ALICE, 1024, 1024 + 2 * 99, "10:00:00", port_step=2),
        told(BOB, 1025, 1025 + 2 * 99, "10:01:00", port_step=2),
    ]
    rows = [seen("10:05", 1024 + n, 1, 10**n, protocol=6) for n in range(3)]
    stage.feed(rows, events, watermark="10:10:00")
    assert stage.totals() == {ALICE: 101, BOB: 10}


def test_a_flow_without_ports_is_whose_the_whole_address_is() -> None:
    stage = Translation()
    rows = [seen("10:05", 0, PORTS, 1), seen("10:05", 0, PORTS, 10, outside="198.51.100.8")]
    events = [told(ALICE, 0, PORTS - 1, "10:00:00"),
              told(BOB, 1024, 1535, "10:00:00", address=_mapped("198.51.100.8"))]  # fmt: skip
    stage.feed(rows, events, watermark="10:10:00")
    assert stage.totals() == {ALICE: 1, "198.51.100.8": 10}


def test_ports_of_a_routing_instance_of_others_are_nobodys() -> None:
    stage = Translation()
    events = [told(ALICE, 1024, 1535, "10:00:00"), told("", 1024, 1535, "10:03:00")]
    rows = [seen("10:02", 1024, 512, 1), seen("10:05", 1024, 512, 10)]
    stage.feed(rows, events, watermark="10:10:00")
    assert stage.totals() == {ALICE: 1, OUTSIDE: 10}


def test_a_late_event_moves_what_was_joined_by_difference() -> None:
    stage = Translation()
    rows = [seen(clock, 1024, 512, 100) for clock in ("10:04", "10:05")]
    stage.feed(rows, [told(ALICE, 1024, 1535, "10:00:00")], watermark="10:10:00")
    before = len(stage.rows)
    stage.feed([], [told(BOB, 1024, 1535, "10:05:00", arrives="10:12:00")])
    assert stage.totals() == {ALICE: 100, BOB: 100}
    assert sorted(row["octets_down"] for row in stage.rows[before:]) == [-100, 100]
    assert {row["received_at"] for row in stage.rows[before:]} == {at("10:12:00")}
    assert stage.counters["translate_moved_rows"] == 2


def test_a_late_release_gives_back_what_came_after_it() -> None:
    stage = Translation()
    rows = [seen(clock, 1024, 512, 100) for clock in ("10:04", "10:05", "10:06")]
    stage.feed(rows, [told(ALICE, 1024, 1535, "10:00:00")], watermark="10:10:00")
    stage.feed([], [freed(ALICE, 1024, 1535, "10:04:30", arrives="10:15:00")])
    assert stage.totals() == {ALICE: 100, OUTSIDE: 200}


def test_an_event_said_twice_changes_nothing() -> None:
    stage = Translation()
    event = told(ALICE, 1024, 1535, "10:00:00")
    stage.feed([seen("10:05", 1024, 512, 1)], [event, event], watermark="10:10:00")
    stage.feed([], [event], watermark="10:11:00")
    assert stage.totals() == {ALICE: 1}
    assert stage.counters["translate_events_new"] == 1


def test_how_far_back_an_event_reaches_follows_from_its_own_receipt() -> None:
    rows = [seen("10:05", 1024, 512, 100), seen("10:06", 1024, 512, 7)]
    # The bound is two hours: at 12:06:30 it reaches back to 10:06, however far the watermark lags.
    late = told(ALICE, 1024, 1535, "10:00:00", arrives="12:06:30")
    apart = Translation()
    apart.feed(rows, watermark="10:10:00")
    apart.feed([], [late], watermark="10:11:00")
    together = Translation()
    together.feed(rows, [late], watermark="10:11:00")
    prompt = Translation()
    prompt.feed(rows, watermark="12:06:20")
    prompt.feed([], [late], watermark="12:06:30")
    for stage in (apart, together, prompt):
        assert stage.totals() == {OUTSIDE: 100, ALICE: 7}


def test_what_ended_long_ago_is_kept_with_the_past_and_there_for_its_days() -> None:
    stage = Translation(AttributionConfig(nat_history_days=1))
    events = [told(ALICE, 1024, 1535, "10:00:00"), freed(ALICE, 1024, 1535, "10:30:00")]
    stage.feed([], events, watermark="10:40:00")
    assert "translations_past" not in stage.state.collections
    later = told(BOB, 1024, 1535, "15:00:00")
    stage.feed([], [later], watermark="15:00:10")
    [(key, past)] = stage.state.collections["translations_past"].items()
    assert len(past) == 48
    assert len(stage.state.collections["translations"][key.partition("/")[0]]) == 48
    day = 86_400_000
    ends = freed(BOB, 1024, 1535, "15:10:00")
    stage.feed([], [ends], watermark=at("15:10:00") + 2 * day)
    assert not stage.state.collections["translations_past"]


def test_an_allocation_told_every_minute_stays_one_row() -> None:
    stage = Translation(AttributionConfig(lateness_bound_seconds=60))
    for minute in range(60):
        event = told(ALICE, 1024, 1535, f"10:{minute:02}:00")
        stage.feed([], [event], watermark=f"10:{minute:02}:10")
    assert max(map(len, stage.state.collections["translations"].values())) <= 4 * 48
    stage.feed([seen("10:59", 1024, 512, 1)], watermark="11:10:00")
    assert stage.totals() == {ALICE: 1}


def test_hostile_events_that_all_overlap_are_bounded_and_the_newest_stand() -> None:
    config = AttributionConfig(nat_overlaps_per_address_limit=10_000)
    stage = Translation(config)
    for batch in range(6):
        events = [
            told(f"100.64.{batch}.{number}", 0, PORTS - 1, f"10:0{batch}:{number % 60:02}")
            for number in range(60)
        ]
        stage.feed([], events, watermark=f"10:0{batch}:59")
    assert stage.counters["translate_rows_forgotten"] > 100
    assert max(map(len, stage.state.collections["translations"].values())) <= 100 * 48
    stage.feed([seen("10:06", 1024, 512, 1)], watermark="10:10:00")
    assert stage.totals() == {"100.64.5.59": 1}


def test_what_is_compared_at_once_is_bounded_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [told(ALICE, 1024 + 64 * n, 1087 + 64 * n, "10:00:00") for n in range(20)]
    events += [told(BOB, 1030 + 64 * n, 1030 + 64 * n, "10:05:30") for n in range(0, 20, 3)]
    rows = [seen("10:05", 1024 + 64 * n, 64, 1 << n) for n in range(20)]
    totals = []
    for most in (translations.COMPARED_MAX, 40):
        monkeypatch.setattr(translations, "COMPARED_MAX", most)
        stage = Translation()
        stage.feed(rows, events, watermark="10:10:00")
        totals.append(stage.totals())
    assert totals[0] == totals[1]
    assert totals[0][ALICE] == sum(1 << n for n in range(20) if n % 3)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (AttributionConfig(nat_binding_retention_seconds=0), "nat_binding_retention_seconds"),
        (AttributionConfig(nat_history_days=-1), "nat_history_days"),
        (AttributionConfig(nat_overlaps_per_address_limit=1), "nat_overlaps_per_address_limit"),
    ],
)
def test_the_check_of_the_settings_names_the_wrong_key(config: AttributionConfig, key: str) -> None:
    assert key in check_attribution(config)[0]


def _mapped(text: str) -> bytes:
    return told(ALICE, 0, 0, "10:00:00").address[:12] + bytes(int(p) for p in text.split("."))
