"""How long a customer's service may rest at a reduced fee: days at a time, and days of a year."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from billing.proration import local_day
from billing.services import Hold


@dataclasses.dataclass(frozen=True, slots=True)
class HoldLimits:
    """The fewest days of one hold, and the most of all holds of one account in a calendar year."""

    days_min: int
    days_per_year_max: int


def why_not(hold: Hold, others: Sequence[Hold], limits: HoldLimits, timezone: str) -> str:
    """Return what forbids a hold with an end beside an account's others, or empty text.

    Days are local; a day on which two holds of the account rest counts once.
    """
    if hold.ends_at is None or hold.ends_at <= hold.starts_at:
        return "it must end after it starts"
    days = _days([hold], timezone)
    if len(days) < limits.days_min:
        return f"at least {limits.days_min} days, got {len(days)}"
    for overlapping in others:
        if overlapping.target_id == hold.target_id and days & _days([overlapping], timezone):
            return f"no day of hold {overlapping.hold_id!r}"
    all_days = _days([hold, *others], timezone)
    for year in sorted({day.year for day in days}):
        count = sum(day.year == year for day in all_days)
        if count > limits.days_per_year_max:
            return f"at most {limits.days_per_year_max} days in {year}, with this it were {count}"
    return ""


def _days(holds: Sequence[Hold], timezone: str) -> set[datetime.date]:
    """Return the local days on which any of the holds rests; one without end rests no day yet."""
    found: set[datetime.date] = set()
    for hold in holds:
        if hold.ends_at is None:
            continue
        first = local_day(hold.starts_at, timezone)
        count = (local_day(hold.ends_at, timezone) - first).days
        found.update(first + datetime.timedelta(days=n) for n in range(count))
    return found
