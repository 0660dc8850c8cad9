"""What a runner tells of committed work; that it tells nothing of work that was undone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from collectors.adapters.segments import SegmentReader, SegmentWriter
from rating.latency import HISTOGRAMS
from rating.measures import Measures
from rating.ports import Batch, Output, StateView, StepResult
from rating.records import DeadLetter, frame_of
from streams.config import StreamsConfig
from streams.embedded import EmbeddedRunner
from streams.metrics import GAUGES
from streams.observation import observe_rated, watermark_ages
from streams.stage import Stage
from tests.streams.test_embedded import CrashError, begin_on
from tests.warehouse.records_made import rated, rated_rows

NOON = 1_764_504_000_000


def test_a_pass_is_told_of_once_it_is_committed_and_never_when_it_was_undone(
    tmp_path: Path,
) -> None:
    told: list[tuple[str, list[bytes]]] = []
    is_broken = True

    def refuse(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        letters = [DeadLetter("a", "b", "", block.body, 0) for block in batch.blocks]
        return StepResult(outputs=[Output("dead.letters", frame_of(DeadLetter, letters))], rows=[1])

    def write(_connection: Any, _rows: Any) -> None:
        assert told == []
        if is_broken:
            raise CrashError

    writer = SegmentWriter(tmp_path / "log")
    writer.append("data", 1, b"block")
    runner = EmbeddedRunner(
        begin_on(tmp_path / "db"),
        [Stage("refuse", refuse, {}, raw_log="log")],
        {"log": SegmentReader(tmp_path / "log")},
        write,
        StreamsConfig(),
        lambda topic, frame: told.append((topic, frame["body"].to_list())),
    )
    with pytest.raises(CrashError):
        runner.run_once()
    assert told == []
    is_broken = False
    assert runner.run_once()
    assert told == [("dead.letters", [b"block"])]
    assert not runner.run_once()
    assert len(told) == 1, "a pass without work tells nothing again"


def test_only_rated_usage_has_a_latency() -> None:
    measures = Measures(HISTOGRAMS, threading.Lock())
    frame = rated_rows([rated(), rated(), rated()])
    frame = frame.with_columns(
        received_at=pl.lit(NOON, pl.Int64), minute=pl.lit(NOON // 60_000 - 1, pl.Int64)
    )
    observe_rated(measures, "usage.measured", frame, NOON + 400)
    observe_rated(measures, "usage.rated", frame.clear(), NOON + 400)
    assert measures.snapshot() == {}
    observe_rated(measures, "usage.rated", frame, NOON + 400)
    found = {labels[0]: durations for (_, labels), durations in measures.snapshot().items()}
    assert set(found) == {"received_to_rated", "event_to_rated"}
    assert all(sum(durations.counts) == 3 for durations in found.values())
    assert found["event_to_rated"].total_seconds == pytest.approx(1.2)


def test_a_watermark_ages_and_one_that_was_never_told_has_no_age() -> None:
    ages = watermark_ages({"rate/3": NOON, "decode/0": NOON + 9_000, "sessions/0": 0}, NOON + 5_000)
    assert ages == {
        ("stream_watermark_age_seconds", ("rate", "3")): 5.0,
        ("stream_watermark_age_seconds", ("decode", "0")): 0.0,
    }
    assert GAUGES["stream_watermark_age_seconds"].labels == ("stage", "partition")
