"""What a tariff costs, in the auditor's words: plain if-chains over exact fractions.

Nothing of rating or billing is imported here. Quantities are whole octets or seconds; prices are
in major units of the currency, per `unit`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

Span = tuple[Fraction, Fraction]
"""A stretch of a period: where it begins and ends, as parts of the period from 0 to 1."""

WHOLE: Span = (Fraction(0), Fraction(1))


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One tier: its upper bound (None: open), price per unit, and fee on entering it."""

    up_to: int | None
    price: Fraction
    fee: Fraction = Fraction(0)


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """One thing that a tariff counts, and how it is priced.

    kind is payg, overage, flat, graduated or volume; counts is octets, up, down or seconds; per is
    period, day or session. weights holds (numerator, denominator) of traffic classes that do not
    count wholly.
    """

    name: str
    kind: str
    price: Fraction = Fraction(0)
    unit: int = 1_000_000
    allowance: int = 0
    amount: Fraction = Fraction(0)
    steps: tuple[Step, ...] = ()
    counts: str = "octets"
    per: str = "period"
    weights: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Tariff:
    """A plan in the auditor's words. tax_percent is whole; flows says what it is measured by."""

    plan_id: str
    measures: tuple[Measure, ...]
    fee: Fraction = Fraction(0)
    tax_percent: int = 0
    is_tax_included: bool = False
    is_prepaid: bool = False
    by_flows: bool = False
    proration: str = "day"


def price_of(measure: Measure, quantity: int, span: Span) -> Fraction:
    """Return the exact price of a quantity in a stretch of a period."""
    if measure.per != "period":
        span = WHOLE

    def part(bound: int) -> int:
        return int(bound * span[1]) - int(bound * span[0])

    if measure.kind == "flat":
        return measure.amount * (span[1] - span[0])
    if measure.kind == "payg":
        return measure.price * quantity / measure.unit
    if measure.kind == "overage":
        return measure.price * max(quantity - part(measure.allowance), 0) / measure.unit
    steps = [
        Step(None if s.up_to is None else part(s.up_to), s.price, s.fee * (span[1] - span[0]))
        for s in measure.steps
    ]
    if measure.kind == "volume":
        return _volume(steps, quantity, measure.unit)
    if measure.kind == "graduated":
        return _graduated(steps, quantity, measure.unit)
    raise AssertionError(f"the auditor knows no tariff {measure.kind}")


def _volume(steps: list[Step], quantity: int, unit: int) -> Fraction:
    for step in steps:
        if step.up_to is None or quantity <= step.up_to:
            return step.fee + step.price * quantity / unit
    raise AssertionError("the last tier is open")


def _graduated(steps: list[Step], quantity: int, unit: int) -> Fraction:
    total = steps[0].fee
    below = 0
    for number, step in enumerate(steps):
        if quantity > below:
            top = quantity if step.up_to is None else min(quantity, step.up_to)
            total += step.price * (top - below) / unit
            if number > 0:
                total += step.fee
        below = quantity if step.up_to is None else step.up_to
    return total


def round_half_up(amount: Fraction) -> int:
    """Return the nearest whole number, halves away from zero."""
    sign = -1 if amount < 0 else 1
    return sign * int((abs(amount) * 2 + 1) // 2)
