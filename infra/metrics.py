"""Every counter of the process frame, with its meaning."""

from __future__ import annotations

METRICS: dict[str, str] = {
    "process_started_at": "When this process started, ms since 1970 UTC (gauge)",
    "process_clock_offset_ms": "How far Flowrate's clock is ahead of the system's (gauge)",
}
"""NAME -> meaning. A gauge is set, everything else only rises."""
