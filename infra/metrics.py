"""Every counter of the process frame, traces included, with its meaning."""

from __future__ import annotations

METRICS: dict[str, str] = {
    "process_started_at": "When this process started, ms since 1970 UTC (gauge)",
    "process_clock_offset_ms": "How far Flowrate's clock is ahead of the system's (gauge)",
    "traces_spans_exported": "Spans that the collector of traces took",
    "traces_spans_failed": "Spans given up because the collector of traces did not take them",
    "traces_spans_dropped": "Spans dropped because the queue of spans was full",
}
"""NAME -> meaning. A gauge is set, everything else only rises."""
