"""How old usage is when the sink has committed it; a replay after a crash is not counted twice."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from rating.latency import USAGE_LATENCY
from tests.warehouse.records_made import MemoryTopic, rated, rated_rows
from tests.warehouse.test_sink import MemoryTable
from warehouse.config import SinkConfig
from warehouse.intent_tables import SqliteIntentStore
from warehouse.metrics import Counters
from warehouse.sink import Sink

NOON = 1_764_504_000_000


def frame(received_at: int, rows: int) -> pl.DataFrame:
    return rated_rows([rated() for _ in range(rows)]).with_columns(
        received_at=pl.lit(received_at, pl.Int64), minute=pl.lit(NOON // 60_000 - 1, pl.Int64)
    )


def test_every_row_of_an_insert_counts_once_by_receipt_and_by_event() -> None:
    counters = Counters(lambda: NOON + 1_000)
    counters.observe_sunk([frame(NOON - 9_000, 3), frame(NOON - 2_000, 2)])
    counters.observe_sunk([])
    found = {
        labels[0]: durations
        for (name, labels), durations in counters.measures.snapshot().items()
        if name == USAGE_LATENCY
    }
    assert set(found) == {"received_to_sunk", "event_to_sunk"}
    assert sum(found["received_to_sunk"].counts) == 5
    assert found["received_to_sunk"].total_seconds == pytest.approx(3 * 10 + 2 * 3)
    assert found["event_to_sunk"].total_seconds == pytest.approx(5 * 1)


def test_the_sink_counts_what_it_has_committed_and_no_insert_that_failed(tmp_path: Path) -> None:
    counters = Counters(lambda: NOON + 1_000)
    table = MemoryTable()
    topic = MemoryTopic([(1, frame(NOON, 2)), (2, frame(NOON, 5))])
    intents = SqliteIntentStore(tmp_path / "store.sqlite")
    sink = Sink(SinkConfig(batch_rows=3), 1, topic, table, intents, counters)
    assert sink.step() == 2
    table.fail_after_rows = 1
    with pytest.raises(OSError, match="disk full"):
        sink.step()
    intents.close()
    rows = {labels[0]: sum(d.counts) for (_, labels), d in counters.measures.snapshot().items()}
    assert rows == {"received_to_sunk": 2, "event_to_sunk": 2}
