"""How old usage is when the sink has committed it; a replay after a crash is not counted twice."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest

from rating.latency import USAGE_LATENCY
from tests.warehouse.records_made import rated, rated_rows
from warehouse.metrics import Counters

NOON = 1_764_504_000_000


def frame(received_at: int, rows: int) -> pl.DataFrame:
    return rated_rows([rated() for _ in range(rows)]).with_columns(
        received_at=pl.lit(received_at, pl.Int64), minute=pl.lit(NOON // 60_000 - 1, pl.Int64)
    )


def test_every_row_of_an_insert_counts_once_by_receipt_and_by_event() -> None:
    counters = Counters()
    frames: Sequence[pl.DataFrame] = [frame(NOON - 9_000, 3), frame(NOON - 2_000, 2)]
    counters.observe_sunk(frames, NOON + 1_000)
    counters.observe_sunk([], NOON + 1_000)
    found = {
        labels[0]: durations
        for (name, labels), durations in counters.measures.snapshot().items()
        if name == USAGE_LATENCY
    }
    assert set(found) == {"received_to_sunk", "event_to_sunk"}
    assert sum(found["received_to_sunk"].counts) == 5
    assert found["received_to_sunk"].total_seconds == pytest.approx(3 * 10 + 2 * 3)
    assert found["event_to_sunk"].total_seconds == pytest.approx(5 * 1)
