"""What the charts draw: columns of numbers as JSON, steps without usage filled with zero."""

from __future__ import annotations

import dataclasses
import datetime
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from api.instants import MINUTE_MS, day_start, local
from api.models.usage import Step
from api.ports import UsagePoint
from api.web.formats import class_name


@dataclasses.dataclass(frozen=True)
class ChartRange:
    """What a button over the chart stands for: so many steps, back from now."""

    label: str
    step: Step
    steps: int


RANGES: dict[str, ChartRange] = {
    "hour": ChartRange("Hour", "minute", 60),
    "day": ChartRange("Day", "hour", 24),
    "month": ChartRange("30 days", "day", 30),
}


def bounds(chosen: ChartRange, now_at: int, timezone: str) -> list[int]:
    """Return the starts of the steps (ms, ascending); the last is the running step."""
    if chosen.step == "day":
        last = local(now_at, timezone).date()
        days = [last - datetime.timedelta(days=back) for back in range(chosen.steps)]
        return [day_start(day, timezone) for day in reversed(days)]
    width = MINUTE_MS if chosen.step == "minute" else 60 * MINUTE_MS
    offset = int((local(now_at, timezone).utcoffset() or datetime.timedelta()).total_seconds())
    shift = offset * 1000  # hours of Kathmandu begin at :15 of UTC's
    last_at = (now_at + shift) // width * width - shift
    return [last_at - back * width for back in reversed(range(chosen.steps))]


def usage_chart(
    points: Sequence[UsagePoint], starts: Sequence[int], by_class: bool
) -> dict[str, Any]:
    """Return ``{"times": [s], "series": [{"label", "values": [octets]}]}`` for uPlot.

    Split by class: one series per class that moved anything, greatest first; else download and
    upload.
    """
    columns: dict[str, list[int]] = defaultdict(lambda: [0] * len(starts))
    if not by_class:
        columns["Download"], columns["Upload"] = [0] * len(starts), [0] * len(starts)
    for point in points:
        index = bisect_right(starts, point.start_at) - 1
        if index < 0:
            continue
        if by_class:
            octets = point.octets_up + point.octets_down
            columns[class_name(point.traffic_class)][index] += octets
        else:
            columns["Download"][index] += point.octets_down
            columns["Upload"][index] += point.octets_up
    series = [
        {"label": label, "values": values}
        for label, values in columns.items()
        if any(values) or not by_class
    ]
    if by_class:
        series.sort(key=lambda one: -sum(one["values"]))  # type: ignore[arg-type]
    return {"times": [start // 1000 for start in starts], "series": series}


def live_chart(samples: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
    """Return ``{"times": [s], "down": [bit/s], "up": [bit/s]}``; times have milliseconds."""
    return {
        "times": [at / 1000 for at, _, _ in samples],
        "down": [down for _, down, _ in samples],
        "up": [up for _, _, up in samples],
    }
