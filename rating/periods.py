"""The billing calendar: periods, local days, and the 15-minute cells they are made of.

Every boundary is a local midnight of the branch's time zone, expressed as an instant in UTC ms;
a period is [start, end) in whole local calendar days. An anchor on the 29th to 31st clamps to the
month's end and returns to the anchor (30 Jan, 29 Feb, 30 Mar). Where a clock change skips
midnight, the day starts at the first instant that exists. Every zone in use today lies on a
quarter of an hour from UTC, so a 15-minute UTC cell belongs to one local day.
"""

from __future__ import annotations

import calendar as month_lengths
import dataclasses
import datetime
import functools
import zoneinfo
from typing import Literal

MINUTE_MS = 60_000
CELL_MINUTES = 15
"""Minutes of a cell, the finest grid that hours and days of every time zone roll up from."""

Cycle = Literal["daily", "weekly", "monthly", "quarterly", "yearly"]

_CYCLE_MONTHS = {"monthly": 1, "quarterly": 3, "yearly": 12}
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Calendar:
    """When an account's periods begin.

    anchor_day is the day of the month, for weekly the ISO weekday (1 Monday to 7 Sunday), for
    daily without meaning. anchor_month (1 to 12) is one of the months in which a quarter or a
    year begins. ValueError names the field that is out of range.
    """

    timezone: str = "UTC"
    cycle: Cycle = "monthly"
    anchor_day: int = 1
    anchor_month: int = 1

    def __post_init__(self) -> None:
        zone(self.timezone)
        last_day = 7 if self.cycle == "weekly" else 31
        if not 1 <= self.anchor_day <= last_day:
            raise ValueError(f"anchor_day: expected 1 to {last_day}, got {self.anchor_day}")
        if not 1 <= self.anchor_month <= 12:
            raise ValueError(f"anchor_month: expected 1 to 12, got {self.anchor_month}")


@dataclasses.dataclass(frozen=True, slots=True)
class Period:
    """One billing period: [start_on, end_on) in local days, [start_at, end_at) in UTC ms."""

    start_at: int
    end_at: int
    start_on: datetime.date
    end_on: datetime.date

    @property
    def days(self) -> int:
        """Count of local calendar days."""
        return (self.end_on - self.start_on).days


@functools.cache
def zone(name: str) -> zoneinfo.ZoneInfo:
    """Return a time zone; ValueError, naming the field, for one that does not exist."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"timezone: unknown time zone {name!r}") from None


def cell_of(minute: int) -> int:
    """Return the 15-minute UTC cell that a minute lies in."""
    return minute // CELL_MINUTES


def local_day(timezone: str, minute: int) -> datetime.date:
    """Return the local calendar day of a minute (whole minutes since 1970 UTC)."""
    instant = _EPOCH + datetime.timedelta(minutes=minute)
    return instant.astimezone(zone(timezone)).date()


@functools.lru_cache(maxsize=65_536)
def day_start_at(timezone: str, day: datetime.date) -> int:
    """Return the first instant of a local day in ms.

    A skipped midnight resolves to the instant of the clock change: with fold 0 the offset before
    the gap applies (PEP 495), which is exactly that instant.
    """
    midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=zone(timezone))
    return int((midnight - _EPOCH) // datetime.timedelta(milliseconds=1))


def day_end_at(timezone: str, day: datetime.date) -> int:
    """Return the instant in ms at which a local day ends: the next day's start."""
    return day_start_at(timezone, day + datetime.timedelta(days=1))


@functools.lru_cache(maxsize=65_536)
def day_of_cell(timezone: str, cell: int) -> tuple[str, int]:
    """Return the local day of a cell: as ISO text, and the instant in ms at which it ends."""
    day = local_day(timezone, cell * CELL_MINUTES)
    return day.isoformat(), day_end_at(timezone, day)


def period_at(calendar: Calendar, minute: int) -> Period:
    """Return the period that a minute lies in."""
    return period_of_day(calendar, local_day(calendar.timezone, minute))


def next_period(calendar: Calendar, period: Period) -> Period:
    """Return the period that begins where this one ends."""
    return period_of_day(calendar, period.end_on)


@functools.lru_cache(maxsize=65_536)
def period_of_day(calendar: Calendar, day: datetime.date) -> Period:
    """Return the period that a local day lies in."""
    start_on, end_on = _bounds(calendar, day)
    return Period(
        start_at=day_start_at(calendar.timezone, start_on),
        end_at=day_start_at(calendar.timezone, end_on),
        start_on=start_on,
        end_on=end_on,
    )


def _bounds(calendar: Calendar, day: datetime.date) -> tuple[datetime.date, datetime.date]:
    if calendar.cycle == "daily":
        return day, day + datetime.timedelta(days=1)
    if calendar.cycle == "weekly":
        since = (day.isoweekday() - calendar.anchor_day) % 7
        start_on = day - datetime.timedelta(days=since)
        return start_on, start_on + datetime.timedelta(days=7)
    length = _CYCLE_MONTHS[calendar.cycle]
    month = day.year * 12 + day.month - 1
    month -= (month - (calendar.anchor_month - 1)) % length
    anchor_day = calendar.anchor_day
    if day_in_month(month, anchor_day) > day:
        month -= length
    return day_in_month(month, anchor_day), day_in_month(month + length, anchor_day)


def day_in_month(month: int, day: int) -> datetime.date:
    """Return a day of a month counted from year 0, clamped to the month's end."""
    year, index = divmod(month, 12)
    last_day = month_lengths.monthrange(year, index + 1)[1]
    return datetime.date(year, index + 1, min(day, last_day))
