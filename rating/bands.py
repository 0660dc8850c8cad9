"""Time bands: named hours of the week by the local clock, in quarters of an hour.

A quarter-hour cell lies wholly in one band, as in one local day (`rating.periods`): its band is
that of the local time at which it begins. So a clock change needs no rule of its own: an hour that
is lived twice counts twice, one that is skipped not at all.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from rating.periods import CELL_MINUTES, zone

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
QUARTERS_PER_DAY = 24 * 60 // CELL_MINUTES
NO_BAND = ""
"""The band of the hours that no band names."""

_CLOCK = re.compile(r"([01][0-9]|2[0-4]):(00|15|30|45)")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Band(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hours [start, end) of the named days; one that ends before it starts goes on over midnight.

    What lies behind midnight belongs to the day on which the band began: fri 22:00 to 06:00 ends
    on Saturday morning. Times are whole quarters of an hour; equal ones are a whole day.
    """

    name: str
    start: str = "00:00"
    end: str = "24:00"
    days: tuple[Weekday, ...] = WEEKDAYS

    def __post_init__(self) -> None:
        if not self.name or "|" in self.name:
            raise ValueError("name: expected a name without '|'")
        for field in ("start", "end"):
            text = getattr(self, field)
            if not _CLOCK.fullmatch(text) or text > "24:00":
                raise ValueError(f"{field}: expected a quarter of an hour from 00:00 to 24:00")
        if not self.days:
            raise ValueError("days: expected at least one")


@functools.lru_cache(maxsize=1_024)
def week_of(bands: tuple[Band, ...]) -> tuple[str, ...]:
    """Return the band of each quarter of a local week from Monday on: the first that holds it."""
    week = [NO_BAND] * (7 * QUARTERS_PER_DAY)
    for band in reversed(bands):
        for quarter in _quarters(band):
            week[quarter] = band.name
    return tuple(week)


def band_at(week: Sequence[str], timezone: str, cell: int) -> str:
    """Return the band of a quarter-hour UTC cell in a time zone; "" for none."""
    return week[_quarter_of_week(timezone, cell)]


def _quarters(band: Band) -> list[int]:
    start, end = _quarter(band.start), _quarter(band.end)
    length = end - start if end > start else end - start + QUARTERS_PER_DAY
    begins = [WEEKDAYS.index(day) * QUARTERS_PER_DAY + start for day in band.days]
    whole = 7 * QUARTERS_PER_DAY
    return [(first + more) % whole for first in begins for more in range(length)]


def _quarter(text: str) -> int:
    hours, minutes = text.split(":")
    return (int(hours) * 60 + int(minutes)) // CELL_MINUTES


@functools.lru_cache(maxsize=65_536)
def _quarter_of_week(timezone: str, cell: int) -> int:
    moment = (_EPOCH + datetime.timedelta(minutes=cell * CELL_MINUTES)).astimezone(zone(timezone))
    quarter = (moment.hour * 60 + moment.minute) // CELL_MINUTES
    return moment.weekday() * QUARTERS_PER_DAY + quarter
