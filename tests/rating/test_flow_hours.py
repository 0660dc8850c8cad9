"""What a subscriber's hour of flows is made of: exported and scaled, rate known or not, by whom."""

from __future__ import annotations

import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.attribution import PAGE_SCHEMA, PROVENANCE
from rating.flow_hours import SCHEMA
from rating.page_bodies import decode_page, encode_page
from rating.records import FlowMinute
from streams.codec import decode_value, encode_value
from streams.rekeying import Growth, Row, rekeyed
from tests.rating.accounting_log import minute
from tests.rating.flow_log import Attribution, binding, flow

HOUR = minute("10:00") // 60
ALICE = binding("alice", "10.0.0.1/32", "09:00:00")


def test_an_hour_is_told_once_it_is_over_and_not_before() -> None:
    stage = Attribution()
    stage.feed([flow("10:05", "10.0.0.1", 500)], [ALICE], watermark="10:59:00")
    stage.feed([flow("10:59", "10.0.0.1", 70)], watermark="11:00:29")
    assert stage.hours == {}
    stage.feed(watermark="11:00:30")
    assert stage.hours == {("alice", HOUR, "edge"): (570, 570, 0)}
    assert not stage.state.collections["flow_hours"]


def test_exported_and_scaled_octets_and_what_had_no_known_rate() -> None:
    sampled = flow("10:05", "10.0.0.1", 5_000, octets_exported=50)
    unknown = flow("10:06", "10.0.0.1", 30, octets_exported=30, rate_known=False, octets_up=12)
    stage = Attribution()
    stage.feed([sampled, unknown], [ALICE], watermark="11:05:00")
    assert stage.hours == {("alice", HOUR, "edge"): (5_042, 80, 42)}


def test_exporters_are_apart_and_their_usage_is_one() -> None:
    both = [flow("10:05", "10.0.0.1", n, exporter=name) for name, n in (("bng", 3), ("edge", 4))]
    stage = Attribution()
    stage.feed(both, [ALICE], watermark="11:05:00")
    assert stage.hours == {("alice", HOUR, "bng"): (3, 3, 0), ("alice", HOUR, "edge"): (4, 4, 0)}
    assert [row["octets_down"] for row in stage.rows] == [7]


def test_a_late_binding_moves_the_hour_too_also_after_it_was_told() -> None:
    stage = Attribution()
    stage.feed([flow("10:05", "10.0.0.1", 500)], [ALICE], watermark="11:05:00")
    stage.feed(
        [], [binding("bob", "10.0.0.1/32", "10:00:00", arrives="11:10:00")], watermark="11:10:00"
    )
    assert stage.hours == {("alice", HOUR, "edge"): (0, 0, 0), ("bob", HOUR, "edge"): (500, 500, 0)}


def test_late_flows_are_told_as_a_difference() -> None:
    stage = Attribution()
    stage.feed([flow("10:05", "10.0.0.1", 500)], [ALICE], watermark="11:05:00")
    stage.feed([flow("10:06", "10.0.0.1", 9, arrives="11:06:00")], watermark="11:07:00")
    assert stage.hours == {("alice", HOUR, "edge"): (509, 509, 0)}


def test_what_is_nobodys_is_in_no_hour() -> None:
    stage = Attribution()
    stage.feed([flow("10:05", "10.0.0.9", 500)], [ALICE], watermark="11:05:00")
    assert stage.hours == {}


def test_a_page_of_the_version_before_has_no_exporter() -> None:
    older = pl.DataFrame(
        schema={
            n: t for n, t in PAGE_SCHEMA.items() if n not in ("exporter", "user_name", *PROVENANCE)
        }
    )
    row = pl.DataFrame([[0, 1, 0, "web", 5, 1, 2, 3, 4, 6]], older.schema, orient="row")
    page = decode_page(encode_page(row), PAGE_SCHEMA)
    assert page.schema == PAGE_SCHEMA
    assert page.row(0, named=True)["exporter"] == ""
    assert page.row(0, named=True)["octets_down"] == 2


def test_more_partitions_keep_the_sums_of_an_hour_that_is_not_over() -> None:
    stage = Attribution()
    stage.feed([flow("10:05", "10.0.0.1", 500)], [ALICE], watermark="10:30:00")
    [(key, body)] = stage.state.collections["flow_hours"].items()
    rows = [(partition, key, encode_value(body)) for partition in (0, 1)]
    [(partition, _, moved, value)] = [
        placed
        for placed in rekeyed("attribute", Growth(2, 5), lambda name: rows_of(name, rows))
        if placed[1] == "flow_hours"
    ]
    assert (0 <= partition < 5, moved) == (True, key)
    assert decode_page(decode_value(value, bytes), SCHEMA)["octets"].to_list() == [1_000]


def rows_of(collection: str, rows: list[Row]) -> list[Row]:
    """Return the rows of the one collection that has any."""
    return rows if collection == "flow_hours" else []


CLOCKS = [f"{hour:02d}:{m:02d}" for hour in (9, 10, 11) for m in (0, 7, 59)]


@pytest.mark.parametrize("restless", [False, True])
@given(data=st.data(), chance=st.randoms(use_true_random=False))
def test_hours_add_up_to_the_usage_whatever_the_batches(
    restless: bool, data: st.DataObject, chance: random.Random
) -> None:
    count = data.draw(st.integers(1, 15))
    flows: list[FlowMinute] = [
        flow(
            chance.choice(CLOCKS), f"10.0.0.{chance.randint(1, 3)}", chance.randint(1, 99),
            exporter=chance.choice(["bng", "edge"]), rate_known=chance.random() < 0.5,
        )
        for _ in range(count)
    ]  # fmt: skip
    stage = Attribution()
    bindings = [ALICE, binding("bob", "10.0.0.2/32", "09:00:00")]
    whole = Attribution()
    whole.feed(flows, bindings, watermark="12:30:00")
    for part in (flows[:5], flows[5:8], flows[8:]):
        clock = chance.choice(["09:30:00", "10:30:00", "11:30:00"]) if restless else None
        stage.feed(part, bindings, watermark=clock)
        bindings = []
    stage.feed(watermark="12:30:00")
    assert stage.hours == whole.hours
    by_usage = {(key[1], key[4] // 60): 0 for key in stage.usage if key[1]}
    for key, octets in stage.usage.items():
        if key[1]:
            by_usage[key[1], key[4] // 60] += octets
    by_hour = dict.fromkeys(by_usage, 0)
    for (subscriber, hour, _), sums in stage.hours.items():
        by_hour[subscriber, hour] += sums[0]
    assert by_hour == by_usage
