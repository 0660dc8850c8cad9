"""The sink's steps: intents, tokens, batches, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.warehouse.records_made import MemoryTopic, random_frame, rated, rated_rows
from warehouse.config import SinkConfig
from warehouse.intent_tables import SqliteIntentStore
from warehouse.intents import Intent, Source, committed_position
from warehouse.metrics import Counters
from warehouse.sink import DivergenceError, Sink, rated_frame
from warehouse.store import Store, open_writer
from warehouse.tables import CHARGE_CELL, USAGE_CELL, USAGE_MINUTE, USAGE_RATED

SOURCE = Source(1, "usage.rated", 0)
VIEWS_TOO = {"deduplicate_blocks_in_dependent_materialized_views": 1}


class MemoryTable:
    """A table that deduplicates by token as ClickHouse does, and can fail in the middle."""

    def __init__(self) -> None:
        self.parts: dict[str, list[dict[str, Any]]] = {}
        self.fail_after_rows: int | None = None

    def insert_arrow(self, table: str, arrow_table: Any, *, settings: Any = None) -> None:
        assert table == "usage_rated_1"
        rows = arrow_table.to_pylist()
        if self.fail_after_rows is not None:
            self.parts[settings["insert_deduplication_token"]] = rows[: self.fail_after_rows]
            raise OSError("disk full")
        self.parts[settings["insert_deduplication_token"]] = rows

    def command(self, cmd: str) -> int:
        low, high = (int(word) for word in cmd.split("BETWEEN ")[1].split(" AND "))
        return sum(low <= row["log_position"] <= high for row in self.rows())

    def rows(self) -> list[dict[str, Any]]:
        return [row for part in self.parts.values() for row in part]


@pytest.fixture
def intents(tmp_path: Path) -> Iterator[SqliteIntentStore]:
    opened = SqliteIntentStore(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def one_row(position: int) -> tuple[int, pl.DataFrame]:
    return position, rated_rows([rated(octets_down=position)])


def sink_of(
    topic: MemoryTopic, table: MemoryTable, intents: SqliteIntentStore, rows: int = 3
) -> Sink:
    return Sink(SinkConfig(batch_rows=rows), 1, topic, table, intents, Counters())


def test_a_batch_takes_what_is_there_up_to_its_rows(
    intents: SqliteIntentStore, tmp_path: Path
) -> None:
    table = MemoryTable()
    sink = sink_of(MemoryTopic([one_row(p) for p in (2, 4, 9, 11)]), table, intents)
    assert [sink.step(), sink.step(), sink.step()] == [3, 1, 0]
    assert list(table.parts) == ["usage.rated:0:2-9", "usage.rated:0:11-11"]
    assert [row["log_position"] for row in table.rows()] == [2, 4, 9, 11]
    assert committed_position(tmp_path / "store.sqlite", SOURCE) == 11


def test_a_record_without_rows_moves_the_position_only(intents: SqliteIntentStore) -> None:
    table = MemoryTable()
    sink = sink_of(MemoryTopic([(5, rated_rows([]))]), table, intents)
    assert sink.step() == 0
    assert table.parts == {}
    assert intents.position(SOURCE) == 5


def test_a_failed_insert_is_replayed_as_recorded_though_more_came(
    intents: SqliteIntentStore,
) -> None:
    table = MemoryTable()
    topic = MemoryTopic([one_row(1), one_row(2)])
    sink = sink_of(topic, table, intents)
    table.fail_after_rows = 1
    with pytest.raises(OSError, match="disk full"):
        sink.step()
    assert intents.intent(SOURCE) == Intent(1, 2, 2, 20)
    assert intents.position(SOURCE) == 0
    topic.records.append(one_row(3))
    table.fail_after_rows = None
    assert sink.recover() == 2
    assert list(table.parts) == ["usage.rated:0:1-2"]
    assert sink.step() == 1
    assert sorted(row["octets_down"] for row in table.rows()) == [1, 2, 3]


def test_a_trimmed_intent_stops_with_an_alarm(intents: SqliteIntentStore) -> None:
    intents.begin(SOURCE, Intent(1, 2, 2))
    sink = sink_of(MemoryTopic([one_row(2)]), MemoryTable(), intents)
    with pytest.raises(DivergenceError, match=r"no longer has the records of usage\.rated:0:1-2"):
        sink.recover()
    assert intents.intent(SOURCE) is not None


def test_rows_that_do_not_add_up_stop_with_an_alarm(intents: SqliteIntentStore) -> None:
    intents.begin(SOURCE, Intent(1, 1, 1))
    table = MemoryTable()
    table.parts["another token"] = [{"log_position": 1}]
    sink = sink_of(MemoryTopic([one_row(1)]), table, intents)
    with pytest.raises(DivergenceError, match="holds 2 rows"):
        sink.recover()


def test_two_intents_at_once_are_refused(intents: SqliteIntentStore) -> None:
    intents.begin(SOURCE, Intent(1, 1, 1))
    with pytest.raises(ValueError, match="open already"):
        intents.begin(SOURCE, Intent(2, 2, 1))


def test_the_position_is_zero_where_the_store_never_ran(tmp_path: Path) -> None:
    assert committed_position(tmp_path / "none.sqlite", SOURCE) == 0


def test_a_repeated_token_fills_what_a_crash_left_out(store: Store) -> None:
    """Against the engine: the base is complete, a rollup empty; the replay fills only that one."""
    writer = open_writer(store.engine, store.config)
    tables = (USAGE_RATED, USAGE_MINUTE, USAGE_CELL, CHARGE_CELL)
    frame = random_frame(1, 500)
    arrow = rated_frame([(1, frame)], SOURCE).to_arrow(compat_level=pl.CompatLevel.oldest())
    volume = frame.filter(pl.col("meter_id") == "volume")

    def insert(token: str) -> None:
        writer.insert_arrow(
            "usage_rated_7", arrow, settings={"insert_deduplication_token": token} | VIEWS_TOO
        )

    try:
        for table in tables:
            for statement in table.create(7)[:-1]:
                writer.command(statement)
        writer.command("DROP VIEW usage_cell_7_fill")
        insert("t")
        assert writer.command("SELECT count() FROM usage_cell_7") == 0
        writer.command(USAGE_CELL.create(7)[1])
        for _ in range(2):
            insert("t")
            assert writer.command("SELECT count() FROM usage_rated_7") == frame.height
            assert writer.command("SELECT sum(rows) FROM usage_minute_7") == volume.height
            octets = writer.command("SELECT sum(octets_down) FROM usage_cell_7")
            assert octets == volume["octets_down"].sum()
        insert("another")
        assert writer.command("SELECT count() FROM usage_rated_7") == 2 * frame.height
    finally:
        for table in tables:
            writer.command(f"DROP TABLE IF EXISTS {table.physical(7)}_fill")
            writer.command(f"DROP TABLE IF EXISTS {table.physical(7)}")
        writer.close()
