"""Every counter and gauge of the warehouse with its meaning, and the counts themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import polars as pl

from rating.latency import HISTOGRAMS, USAGE_LATENCY, frame_latency
from rating.measures import Measures

METRICS: Mapping[str, str] = {
    "warehouse_sink_rows": "rows inserted into usage_rated and committed",
    "warehouse_sink_inserts": "inserts committed, each with one token",
    "warehouse_sink_replays": "recorded intents that were replayed after a crash or a failure",
    "warehouse_sink_replayed_rows_found": "rows of replayed intents that the crash had left behind",
    "warehouse_sink_failures": "inserts that failed and wait to be replayed",
    "warehouse_sink_diverged": "1 where a replay did not add up and the sink has stopped (gauge)",
    "warehouse_sink_position": "last log position committed (gauge)",
    "warehouse_sink_tokens_forgotten": "replays so late that only the rows' count could be checked",
    "warehouse_sink_partitions": "partitions that this process follows (gauge)",
    "warehouse_sink_claims_lost": "partitions that this process had to leave to another one",
    "warehouse_sink_repeats": "records read again that had been committed, and were dropped",
    "warehouse_sink_held": "times that inserts waited for a repair to end",
    "warehouse_raw_flow_rows": "rows inserted into raw_flow and committed",
    "warehouse_raw_flow_inserts": "inserts into raw_flow committed, each with one token",
    "warehouse_raw_flow_position": "last log position of raw flows committed (gauge)",
    "warehouse_raw_flow_repeats": "entries of the flow log read again and dropped",
    "warehouse_raw_flow_refused": "entries of the flow log that could not be read",
    "warehouse_raw_flow_dropped": "flows beyond the rows that one entry of the log may have",
    "warehouse_raw_flow_skips": "times that Kafka had deleted entries before they were inserted",
    "warehouse_check_failures": "nightly checks that failed and run again on the next day",
    "warehouse_checked_partitions": "partitions of rollups compared with the base table",
    "warehouse_differing_partitions": "partitions of rollups that differed from the base table",
    "warehouse_repaired_partitions": "partitions of rollups rebuilt from the base table",
    "warehouse_snapshot_rows": "rows copied into the snapshot tables",
    "warehouse_snapshot_failures": "copies of business rows that failed and are tried again",
    "warehouse_requests": "HTTP requests answered by the store's endpoint",
    "warehouse_requests_unauthorized": "requests with a wrong user, password or Host header",
    "warehouse_requests_refused": "statements refused before they reached the engine",
    "warehouse_requests_failed": "statements that the engine answered with an error",
    "warehouse_requests_overflow": "requests refused because too many were waiting",
}
"""Metric name -> meaning."""


class Counters:
    """Counts by metric name, and histograms; safe to use from several threads."""

    def __init__(self, now_ms: Callable[[], int] | None = None) -> None:
        """Start with every metric of METRICS at zero; without a clock no latency is observed."""
        self._lock = threading.Lock()
        self._values = dict.fromkeys(METRICS, 0)
        self.measures = Measures(HISTOGRAMS, threading.Lock())
        self._now_ms = now_ms

    def add(self, name: str, amount: int = 1) -> None:
        """Add to a counter. KeyError for a name that METRICS does not explain."""
        with self._lock:
            self._values[name] += amount

    def set(self, name: str, value: int) -> None:
        """Set a gauge. KeyError for a name that METRICS does not explain."""
        with self._lock:
            if name not in self._values:
                raise KeyError(name)
            self._values[name] = value

    def values(self) -> dict[str, int]:
        """Return a copy of all values by name."""
        with self._lock:
            return dict(self._values)

    def observe_sunk(self, frames: Sequence[pl.DataFrame]) -> None:
        """Count how old rated usage is, now that the sink has committed it."""
        if self._now_ms is None:
            return
        committed_at = self._now_ms()
        for frame in frames:
            ages = frame_latency(frame, committed_at=committed_at, step="sunk")
            for stage, durations in ages.items():
                self.measures.add(USAGE_LATENCY, durations, stage)
