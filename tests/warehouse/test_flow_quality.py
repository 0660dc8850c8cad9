"""How sure a subscriber's flow usage is, worked out by hand beside the query."""

from __future__ import annotations

from typing import Any

import pytest

from tests.warehouse.opened_store import HOUR
from warehouse.answers import FlowQuality
from warehouse.connect import WarehouseClient
from warehouse.queries import flow_quality

HOUR_MS = 3_600_000
AT = HOUR * HOUR_MS
DAY = {"from_at": AT, "until_at": AT + 24 * HOUR_MS}


def asked(reading: WarehouseClient, step: str, *ids: str, **more: Any) -> list[FlowQuality]:
    """Return the quality of some subscribers over the first day."""
    query = flow_quality(step)
    values: dict[str, Any] = {**DAY, "subscriber_ids": list(ids), **more}
    return query.rows(reading, **{name: values[name] for name in query.parameters})


def test_what_may_be_missing_by_hour(reading: WarehouseClient) -> None:
    """Of 192.0.2.1's 100 datagrams 10 are missing of 90 (v9), 5 of 10 (100 of 200 records)."""
    first, second = asked(reading, "hour", "s0")
    lost_of_numbered = 1_000_000 * (10 + 5) // 100
    all_received, dropped = 90 + 10 + 100 + 200, 30 + 10
    lost_of_v1 = 4_000 * dropped // all_received
    assert first == FlowQuality(
        at=AT,
        octets=1_004_500,
        octets_exported=14_500,
        octets_rate_unknown=500,
        octets_missing=lost_of_numbered + lost_of_v1,
        octets_unnumbered=4_000,
    )
    assert second == FlowQuality(AT + HOUR_MS, 70, 70, 0, 0, 0), "what came back is not missing"


def test_nothing_lost_is_nothing_missing(reading: WarehouseClient) -> None:
    (found,) = asked(reading, "hour", "s0", from_at=AT + HOUR_MS, until_at=AT + 2 * HOUR_MS)
    assert found.octets_missing == 0


def test_subscribers_are_apart_and_add_up(reading: WarehouseClient) -> None:
    (one,) = asked(reading, "hour", "s1")
    assert (one.octets, one.octets_missing, one.octets_rate_unknown) == (300, 45, 300)
    first, _ = asked(reading, "hour", "s0", "s1")
    assert first.octets == 1_004_500 + 300
    assert asked(reading, "hour", "nobody") == []


def test_a_local_day_and_a_whole_range(reading: WarehouseClient) -> None:
    days = asked(reading, "day", "s0", until_at=AT + 25 * HOUR_MS, time_zone="UTC")
    assert [day.octets for day in days] == [1_004_570, 8]
    assert [day.at % (24 * HOUR_MS) for day in days] == [0, 0]
    (whole,) = asked(reading, "range", "s0", until_at=AT + 25 * HOUR_MS)
    assert (whole.octets, whole.octets_missing) == (1_004_578, 150_000 + 400 + 8)
    assert asked(reading, "range", "nobody") == []


@pytest.mark.parametrize(("key", "octets"), [("pool-1", 1_004_870), ("s2", 55), ("s3", 0)])
def test_of_a_rating_key_those_count_who_used_something_under_it(
    reading: WarehouseClient, key: str, octets: int
) -> None:
    query = flow_quality("range", "rating_keys")
    found = query.rows(reading, **DAY, rating_keys=[key])
    assert sum(row.octets for row in found) == octets
