"""Every query against known usage, with what Python makes of the same rows."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from tests.warehouse.opened_store import FROM_AT, PERIOD_START_AT, UNTIL_AT, known_usage
from tests.warehouse.records_made import MINUTE, rated, rated_rows
from warehouse import queries
from warehouse.connect import WarehouseClient
from warehouse.intents import Source
from warehouse.queries import Query
from warehouse.sink import rated_frame
from warehouse.store import Store, open_writer

USAGE = known_usage()
RANGE = {"from_at": FROM_AT, "until_at": UNTIL_AT}
ATTRIBUTED = [row for row in USAGE if not row.rating_key.startswith("unattributed:")]
VALUES: dict[str, Any] = {
    "from_at": FROM_AT,
    "until_at": UNTIL_AT,
    "time_zone": "Asia/Kathmandu",
    "subscriber_ids": ["s1", "s3"],
    "rating_keys": ["pool-1"],
    "subscriber_id": "s1",
    "rating_key": "pool-1",
    "meter_id": "data",
    "session_id": "session-1-0",
    "period_start_at": PERIOD_START_AT,
    "limit": 1000,
}


@pytest.mark.parametrize("query", queries.all_queries(), ids=lambda query: query.name)
def test_every_query_gives_rows_of_its_class(reading: WarehouseClient, query: Query[Any]) -> None:
    wanted = {"from_at": FROM_AT, "until_at": UNTIL_AT + 50 * 86_400_000}
    values = {name: (VALUES | wanted)[name] for name in query.parameters}
    rows = query.rows(reading, **values)
    assert rows, query.name
    assert len({query.name for query in queries.all_queries()}) == len(queries.all_queries())
    for field in dataclasses.fields(rows[0]):
        value = getattr(rows[0], field.name)
        if field.type in ("int", "str", "float", "bool", "Decimal"):
            assert type(value).__name__ == field.type, (query.name, field.name, value)


def start_of(step: str, minute: int, zone: ZoneInfo) -> int:
    local = datetime.fromtimestamp(minute * 60, UTC).astimezone(zone)
    if step == "quarter":
        return minute // 15 * 15 * 60_000
    cut: dict[str, dict[str, Any]] = {
        "minute": {},
        "hour": {"minute": 0},
        "day": {"minute": 0, "hour": 0},
    }
    cut["month"] = {"minute": 0, "hour": 0, "day": 1}
    start = local.replace(second=0, **cut[step])
    return int(start.timestamp()) * 1000


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Lima"])
@pytest.mark.parametrize("step", list(queries.STEPS))
def test_local_steps_hold_the_same_octets(reading: WarehouseClient, step: str, zone: str) -> None:
    expected: Counter[int] = Counter()
    for row in ATTRIBUTED:
        if row.meter_id == "volume":
            expected[start_of(step, row.minute, ZoneInfo(zone))] += row.octets_down
    for scope in ("all", "rating_keys"):
        query = queries.series(step, scope)
        values = dict(RANGE) | ({"time_zone": zone} if "time_zone" in query.parameters else {})
        if scope == "rating_keys":
            values["rating_keys"] = ["pool-1", "s2", "s3"]  # type: ignore[assignment]
        points = query.rows(reading, **values)
        assert {point.at: point.octets_down for point in points} == dict(expected)
        assert [point.at for point in points] == sorted(expected)


def test_a_subscribers_series_by_class(reading: WarehouseClient) -> None:
    query = queries.series("minute", "subscribers", by_class=True)
    points = query.rows(reading, **RANGE, subscriber_ids=["s1"])
    mine = [row for row in USAGE if row.subscriber_id == "s1" and row.meter_id == "volume"]
    by_minute: Counter[int] = Counter()
    by_cell: Counter[tuple[int, str]] = Counter()
    for row in mine:
        by_minute[row.minute * 60_000] += row.octets_down
        by_cell[row.minute // 15, row.traffic_class] += row.octets_down
    found_minutes: Counter[int] = Counter()
    found_cells: Counter[tuple[int, str]] = Counter()
    for point in points:
        found_minutes[point.at] += point.octets_down
        found_cells[point.at // 900_000, point.traffic_class] += point.octets_down
    assert found_minutes == by_minute, "a minute's total is exact"
    assert found_cells.keys() == by_cell.keys()
    for cell, octets in by_cell.items():
        assert abs(found_cells[cell] - octets) <= 15, "a class's quarter hour, but for rounding"


def test_reclassified_octets_leave_no_spike_in_a_quarter_hours_first_minute(
    reading: WarehouseClient, store: Store
) -> None:
    """Rate books minutes as unclassified, then moves the cell's octets in its first minute."""
    first = MINUTE + 1_000_000
    first -= first % 15
    rows = [
        rated(minute=first + n, octets_down=1_000, subscriber_id="moved", packets_down=1)
        for n in range(15)
    ] + [
        rated(minute=first, octets_down=octets, subscriber_id="moved", traffic_class=name,
              session_id="")
        for name, octets in (("unclassified", -15_000), ("cdn", 5_000), ("world", 10_000))
    ]  # fmt: skip
    writer = open_writer(store.engine, store.config)
    frame = rated_frame([(10_000, rated_rows(rows))], Source(1, "usage.rated", 0))
    writer.insert_arrow("usage_rated_1", frame.to_arrow(compat_level=pl.CompatLevel.oldest()))
    writer.close()
    until = {"from_at": first * 60_000, "until_at": (first + 15) * 60_000}
    points = queries.series("minute", by_class=True).rows(reading, **until)
    assert len(points) == 45
    assert {(p.traffic_class, p.octets_down) for p in points} == {
        ("cdn", 333), ("unclassified", 0), ("world", 667),
    }  # fmt: skip
    rates = queries.rate(by_class=True).rows(reading, **until)
    assert sum(point.bps_down for point in rates) == pytest.approx(15_000 * 8 / 60)
    (lag, *_) = queries.LAG.rows(reading, **until)
    assert lag.mean_seconds == 5.0
    pieces = queries.evidence("session").rows(
        reading, **until, rating_key="moved", meter_id="volume"
    )
    assert [(piece.key, piece.octets_down) for piece in pieces] == [("session-1", 15_000)]


