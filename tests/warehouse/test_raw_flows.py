"""The table of raw flows on chDB: rows as decoded, found by any end, once through a crash; TTL."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rating.addresses import pack_address
from rating.raw_flows import RawFlow
from rating.records import frame_of
from warehouse.config import RetentionConfig, SinkConfig
from warehouse.connect import WarehouseClient, WarehouseError
from warehouse.ddl import ClusterShape, cluster_statements
from warehouse.intent_tables import SqliteIntentStore
from warehouse.intents import Source
from warehouse.metrics import Counters
from warehouse.queries import FLOWS_OF_ADDRESS
from warehouse.raw_flow_sink import RawFlowSink
from warehouse.raw_flows import UNNUMBERED, prepare_raw_flows
from warehouse.store import Store, open_writer

SOURCE = Source(UNNUMBERED, "flow.datagrams.g1", 2)
NOW_MS = 1_900_000_000_000


def flow(source: str, destination: str, *, at: int = 0, **more: Any) -> RawFlow:
    """Return a flow of ten seconds that began at so many seconds; zeros are no address."""
    start_at = NOW_MS + at * 1000
    values: dict[str, Any] = {
        "exporter": "192.0.2.1", "domain": 4_000_000_000, "source": pack_address(source),
        "destination": pack_address(destination), "nat_source": bytes(16),
        "nat_destination": bytes(16), "source_port": 40_000, "destination_port": 443,
        "protocol": 6, "dscp": 46, "direction": 255, "source_as": 4_200_000_000,
        "destination_as": 64_500, "octets": 1_000, "packets": 2, "octets_exported": 10,
        "packets_exported": 1, "octets_reverse": 0, "packets_reverse": 0, "rate_numerator": 100,
        "rate_denominator": 1, "rate_known": True, "start_at": start_at,
        "end_at": start_at + 10_000, "received_at": start_at + 12_000,
    }  # fmt: skip
    return RawFlow(**(values | more))


class MemoryLog:
    """Decoded entries at positions, and the state behind each, as `RawFlowPartition` gives them."""

    def __init__(self, entries: Mapping[int, Sequence[RawFlow]]) -> None:
        self.entries = {at: frame_of(RawFlow, rows) for at, rows in entries.items()}

    def read(self, after_position: int, limit_rows: int) -> list[tuple[int, pl.DataFrame]]:
        found: list[tuple[int, pl.DataFrame]] = []
        for at, frame in self.entries.items():
            rows = sum(each.height for _, each in found)
            if at > after_position and (not found or rows + frame.height <= limit_rows):
                found.append((at, frame))
        return found

    def cursor(self, position: int) -> int:
        return position

    def state_through(self, position: int) -> dict[str, bytes | None]:
        return {"reached/": b"%d" % position, f"seen/{position}": b"x"}


@pytest.fixture
def writer(store: Store, tmp_path: Path) -> Iterator[Any]:
    opened = open_writer(store.engine, store.config)
    prepare_raw_flows(opened, RetentionConfig(raw_flow_days=0))
    yield opened
    opened.command("DROP VIEW IF EXISTS raw_flow")
    opened.command("DROP TABLE IF EXISTS raw_flow_0")
    opened.close()


@pytest.fixture
def intents(tmp_path: Path) -> Iterator[SqliteIntentStore]:
    opened = SqliteIntentStore(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def sink_of(log: MemoryLog, writer: Any, intents: SqliteIntentStore, **more: Any) -> RawFlowSink:
    config = SinkConfig(topic=SOURCE.topic, partition=SOURCE.partition, **more)
    reader: Any = log
    return RawFlowSink(config, UNNUMBERED, reader, writer, intents, Counters())


def sink_all(log: MemoryLog, writer: Any, intents: SqliteIntentStore, **more: Any) -> None:
    sink = sink_of(log, writer, intents, **more)
    while sink.step():
        pass


def asked(client: WarehouseClient, address: str, **more: Any) -> list[Any]:
    values = {"from_at": NOW_MS, "until_at": NOW_MS + 3_600_000, "limit": 100} | more
    return FLOWS_OF_ADDRESS.rows(client, address=address, **values)


def test_every_column_comes_back_as_it_was_decoded(
    writer: Any, reading: WarehouseClient, intents: SqliteIntentStore
) -> None:
    given = flow("10.0.0.1", "2001:db8::1", nat_source=pack_address("198.51.100.9"))
    sink_all(MemoryLog({5: [given]}), writer, intents)
    result = reading.query("SELECT * FROM raw_flow")
    row = dict(zip(result.column_names, result.result_rows[0], strict=True))
    for name in ("source", "destination", "nat_source", "nat_destination"):
        packed = getattr(given, name)
        text = str(row.pop(name))
        assert ipaddress.IPv6Address(text).packed == packed, name
    log = {"log_partition": 2, "log_position": 5, "log_generation": 1}
    assert {name: row.pop(name) for name in log} == log
    assert row == {name: getattr(given, name) for name in row}
    assert len(row) == len(dataclasses.fields(RawFlow)) - 4


def test_a_flow_is_found_by_each_of_its_ends_and_once(
    writer: Any, reading: WarehouseClient, intents: SqliteIntentStore
) -> None:
    nat = {
        "nat_source": pack_address("198.51.100.9"),
        "nat_destination": pack_address("203.0.113.5"),
    }
    rows = [
        flow("10.0.0.1", "203.0.113.4", at=1, **nat),
        flow("10.0.0.1", "10.0.0.1", at=2),
        flow("2001:db8::ffff:1", "203.0.113.4", at=3),
    ]
    sink_all(MemoryLog({1: rows}), writer, intents)

    def starts(address: str) -> list[int]:
        return [(row.at - NOW_MS) // 1000 for row in asked(reading, address)]

    assert starts("10.0.0.1") == [2, 1]
    assert starts("203.0.113.4") == [3, 1]
    assert starts("198.51.100.9") == [1]
    assert starts("203.0.113.5") == [1]
    assert starts("2001:db8::ffff:1") == [3]
    assert starts("10.0.0.2") == []
    (row,) = asked(reading, "198.51.100.9")
    assert (row.source, row.source_port) == ("10.0.0.1", 40_000)
    assert (row.destination, row.destination_port, row.protocol) == ("203.0.113.4", 443, 6)
    assert (row.nat_source, row.nat_destination) == ("198.51.100.9", "203.0.113.5")
    (other,) = asked(reading, "2001:db8::ffff:1")
    assert (other.source, other.nat_source) == ("2001:db8::ffff:1", "")


def test_flows_that_touch_the_range_are_given_newest_first_up_to_the_limit(
    writer: Any, reading: WarehouseClient, intents: SqliteIntentStore
) -> None:
    rows = [flow("10.0.0.1", f"203.0.113.{n}", at=n * 10) for n in range(50)]
    rows += [flow(f"203.0.113.{n}", "10.0.0.1", at=n * 10 + 5) for n in range(50)]
    # One that lasted for hours and was told at its end.
    rows.append(flow("10.0.0.1", "203.0.113.99", at=-9_000, end_at=NOW_MS + 600_000,
                     received_at=NOW_MS + 601_000))  # fmt: skip
    sink_all(MemoryLog({1: rows}), writer, intents)
    begins = sorted((row.start_at for row in rows), reverse=True)
    found = asked(reading, "10.0.0.1", limit=30)
    assert [row.at for row in found] == begins[:30]
    range_ = {"from_at": NOW_MS + 100_000, "until_at": NOW_MS + 120_000}
    found = asked(reading, "10.0.0.1", **range_)
    touching = [
        row for row in rows
        if row.start_at < range_["until_at"] and row.end_at >= range_["from_at"]
    ]  # fmt: skip
    assert [row.at for row in found] == sorted((row.start_at for row in touching), reverse=True)
    assert len(found) == 7


def test_a_question_reads_few_granules_whichever_end_it_asks_about(
    writer: Any, intents: SqliteIntentStore
) -> None:
    """A million flows of ten hours: the sort key finds a source, a filter the other ends."""
    writer.command(
        "INSERT INTO raw_flow_0 (exporter, source, destination, nat_source, start_at, end_at,"
        " received_at) SELECT 'e', toIPv6(toString(toIPv4(toUInt32(cityHash64(number) % 50000)))),"
        " toIPv6(toString(toIPv4(toUInt32(3000000000 + cityHash64(number, 1) % 1000000)))),"
        " toIPv6(toString(toIPv4(toUInt32(4000000000 + cityHash64(number, 2) % 1000000)))),"
        f" {NOW_MS} + number * 36, {NOW_MS} + number * 36 + 9000, {NOW_MS} + number * 36 + 9500"
        " FROM numbers(1000000)"
    )
    writer.command("OPTIMIZE TABLE raw_flow_0 FINAL")

    def granules(end: str, address: str) -> tuple[int, int]:
        plan = str(
            writer.command(
                "SELECT arrayStringConcat(groupArray(explain), ' ') FROM (EXPLAIN indexes = 1"
                f" SELECT * FROM raw_flow_0 WHERE {end} = toIPv6('{address}')"
                f" AND start_at < {NOW_MS + 4 * 3_600_000} AND end_at >= {NOW_MS + 3_600_000 * 3})"
            )
        )
        read = plan.split("Granules: ")[-1].split()[0]
        return tuple(map(int, read.split("/")))  # type: ignore[return-value]

    total = int(str(writer.command("SELECT sum(marks) FROM system.parts"
                                   " WHERE table = 'raw_flow_0' AND active")))  # fmt: skip
    assert total > 100
    assert granules("source", "::ffff:0.0.48.57")[0] <= 6
    for end, first in (("destination", 3_000_000_000), ("nat_source", 4_000_000_000)):
        text = str(writer.command(f"SELECT toString(toIPv6(toString(toIPv4({first + 77}))))"))
        assert granules(end, text)[0] <= 12, end


@pytest.mark.parametrize("is_inserted", [False, True])
def test_a_crash_around_the_insert_leaves_every_flow_once_and_the_state_behind_it(
    writer: Any, intents: SqliteIntentStore, is_inserted: bool
) -> None:
    entries = {n: [flow("10.0.0.1", "203.0.113.4", at=n)] * n for n in (3, 4, 9)}
    log = MemoryLog(entries)

    class Crashing:
        def insert_arrow(self, *arguments: Any, **more: Any) -> None:
            if is_inserted:
                writer.insert_arrow(*arguments, **more)
            raise OSError("crashed")

        command = staticmethod(writer.command)

    with pytest.raises(OSError, match="crashed"):
        sink_of(log, Crashing(), intents, batch_rows=7).step()
    assert intents.state(SOURCE) == {}
    assert sink_of(log, writer, intents, batch_rows=7).recover() == 7
    assert intents.state(SOURCE) == {"reached/": b"4", "seen/4": b"x"}
    sink_all(log, writer, intents, batch_rows=7)
    assert int(str(writer.command("SELECT count() FROM raw_flow"))) == 16
    assert intents.position(SOURCE) == 9
    assert intents.state(SOURCE)["reached/"] == b"9"


def test_rows_older_than_the_days_kept_go_and_the_days_can_be_changed(
    writer: Any, intents: SqliteIntentStore
) -> None:
    now_ms = int(str(writer.command("SELECT toUnixTimestamp(now()) * 1000")))
    day = 86_400_000
    rows = [flow("10.0.0.1", "10.0.0.2", received_at=now_ms - days * day) for days in range(1, 11)]
    sink_all(MemoryLog({1: rows}), writer, intents)

    def kept(days: int) -> int:
        prepare_raw_flows(writer, RetentionConfig(raw_flow_days=days))
        writer.command("OPTIMIZE TABLE raw_flow_0 FINAL")
        return int(str(writer.command("SELECT count() FROM raw_flow")))

    assert kept(0) == 10
    assert kept(5) == 4
    engine = "SELECT engine_full FROM system.tables WHERE name = 'raw_flow_0'"
    assert "+ toIntervalDay(5)" in str(writer.command(engine))
    assert kept(1_000_000) == 4
    assert "TTL" not in str(writer.command(engine))


def test_without_the_setting_there_is_no_table(store: Store, reading: WarehouseClient) -> None:
    assert not store.config.raw_flows.is_enabled
    found = reading.query("SELECT count() FROM system.tables WHERE name LIKE 'raw_flow%'")
    assert found.result_rows[0][0] == 0
    with pytest.raises(WarehouseError, match="raw_flow"):
        asked(reading, "10.0.0.1")


def test_the_statements_for_servers_have_the_table_where_it_is_on(store: Store) -> None:
    shape = ClusterShape("isp", 2)
    off = dataclasses.replace(store.config)
    on = dataclasses.replace(off, raw_flows=dataclasses.replace(off.raw_flows, is_enabled=True))
    more = [s for s in cluster_statements(on, shape) if s not in cluster_statements(off, shape)]
    names = [next(w for w in s.split() if w.startswith("raw_flow")) for s in more]
    assert names == ["raw_flow_0_local", "raw_flow_0", "raw_flow"]
    assert "TTL toDateTime(intDiv(received_at, 1000), 'UTC') + toIntervalDay(30)" in more[0]
    assert "CONSTRAINT in_time" in more[0]
