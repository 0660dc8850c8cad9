"""How old usage is when it is committed: by its event time, and by when its cause was received.

Lateness is a property of the data (`received_at`, `minute`), so one subtraction from the commit's
instant tells it for every row, without a mark that would have to travel along. Usage of flows knows
its receipt as the end of a second (`streams.flow_minutes`), so it may seem up to a second younger.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rating.measures import Durations, Histogram, durations_of

MINUTE_MS = 60_000

USAGE_LATENCY = "usage_latency_seconds"

HISTOGRAMS: Mapping[str, Histogram] = {
    USAGE_LATENCY: Histogram(
        "age of usage when a step of its way was committed: since its cause was received"
        " (received_to_rated, received_to_sunk), since its minute ended (event_to_rated,"
        " event_to_sunk)",
        ("stage",),
        (
            *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
            *(1_800.0, 3_600.0, 7_200.0, 86_400.0),
        ),
    ),
}
"""The histogram that the stage runners and the sink share."""


def usage_latency(
    received_at: NDArray[np.int64], minute: NDArray[np.int64], *, committed_at: int, step: str
) -> dict[str, Durations]:
    """Return durations by the label `stage`: ``received_to_<step>`` and ``event_to_<step>``.

    received_at and committed_at are ms, minute whole minutes since 1970; a minute's event is its
    end, and usage committed before its minute ended counts as 0 s old.
    """
    bounds = HISTOGRAMS[USAGE_LATENCY].bounds_seconds
    ended_at = (np.asarray(minute, np.int64) + 1) * MINUTE_MS
    ages = {
        f"received_to_{step}": committed_at - np.asarray(received_at, np.int64),
        f"event_to_{step}": committed_at - ended_at,
    }
    return {stage: durations_of(age / 1000.0, bounds) for stage, age in ages.items()}


def frame_latency(frame: pl.DataFrame, *, committed_at: int, step: str) -> dict[str, Durations]:
    """Return `usage_latency` of a frame with the columns received_at and minute."""
    return usage_latency(
        frame["received_at"].to_numpy(),
        frame["minute"].to_numpy(),
        committed_at=committed_at,
        step=step,
    )