def test_an_empty_list_of_subscribers_matches_nobody(reading: WarehouseClient) -> None:
    assert queries.series("minute", "subscribers").rows(reading, **RANGE, subscriber_ids=[]) == []


def test_top_subscribers_are_ordered_and_limited(reading: WarehouseClient) -> None:
    expected: Counter[str] = Counter()
    for row in ATTRIBUTED:
        if row.meter_id == "volume":
            expected[row.subscriber_id] += row.octets_down
    top = queries.top_subscribers().rows(reading, **RANGE, limit=3)
    assert [(total.key, total.octets_down) for total in top] == expected.most_common(3)
    pool = queries.top_subscribers("rating_keys").rows(
        reading, **RANGE, limit=9, rating_keys=["pool-1"]
    )
    assert [total.key for total in pool] == ["s1", "s0"]


def test_rates_are_bits_per_second(reading: WarehouseClient) -> None:
    points = queries.rate().rows(reading, **RANGE)
    first = [r for r in ATTRIBUTED if r.minute * 60_000 == FROM_AT and r.meter_id == "volume"]
    assert points[0].at == FROM_AT
    assert points[0].bps_down == sum(row.octets_down for row in first) * 8 / 60


def test_period_totals_are_exact(reading: WarehouseClient) -> None:
    rows = queries.PERIOD_TOTALS.rows(reading, rating_key="pool-1", period_start_at=PERIOD_START_AT)
    mine = [row for row in USAGE if row.rating_key == "pool-1"]
    by_meter = {row.meter_id: row for row in rows}
    assert set(by_meter) == {"data", "volume"}
    assert by_meter["data"].charge == sum(row.charge for row in mine)
    assert by_meter["data"].quantity == sum(row.quantity for row in mine)
    assert by_meter["volume"].octets_down == sum(row.octets_down for row in mine)


def test_the_unattributed_share(reading: WarehouseClient) -> None:
    points = queries.UNATTRIBUTED.rows(reading, **RANGE)
    flows = [point for point in points if point.source == "flows"]
    assert sum(point.octets_unattributed for point in flows) == 72 * 5_000
    assert {point.share for point in flows} == {1.0}
    assert all(point.share == 0.0 for point in points if point.source == "accounting")


@pytest.mark.parametrize("level", ["day", "session", "minute"])
def test_evidence_sums_to_the_line(reading: WarehouseClient, level: str) -> None:
    query = queries.evidence(level)
    zone = {"time_zone": "Asia/Kathmandu"} if level == "day" else {}
    pieces = query.rows(reading, **RANGE, **zone, rating_key="pool-1", meter_id="data")
    mine = [row for row in USAGE if row.rating_key == "pool-1"]
    assert sum(piece.quantity for piece in pieces) == sum(row.quantity for row in mine)
    assert sum(piece.octets_down for piece in pieces) == sum(row.octets_down for row in mine)
    assert sum(piece.rows for piece in pieces) == len(mine)
    if level == "day":
        days: Counter[str] = Counter()
        for row in mine:
            at = datetime.fromtimestamp(row.minute * 60, ZoneInfo("Asia/Kathmandu"))
            days[at.date().isoformat()] += row.quantity
        assert {piece.key: piece.quantity for piece in pieces} == dict(days)


