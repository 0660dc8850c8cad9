"""What part of a period's recurring fee is due: whole local calendar days, `[start, end)`.

The local day on which a subscription starts counts, the one on which it ends does not, so a plan
change at noon charges that day once, at the new plan's price. Days are those of the branch's
time zone; a day of 23 or 25 hours is one day.
"""

from __future__ import annotations

import datetime
from fractions import Fraction

from rating import periods

MODES = ("none", "day", "second")
"""none: the whole fee as soon as the subscription touches the period; second: exact time."""


def local_day(at_ms: int, timezone: str) -> datetime.date:
    """Return the local calendar day of an instant (ms). ValueError: no such time zone."""
    return periods.local_day(timezone, at_ms // periods.MINUTE_MS)


def whole_days(start_at: int, end_at: int, timezone: str) -> int:
    """Return how many local days [start_at, end_at) holds by the rule above; never negative."""
    return max((local_day(end_at, timezone) - local_day(start_at, timezone)).days, 0)


def portion(
    active: tuple[int, int | None], period: tuple[int, int], timezone: str, mode: str
) -> Fraction:
    """Return the part of a period, 0 to 1, in which a subscription was active.

    active is [starts_at, ends_at) in ms, open where ends_at is None; period is [start, end).
    ValueError for an unknown mode.
    """
    start_at = max(active[0], period[0])
    end_at = period[1] if active[1] is None else min(active[1], period[1])
    if start_at >= end_at:
        return Fraction(0)
    if mode == "none":
        return Fraction(1)
    if mode == "second":
        return Fraction(end_at - start_at, period[1] - period[0])
    if mode == "day":
        days = whole_days(period[0], period[1], timezone)
        return Fraction(whole_days(start_at, end_at, timezone), days) if days else Fraction(1)
    raise ValueError(f"proration {mode!r} is none of {', '.join(MODES)}")
