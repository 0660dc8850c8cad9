"""What a runner tells of its work once it has committed: latencies and spans.

Nothing here changes what is computed: a runner without it commits the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rating.latency import USAGE_LATENCY, frame_latency
from rating.measures import Labels, Measures
from rating.ports import Output
from rating.traces import Carrier, Spans

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


class RoundTraces:
    """The traces that pass through a worker's tasks: what a round took, what it gave out.

    A span is recorded with the round's outputs, before their commit: its octets are part of the
    outbox. A round that is undone afterwards leaves a span behind, and its repetition another.
    """

    def __init__(self, spans: Spans, now_ns: Callable[[], int]) -> None:
        """Start with none under way. now_ns is the clock in ns since 1970."""
        self._spans = spans
        self._now_ns = now_ns
        self._carriers: dict[str, Carrier] = {}
        self._began_ns = 0

    def take(self, task: str, traces: Iterable[bytes]) -> None:
        """Begin the round of a task (``rate/3``) with its envelopes' traces, mostly empty."""
        self._began_ns = self._now_ns()
        for trace in filter(None, traces):
            self._carriers.setdefault(task, Carrier()).take(trace)

    def give(self, task: str, outputs: Sequence[Output], watermark_at: int) -> bytes:
        """Record the round's span where its outputs come from traced datagrams.

        Returns what belongs into the envelopes of these outputs; b"" where nothing was traced.
        """
        carrier = self._carriers.get(task)
        if carrier is None:
            return b""
        parents = carrier.of_rows(_received_at(outputs))
        carrier.forget(watermark_at)
        if not len(carrier):
            del self._carriers[task]
        if not parents:
            return b""
        rows = sum(output.frame.height for output in outputs)
        stage, _, partition = task.partition("/")
        attributes = {"flowrate.partition": int(partition), "flowrate.rows": rows}
        return self._spans.child(parents, stage, self._began_ns, self._now_ns(), attributes)


def _received_at(outputs: Sequence[Output]) -> NDArray[np.int64]:
    columns = [
        output.frame["received_at"].to_numpy()
        for output in outputs
        if "received_at" in output.frame.columns
    ]
    return np.concatenate(columns) if columns else np.empty(0, np.int64)
