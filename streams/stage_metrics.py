"""Every counter of the runner and of all stages, with its meaning: what the engine exports."""

from __future__ import annotations

import collectors.netflow.metrics
import rating.attribute_step
import rating.metrics
import rating.session_metrics
import streams.metrics
import streams.sessions

STAGE_COUNTERS: dict[str, str] = {
    **streams.metrics.COUNTERS,
    **collectors.netflow.metrics.COUNTERS,
    **rating.session_metrics.COUNTERS,
    **streams.sessions.COUNTERS,
    **rating.metrics.COUNTERS,
}
"""NAME -> meaning."""
