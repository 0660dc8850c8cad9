"""What a runner tells of its work once it has committed: latencies and spans.

Nothing here changes what is computed: a runner without it commits the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rating.latency import USAGE_LATENCY, frame_latency
from rating.measures import Labels, Measures
from rating.ports import Output
from rating.traces import Attributes, Carrier, Spans

RATED_TOPIC = "usage.rated"


def observe_rated(measures: Measures, topic: str, frame: pl.DataFrame, committed_at: int) -> None:
    """Count the latency of rated usage that was committed at an instant (ms); else do nothing."""
    if topic == RATED_TOPIC and frame.height:
        for stage, durations in frame_latency(
            frame, committed_at=committed_at, step="rated"
        ).items():
            measures.add(USAGE_LATENCY, durations, stage)


def watermark_ages(watermarks: Mapping[str, int], now_ms: int) -> dict[tuple[str, Labels], float]:
    """Return the gauge stream_watermark_age_seconds per task (``rate/3``), from their watermarks.

    A task that has no watermark yet (0) is left out: it has been told nothing.
    """
    ages: dict[tuple[str, Labels], float] = {}
    for task, watermark_at in watermarks.items():
        stage, _, partition = task.partition("/")
        if watermark_at:
            age = max(0, now_ms - watermark_at) / 1000
            ages["stream_watermark_age_seconds", (stage, partition)] = age
    return ages


class TaskTraces:
    """The traces that pass through one task of a cluster (``rate/3``)."""

    def __init__(self, spans: Spans, task: str) -> None:
        """Start with none under way."""
        stage, _, partition = task.partition("/")
        self._name = stage
        self._attributes: Attributes = {"flowrate.task": task, "flowrate.partition": int(partition)}
        self._spans = spans
        self._carrier = Carrier()

    def take(self, traces: Iterable[bytes]) -> None:
        """Remember the traces of the envelopes that a round takes; mostly they are empty."""
        for trace in traces:
            if trace:
                self._carrier.take(trace)

    def record(
        self, outputs: Sequence[Output], start_ns: int, end_ns: int, watermark_at: int
    ) -> bytes:
        """Record a round's span where its outputs come from traced datagrams; return its octets.

        They belong into the envelopes of the round's outputs; b"" where nothing was traced.
        """
        if not len(self._carrier):
            return b""
        parents = self._carrier.of_rows(_received_at(outputs))
        self._carrier.forget(watermark_at)
        if not parents:
            return b""
        rows = sum(output.frame.height for output in outputs)
        attributes = {**self._attributes, "flowrate.rows": rows}
        return self._spans.child(parents, self._name, start_ns, end_ns, attributes)


def _received_at(outputs: Sequence[Output]) -> NDArray[np.int64]:
    columns = [
        output.frame["received_at"].to_numpy()
        for output in outputs
        if "received_at" in output.frame.columns
    ]
    return np.concatenate(columns) if columns else np.empty(0, np.int64)
