"""Adjustments: what several meters of a segment cost together, raised, capped or marked up.

An adjustment is a function of exact prices, never of usage, so it depends on the history as they
do and on nothing else. Its day is what it moved from the day before, as a meter's is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from rating.curves import Flat
from rating.engine import DayPosting, Pricing, amounts_through, pricing_of
from rating.money import ZERO, to_minor
from rating.plans import Adjustment, Meter, Plan
from rating.rate_state import MeterState
from rating.shares import Share


class Adjuster(NamedTuple):
    """An adjustment in a segment: bound is its amount's part there, names what it looks at.

    pricing is of a counter that counts nothing and only keeps its price.
    """

    pricing: Pricing
    adjustment: Adjustment
    bound: Fraction
    names: tuple[str, ...]


def adjusters_of(plan: Plan, share: Share) -> tuple[Adjuster, ...]:
    """Return a plan's adjustments in a segment, in the plan's order.

    One that names nothing looks at every meter and every adjustment before it.
    """
    before = [meter.meter_id for meter in plan.meters]
    found = []
    for adjustment in plan.adjustments:
        counter = Meter(adjustment.adjustment_id, Flat(ZERO), name=adjustment.name)
        pricing = pricing_of(counter, share)
        bound = share.amount(adjustment.amount)
        found.append(Adjuster(pricing, adjustment, bound, adjustment.meters or tuple(before)))
        before.append(adjustment.adjustment_id)
    return tuple(found)


def adjusted(adjuster: Adjuster, amounts: Mapping[str, Fraction]) -> Fraction:
    """Return what an adjustment adds to the prices of what it looks at; amounts are by id."""
    together = sum((amounts[name] for name in adjuster.names), ZERO)
    kind, percent = adjuster.adjustment.kind, adjuster.adjustment.percent
    if kind == "minimum":
        return max(ZERO, adjuster.bound - together)
    if kind == "cap":
        return min(ZERO, adjuster.bound - together)
    return together * percent / 100 if kind == "markup" else -together * percent / 100


class DayPrices(NamedTuple):
    """What everything costs through a day, by id: exactly, and in minor units as on a line.

    day is "" where no day is settled: what stands at the opening.
    """

    day: str
    amounts: Mapping[str, Fraction]
    minors: Mapping[str, int]


def prices_by_day(
    counters: Sequence[tuple[MeterState, Pricing]], adjusters: Sequence[Adjuster], currency: str
) -> list[DayPrices]:
    """Return the prices through every settled day, ascending; at least one entry.

    counters are the meters' and then the adjusters', of which only the days count.
    """
    days = sorted({bucket[:10] for state, _ in counters for bucket in state.settled}) or [""]
    meters = counters[: len(counters) - len(adjusters)]
    through = {
        pricing.meter.meter_id: amounts_through(state, pricing, days) for state, pricing in meters
    }
    found = []
    for number, day in enumerate(days):
        amounts = {name: prices[number] for name, prices in through.items()}
        minors = {name: to_minor(amount, currency) for name, amount in amounts.items()}
        for adjuster in adjusters:
            name = adjuster.adjustment.adjustment_id
            amounts[name] = adjusted(adjuster, amounts)
            minors[name] = _minor(adjuster, amounts, minors, currency)
        found.append(DayPrices(day, amounts, minors))
    return found


def _minor(
    adjuster: Adjuster, amounts: Mapping[str, Fraction], minors: Mapping[str, int], currency: str
) -> int:
    """Return what brings the rounded lines to the rounded sum: at least 10.00 is never 10.01."""
    amount = amounts[adjuster.adjustment.adjustment_id]
    if not amount:
        return 0
    together = sum((amounts[name] for name in adjuster.names), amount)
    return to_minor(together, currency) - sum(minors[name] for name in adjuster.names)


def post_adjustment(
    state: MeterState, adjustment_id: str, prices: Sequence[DayPrices]
) -> list[DayPosting]:
    """Return the days on which an adjustment's price has changed since the posting before.

    A day is what it moves the line, so that the days of a period sum to it.
    """
    minor_before, postings = 0, []
    state.posted = dict(state.posted)
    for day, _, minors in prices:
        if not day:
            continue
        revision, posted_minor, _quantity = state.posted.get(day, (-1, 0, 0))
        minor = minors[adjustment_id] - minor_before
        if minor != posted_minor:
            postings.append(DayPosting(day, revision + 1, 0, minor - posted_minor))
            state.posted[day] = (revision + 1, minor, 0)
        minor_before += minor
    return postings
