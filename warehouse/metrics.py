"""Every counter and gauge of the warehouse with its meaning, and the counts themselves."""

from __future__ import annotations

import threading
from collections.abc import Mapping

METRICS: Mapping[str, str] = {
    "warehouse_sink_rows": "rows inserted into usage_rated and committed",
    "warehouse_sink_inserts": "inserts committed, each with one token",
    "warehouse_sink_replays": "recorded intents that were replayed after a crash or a failure",
    "warehouse_sink_replayed_rows_found": "rows of replayed intents that the crash had left behind",
    "warehouse_sink_failures": "inserts that failed and wait to be replayed",
    "warehouse_sink_diverged": "gauge: 1 where a replay did not add up and the sink has stopped",
    "warehouse_sink_position": "gauge: last log position committed",
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
    """Counts by metric name; safe to use from several threads."""

    def __init__(self) -> None:
        """Start with every metric of METRICS at zero."""
        self._lock = threading.Lock()
        self._values = dict.fromkeys(METRICS, 0)

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