def test_evidence_narrows_to_a_session(reading: WarehouseClient) -> None:
    values = {**RANGE, "rating_key": "pool-1", "meter_id": "data", "session_id": "session-1-2"}
    pieces = queries.evidence("session", of_session=True).rows(reading, **values)
    assert [piece.key for piece in pieces] == ["session-1-2"]


def test_sessions_name_their_log_positions(reading: WarehouseClient) -> None:
    sessions = queries.SUBSCRIBER_SESSIONS.rows(reading, **RANGE, subscriber_id="s1")
    assert [session.session_id for session in sessions] == [f"session-1-{day}" for day in range(3)]
    assert sessions[0].first_log_position >= 1
    assert sessions[0].last_log_position >= sessions[0].first_log_position
    assert sessions[0].last_at == max(
        (row.minute + 1) * 60_000 for row in USAGE if row.session_id == "session-1-0"
    )


def test_late_usage_is_found_by_when_it_came(reading: WarehouseClient) -> None:
    late_at = FROM_AT + 40 * 86_400_000
    rows = queries.LATE_USAGE.rows(reading, from_at=late_at, until_at=late_at + 1, limit=10)
    assert [(row.rating_key, row.octets) for row in rows] == [("s3", -700)]
    assert (
        queries.LATE_USAGE.rows(reading, from_at=late_at + 1, until_at=late_at + 2, limit=1) == []
    )


def test_now_counts_only_sessions_that_live(reading: WarehouseClient) -> None:
    (now,) = queries.NOW.rows(reading)
    assert now.sessions == 2
    assert now.rate_down_bps == 16_000


def test_wrong_parameters_are_refused_before_anything_is_sent() -> None:
    class Nobody:
        def query(self, *_: object, **__: object) -> Any:
            raise AssertionError("sent")

    with pytest.raises(TypeError, match="parameters are"):
        queries.rate().rows(Nobody(), from_at=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="until_at"):
        queries.rate().rows(Nobody(), from_at=1, until_at="2")  # type: ignore[arg-type]


def test_a_subscribers_month_reads_few_granules(reading: WarehouseClient) -> None:
    """The view must let the primary key through, or each page would scan the month."""
    query = queries.series("hour", "subscribers")
    explained = reading.query(
        f"EXPLAIN indexes = 1 {query.sql}",
        parameters={**RANGE, "subscriber_ids": ["s1"], "time_zone": "UTC"},
    )
    text = "\n".join(str(row[0]) for row in explained.result_rows)
    assert "usage_rated_1" in text
    assert "subscriber_id" in text


@pytest.mark.parametrize("unit", ["minute", "hour", "day"])
def test_a_subscribers_rollups_sum_to_what_the_base_has(
    reading: WarehouseClient, unit: str
) -> None:
    asked = {"subscriber_id": "s1", "from_at": FROM_AT, "until_at": UNTIL_AT}
    points = queries.subscriber_usage(unit).rows(reading, **asked)
    base = reading.query(
        "SELECT sum(octets_up), sum(octets_down) FROM usage_rated"
        " WHERE subscriber_id = 's1' AND meter_id = 'volume'"
    ).result_rows[0]
    assert (sum(p.octets_up for p in points), sum(p.octets_down for p in points)) == base
    assert {p.traffic_class for p in points} == {"local", "cdn", "world"}
    width = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}[unit]
    assert all(p.at % width == 0 for p in points)


def test_sessions_that_ended_and_invoices_are_found(reading: WarehouseClient) -> None:
    sessions = queries.SESSION_HISTORY.rows(
        reading, subscriber_id="s0", from_at=FROM_AT, until_at=UNTIL_AT, limit=10
    )
    assert [(s.session_id, s.ended_at is None) for s in sessions] == [("session-0", False)]
    (invoice,) = queries.INVOICES.rows(reading, from_at=FROM_AT, until_at=UNTIL_AT + 1, limit=10)
    assert (invoice.number, invoice.total_minor, invoice.status) == ("N-1", 1_200, "finalized")
