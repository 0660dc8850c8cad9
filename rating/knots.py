"""A session's cumulative counters as a curve through its knots, cut at minutes.

A knot is (event time, cumulative counters). The curve C is linear between knots, and the usage of
minute m is floor(C(m+1)) - floor(C(m)): integers only, so the minutes of a session add up to its
counters exactly, however the knots came in. C is continuous from the left: what a session is first
seen with (a jump at its origin) falls into the minute of the origin.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import msgspec

MINUTE_MS = 60_000


class Counters(NamedTuple):
    """Cumulative counters of a session, or (signed) what a minute got of them."""

    octets_up: int
    octets_down: int
    packets_up: int
    packets_down: int
    seconds: int


ZERO = Counters(0, 0, 0, 0, 0)


def maximum(one: Counters, other: Counters) -> Counters:
    """Return the greater value of each counter: a counter of a session never falls."""
    return Counters(*map(max, one, other))


def minus(one: Counters, other: Counters) -> Counters:
    """Return the difference of each counter."""
    return Counters(
        one[0] - other[0],
        one[1] - other[1],
        one[2] - other[2],
        one[3] - other[3],
        one[4] - other[4],
    )


def between(start: Counters, end: Counters, past: int, whole: int) -> Counters:
    """Return the floor of a line from one value to the other, `past` of `whole` on its way."""
    return Counters(
        start[0] + (end[0] - start[0]) * past // whole,
        start[1] + (end[1] - start[1]) * past // whole,
        start[2] + (end[2] - start[2]) * past // whole,
        start[3] + (end[3] - start[3]) * past // whole,
        start[4] + (end[4] - start[4]) * past // whole,
    )


class Curve(msgspec.Struct, frozen=True):
    """Cumulative counters over time.

    times (ms) ascend strictly; values never fall. Up to and including times[0], the origin, the
    curve is `base`; right after it values[0]; after the last time it stays at values[-1]. A session
    from its start has base 0; a compacted one has the floor of its curve at the beginning of the
    origin's minute, so that the minutes from there on add up with those already sent.
    """

    times: tuple[int, ...]
    values: tuple[Counters, ...]
    base: Counters

    def at(self, instant: int) -> Counters:
        """Return the floor of the curve at an instant (ms)."""
        times = self.times
        if instant <= times[0]:
            return self.base
        after = bisect_left(times, instant)
        if after == len(times):
            return self.values[-1]
        start_at = times[after - 1]
        whole = times[after] - start_at
        return between(self.values[after - 1], self.values[after], instant - start_at, whole)

    def compacted(self, index: int) -> Curve:
        """Return the curve with knot `index` as its origin and every earlier knot forgotten."""
        if index == 0:
            return self
        minute_at = self.times[index] // MINUTE_MS * MINUTE_MS
        return Curve(self.times[index:], self.values[index:], self.at(minute_at))


NO_USAGE = Curve((0,), (ZERO,), ZERO)
"""The curve of what used nothing."""


def curve_of(
    origin_at: int, origin: Counters, base: Counters, knots: list[tuple[int, Counters]]
) -> Curve:
    """Return the curve from its origin through knots given in event order.

    Knots become their running maximum; a knot before the origin is taken at the origin, where it
    can raise the curve but never lower it; of several at one instant the greatest stands.
    """
    times, values = [origin_at], [origin]
    for knot_at, counters in knots:
        highest = maximum(values[-1], counters)
        if knot_at <= times[-1]:
            values[-1] = highest
        else:
            times.append(knot_at)
            values.append(highest)
    return Curve(tuple(times), tuple(values), base)


def minutes_of(before: Curve | None, after: Curve | None) -> list[tuple[int, Counters]]:
    """Return (minute, counters) that lead from one curve to the other; None is no usage at all.

    Only minutes whose usage differs are listed, ascending: `after` alone lists the whole session,
    a late knot the signed corrections between its neighbours.
    """
    touched = _touched(before, after)
    if touched is None:
        return []
    first, last = touched[0] // MINUTE_MS, touched[1] // MINUTE_MS
    changes = []
    done = ZERO if before is None else before.at(first * MINUTE_MS)
    due = ZERO if after is None else after.at(first * MINUTE_MS)
    for minute in range(first, last + 1):
        end_at = (minute + 1) * MINUTE_MS
        done_next = done if before is None else before.at(end_at)
        due_next = due if after is None else after.at(end_at)
        change = minus(minus(due_next, due), minus(done_next, done))
        if change != ZERO:
            changes.append((minute, change))
        done, due = done_next, due_next
    return changes


def minutes_between(
    start_at: int, start: Counters, end_at: int, end: Counters
) -> list[tuple[int, Counters]]:
    """Return what a line adds to a curve that ended at its start (ms), as `minutes_of`."""
    whole = end_at - start_at
    changes = []
    done = start
    for minute in range(start_at // MINUTE_MS, end_at // MINUTE_MS):
        due = between(start, end, (minute + 1) * MINUTE_MS - start_at, whole)
        if due != done:
            changes.append((minute, minus(due, done)))
            done = due
    if end != done:
        changes.append((end_at // MINUTE_MS, minus(end, done)))
    return changes


def _touched(before: Curve | None, after: Curve | None) -> tuple[int, int] | None:
    """Return the span (ms) outside which the two curves rise alike, or None if they are equal."""
    if before is None or after is None:
        only = before or after
        return None if only is None else (only.times[0], only.times[-1])
    last = max(before.times[-1], after.times[-1])
    same_origin = before.times[0] == after.times[0] and before.values[0] == after.values[0]
    if not same_origin or before.base != after.base:
        return min(before.times[0], after.times[0]), last
    shorter = min(len(before.times), len(after.times))
    head = 1
    while head < shorter and _same(before, after, head):
        head += 1
    if head == len(before.times) == len(after.times):
        return None
    tail = 0
    while tail < shorter - head and _same(before, after, -1 - tail):
        tail += 1
    return before.times[head - 1], before.times[-tail] if tail else last


def _same(one: Curve, other: Curve, index: int) -> bool:
    return one.times[index] == other.times[index] and one.values[index] == other.values[index]
