"""Segments: the stretches of a period that one plan and one set of members rate.

What happened to a rating key is its history: account events sorted by effective time. From it,
and nothing else, follow the segments of any period and the part of the period that each covers.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

from rating.periods import MINUTE_MS, Calendar, Period, local_day
from rating.shares import Share

OPENING_KINDS = (
    "subscription_started",
    "plan_changed",
    "subscription_ended",
    "pool_joined",
    "pool_left",
)
"""Kinds that end the running segment at their effective time, and mostly open another."""

SEGMENTED_PERIODS_MAX = 8
"""Periods whose segments a rating key remembers: what is kept of it, and some late ones."""


@dataclasses.dataclass(frozen=True, slots=True)
class HistoryEvent:
    """An accepted account event, as kept in state.

    plan_ref names the plan document that it brings ("" for none); ordered by
    (effective_at, received_at, event_id), so arrival order does not matter.
    """

    effective_at: int
    received_at: int
    event_id: str
    kind: str
    plan_ref: str = ""


class Segment(NamedTuple):
    """A stretch [start_at, end_at) of one period under one plan; numbered from 0 in its period."""

    period: Period
    number: int
    start_at: int
    end_at: int
    plan_ref: str


def sort_key(event: HistoryEvent) -> tuple[int, int, str]:
    """Return what orders a history."""
    return event.effective_at, event.received_at, event.event_id


def plan_cuts(history: Sequence[HistoryEvent]) -> list[tuple[int, str]]:
    """Return (start_at, plan_ref) of every stretch, ascending; "" means that no plan applies.

    Several events of one minute are one cut; the last one's plan stands.
    """
    cuts: list[tuple[int, str]] = []
    plan_ref = ""
    for event in history:
        if event.kind not in OPENING_KINDS:
            continue
        if event.kind == "subscription_ended":
            plan_ref = ""
        elif event.plan_ref and (plan_ref or event.kind == "subscription_started"):
            plan_ref = event.plan_ref
        elif not plan_ref:
            continue
        if cuts and cuts[-1][0] == event.effective_at:
            cuts.pop()
        cuts.append((event.effective_at, plan_ref))
    return cuts


def segments_of(cuts: Sequence[tuple[int, str]], period: Period) -> list[Segment]:
    """Return the segments of a period, ascending; stretches without a plan leave gaps."""
    segments: list[Segment] = []
    start_at, plan_ref = period.start_at, ""
    for cut_at, next_ref in (*cuts, (period.end_at, "")):
        end_at = min(cut_at, period.end_at)
        if plan_ref and start_at < end_at:
            segments.append(Segment(period, len(segments), start_at, end_at, plan_ref))
        start_at, plan_ref = max(cut_at, period.start_at), next_ref
    return segments


def began_in(session_id: str, segment: Segment) -> bool:
    """Return whether a session began in a segment, as its id tells (`sessions.session_id`).

    An id of another form tells nothing: such a session counts in each segment that it was used in.
    """
    name = session_id.rpartition("/")[2].partition(".")[0]
    if not name.isascii() or not name.isdigit():
        return True
    return segment.start_at <= int(name) * MINUTE_MS < segment.end_at


class Stretch(NamedTuple):
    """A segment in whole minutes [first, end), and what tells its terms from those of others."""

    segment: Segment
    first_minute: int
    end_minute: int
    terms_key: tuple[str, str, int, int, int, int]


class Derived:
    """What follows from the history of a rating key, kept with its state and never stored.

    cuts are (start_at, plan_ref) of every stretch, as `segments.plan_cuts`; suspensions the events
    that suspend the service or resume it; stretches those of some periods, by their start.
    """

    __slots__ = ("cuts", "stretches", "suspensions")

    def __init__(self, history: Sequence[HistoryEvent]) -> None:
        self.cuts = plan_cuts(history)
        self.suspensions = tuple([e for e in history if e.kind in ("suspended", "resumed")])
        self.stretches: dict[int, list[Stretch]] = {}

    def stretches_of(self, period: Period, timezone: str) -> list[Stretch]:
        """Return the stretches of a period, and keep them."""
        if len(self.stretches) >= SEGMENTED_PERIODS_MAX:
            self.stretches.clear()
        stretches = self.stretches[period.start_at] = [
            stretch_of(segment, timezone) for segment in segments_of(self.cuts, period)
        ]
        return stretches


def stretch_of(segment: Segment, timezone: str) -> Stretch:
    """Return a segment of an account in a time zone as a stretch."""
    period, _, start_at, end_at, plan_ref = segment
    return Stretch(
        segment,
        start_at // MINUTE_MS,
        end_at // MINUTE_MS,
        (plan_ref, timezone, period.start_at, period.end_at, start_at, end_at),
    )


@functools.lru_cache(maxsize=4_096)
def calendar_share(
    proration: Literal["none", "day", "second"],
    timezone: str,
    period: Period,
    start_at: int,
    end_at: int,
) -> Share:
    """Return the part of a period that [start_at, end_at) covers.

    ``day`` counts whole local calendar days, [start, end): the day of a change belongs wholly to
    the new segment. ``second`` counts elapsed time, which a clock change stretches. ``none``
    gives every segment the whole.
    """
    if proration == "none":
        return Share(Fraction(0), Fraction(1))
    if proration == "second":
        length = period.end_at - period.start_at
        return Share(
            Fraction(start_at - period.start_at, length), Fraction(end_at - period.start_at, length)
        )
    return Share(_days_into(timezone, period, start_at), _days_into(timezone, period, end_at))


def segment_share(
    proration: Literal["none", "day", "second"], calendar: Calendar, segment: Segment
) -> Share:
    """Return the part of its period that a segment covers."""
    return calendar_share(
        proration, calendar.timezone, segment.period, segment.start_at, segment.end_at
    )


def _days_into(timezone: str, period: Period, instant: int) -> Fraction:
    day: datetime.date = local_day(timezone, instant // MINUTE_MS)
    return Fraction((day - period.start_on).days, period.days)
