"""A price as the steps that a clerk can follow: what was used, what is included, what is left.

The steps say in words what `rating.curves` computes. They are worked out apart from it and their
sum is compared with F(q), so an explanation that does not lead to the price is never shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from msgspec import structs

from billing.quantities import OCTET_UNITS, format_price_unit, is_cut, short_quantity
from rating.curves import (
    AllowanceOverage,
    Capped,
    Flat,
    Graduated,
    Increments,
    Minimum,
    Package,
    Payg,
    Percentage,
    Tier,
    Volume,
    scaled,
)
from rating.curves.increments import billed
from rating.money import minor_decimals
from rating.plans import OCTETS_PER_GIGABYTE, Adjustment, Meter, Plan, Weight, names_of
from rating.shares import WHOLE, Share

_EXACT_DECIMALS = 6

SCOPES_EXPLAINED_MAX = 40
"""Days or sessions that an explanation shows one by one."""


@dataclasses.dataclass(frozen=True, slots=True)
class PriceStep:
    """One step: words, and what it adds to the price (major units), None where it adds nothing."""

    text: str
    amount: Fraction | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Which part of its period a line bills; days are whole local days, share what it scales by."""

    share: Share = WHOLE
    days: int = 0
    days_in_period: int = 0

    @property
    def words(self) -> str:
        """Return the part in words, empty for the whole period."""
        if self.share == WHOLE:
            return ""
        length = self.share.end - self.share.start
        if length * self.days_in_period == self.days:
            return f"{self.days} of {self.days_in_period} days"
        return f"{float(length * 100):.2f} % of the period"


def explain_price(
    plan: Plan, meter: Meter, part: Part, quantity: int, amount: Fraction
) -> list[PriceStep]:
    """Return the steps from a quantity to its exact price; their amounts sum to `amount`.

    Where no steps over the sum lead there (a curve that runs over each day or session by itself,
    or a part of the period that we cannot tell), one step says so with the whole amount.
    """
    reading = _Reading(plan, meter, part)
    head = [PriceStep(f"{reading.quantity_exactly(quantity)} used"), *_weights(meter)]
    if meter.scope == "period":
        steps = list(_STEPS[type(meter.curve)](meter.curve, quantity, reading))
        if _sum_of(steps) == amount:
            return [*head, *steps]
        return [*head, PriceStep("as rating priced it", amount)]
    words = f"each {meter.scope} is priced by itself; together"
    return [*head, PriceStep(words, amount)]


def explain_adjustment(plan: Plan, adjustment: Adjustment, amount: Fraction) -> list[PriceStep]:
    """Return the step that says what an adjustment does to the lines that it looks at."""
    exact = exact_text(adjustment.amount, plan.currency)
    part = "" if plan.proration == "none" else " for a whole period"
    percent = exact_text(adjustment.percent, plan.currency)
    words = {
        "minimum": f"at least {exact}{part}",
        "cap": f"at most {exact}{part}",
        "markup": f"{percent} % more",
        "discount": f"{percent} % less",
    }[adjustment.kind]
    names = names_of(plan)
    of_what = ", ".join(names[name] for name in adjustment.meters) or "all of the above"
    return [PriceStep(f"{words}, of {of_what} together", amount)]


def explain_scopes(
    plan: Plan, meter: Meter, quantities: Mapping[str, int], amount: Fraction
) -> list[PriceStep]:
    """Return the steps of a curve that runs over each day or session by itself.

    quantities are by day or session. The first `SCOPES_EXPLAINED_MAX` are shown step by step, the
    others as one; the amounts sum to `amount`, or one step says what rating made of all of them.
    """
    reading = _Reading(plan, meter, Part())
    steps, rest = _weights(meter), Fraction(0)
    for number, (name, quantity) in enumerate(sorted(quantities.items())):
        if not quantity:
            continue
        found = list(_STEPS[type(meter.curve)](meter.curve, quantity, reading))
        if number < SCOPES_EXPLAINED_MAX:
            steps.append(PriceStep(f"{meter.scope} {name}: {reading.quantity_exactly(quantity)}"))
            steps += found
        else:
            rest += _sum_of(found)
    if rest:
        others = len(quantities) - SCOPES_EXPLAINED_MAX
        steps.append(PriceStep(f"and {others:,} more, each by itself", rest))
    if _sum_of(steps) == amount:
        return steps
    return [PriceStep(f"each {meter.scope} is priced by itself; together", amount)]


def _sum_of(steps: Sequence[PriceStep]) -> Fraction:
    return sum((step.amount or Fraction(0) for step in steps), Fraction(0))


def exact_text(amount: Fraction, currency: str) -> str:
    """Return an exact amount as a decimal: ``23.20``, ``0.005``, ``0.333333…`` where it goes on."""
    digits = minor_decimals(currency)
    for decimals in range(digits, _EXACT_DECIMALS + 1):
        units = amount * 10**decimals
        if units.denominator == 1:
            return _decimal(int(units), decimals)
    return _decimal(int(amount * 10**_EXACT_DECIMALS), _EXACT_DECIMALS) + "…"


def _decimal(units: int, decimals: int) -> str:
    """Return an integer of 10^-decimals as text with thousands separated."""
    whole, part = divmod(abs(units), 10**decimals)
    sign = "−" if units < 0 else ""
    return f"{sign}{whole:,}.{part:0{decimals}d}" if decimals else f"{sign}{whole:,}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Reading:
    """How a plan's quantities and amounts read."""

    plan: Plan
    meter: Meter
    part: Part

    def quantity(self, quantity: int) -> str:
        gigabyte = OCTETS_PER_GIGABYTE[self.plan.octets_unit]
        return short_quantity(quantity, self.meter.unit, gigabyte)

    def quantity_exactly(self, quantity: int) -> str:
        """Return the quantity, and every octet of it where the short form cuts some off."""
        gigabyte = OCTETS_PER_GIGABYTE[self.plan.octets_unit]
        text = self.quantity(quantity)
        if self.meter.unit in OCTET_UNITS and is_cut(quantity, gigabyte):
            return f"{text} ({quantity:,} octets)"
        return text

    def amount(self, amount: Fraction) -> str:
        return exact_text(amount, self.plan.currency)

    def price(self, unit_price: Fraction, unit: int) -> str:
        """Return a unit price: ``4.00 per 10 MB``."""
        return f"{self.amount(unit_price)} per {format_price_unit(unit, self.meter.unit)}"

    def scaled(self, words: str, whole: str) -> str:
        """Return words about a bound, with its part of the period where that is not all of it."""
        part = self.part.words
        return f"{words} ({part} of {whole})" if part else words


Steps = Iterator[PriceStep]


def _flat(curve: Flat, quantity: int, reading: _Reading) -> Steps:
    part: Any = scaled(curve, reading.part.share)
    yield PriceStep(reading.scaled("flat price", reading.amount(curve.amount)), part.amount)


def _payg(curve: Payg, quantity: int, reading: _Reading) -> Steps:
    text = f"{reading.quantity(quantity)} × {reading.price(curve.unit_price, curve.unit)}"
    yield PriceStep(text, curve.unit_price * quantity / curve.unit)


def _included(free: int, whole: int, reading: _Reading) -> PriceStep:
    return PriceStep(reading.scaled(f"{reading.quantity(free)} included", reading.quantity(whole)))


_NOTHING_ABOVE = PriceStep("nothing above it", Fraction(0))


def _allowance_overage(curve: AllowanceOverage, quantity: int, reading: _Reading) -> Steps:
    free = reading.part.share.quantity(curve.allowance)
    yield _included(free, curve.allowance, reading)
    above = quantity - free
    if above <= 0:
        yield _NOTHING_ABOVE
        return
    text = f"{reading.quantity(above)} × {reading.price(curve.unit_price, curve.unit)}"
    yield PriceStep(text, curve.unit_price * above / curve.unit)


def _package(curve: Package, quantity: int, reading: _Reading) -> Steps:
    free = reading.part.share.quantity(curve.free)
    if curve.free:
        yield _included(free, curve.free, reading)
    above = quantity - free
    if above <= 0:
        yield _NOTHING_ABOVE
        return
    count = above // curve.size if curve.rounding == "down" else -(-above // curve.size)
    words = "full" if curve.rounding == "down" else "started"
    size = format_price_unit(curve.size, reading.meter.unit)
    plural = "" if count == 1 else "s"
    text = f"{reading.quantity(above)} is {count:,} {words} package{plural} of {size}"
    price = reading.amount(curve.package_price)
    yield PriceStep(f"{text} × {price}", curve.package_price * count)


def _percentage(curve: Percentage, quantity: int, reading: _Reading) -> Steps:
    free = reading.part.share.quantity(curve.free)
    if curve.free:
        yield _included(free, curve.free, reading)
    above = max(quantity - free, 0)
    text = f"{reading.amount(curve.percent)} % of {above:,}"
    if curve.unit != 1:
        text += f" / {curve.unit:,}"
    yield PriceStep(text, curve.percent * above / (100 * curve.unit))


def _increments(curve: Increments, quantity: int, reading: _Reading) -> Steps:
    if quantity and curve.connect_fee:
        yield PriceStep("connect fee", curve.connect_fee)
    free = reading.part.share.quantity(curve.free)
    if curve.free:
        yield _included(free, curve.free, reading)
    if quantity <= free:
        yield _NOTHING_ABOVE
        return
    counted = int(billed(structs.replace(curve, free=free), quantity))
    text = f"billed as {reading.quantity(counted)}, first {curve.first:,} then {curve.next:,}"
    price = reading.price(curve.unit_price, curve.unit)
    yield PriceStep(f"{text}, × {price}", curve.unit_price * counted / curve.unit)


def _graduated(curve: Graduated, quantity: int, reading: _Reading) -> Steps:
    part: Any = scaled(curve, reading.part.share)
    below = 0
    for number, (tier, whole) in enumerate(zip(part.tiers, curve.tiers, strict=True)):
        if number and quantity <= below:
            return
        top = quantity if tier.up_to is None else min(quantity, tier.up_to)
        words = "first" if number == 0 else "next"
        bound = ""
        if tier.up_to is not None:
            bound = f", tier to {reading.quantity(tier.up_to)}"
            bound = reading.scaled(bound, reading.quantity(whole.up_to or 0))
        if tier.flat_fee:
            fee = reading.scaled("entering the tier", reading.amount(whole.flat_fee))
            yield PriceStep(fee, tier.flat_fee)
        if top > below:
            yield _tier_step(tier, top - below, f"{words} ", bound, reading)
        below = max(below, tier.up_to or 0)


def _volume(curve: Volume, quantity: int, reading: _Reading) -> Steps:
    part: Any = scaled(curve, reading.part.share)
    for tier, whole in zip(part.tiers, curve.tiers, strict=True):
        if tier.up_to is not None and quantity > tier.up_to:
            continue
        if tier.up_to is None:
            bound = ", the last tier's price for all of it"
        else:
            bound = f", the price for all of it up to {reading.quantity(tier.up_to)}"
            bound = reading.scaled(bound, reading.quantity(whole.up_to or 0))
        if tier.flat_fee:
            fee = reading.scaled("the tier's fee", reading.amount(whole.flat_fee))
            yield PriceStep(fee, tier.flat_fee)
        yield _tier_step(tier, quantity, "", bound, reading)
        return


def _tier_step(tier: Tier, quantity: int, words: str, bound: str, reading: _Reading) -> PriceStep:
    counted, text = quantity, f"{words}{reading.quantity(quantity)}"
    if tier.increment is not None:
        counted = -(-quantity // tier.increment) * tier.increment
        step = format_price_unit(tier.increment, reading.meter.unit)
        text += f", per started {step} {reading.quantity(counted)},"
    amount = tier.unit_price * counted / tier.unit
    if not tier.unit_price:
        return PriceStep(f"{text} included{bound}", amount)
    return PriceStep(f"{text} × {reading.price(tier.unit_price, tier.unit)}{bound}", amount)


def _bounded(curve: Capped | Minimum, limit: Fraction, quantity: int, reading: _Reading) -> Steps:
    """Yield the inner curve's steps, and what the limit takes off or adds."""
    inner = list(_STEPS[type(curve.curve)](curve.curve, quantity, reading))
    yield from inner
    total = _sum_of(inner)
    is_cap = isinstance(curve, Capped)
    bound = limit * (reading.part.share.end - reading.part.share.start)
    result = min(total, bound) if is_cap else max(total, bound)
    if result != total:
        words = f"{'at most' if is_cap else 'at least'} {reading.amount(bound)}"
        yield PriceStep(reading.scaled(words, reading.amount(limit)), result - total)


def _capped(curve: Capped, quantity: int, reading: _Reading) -> Steps:
    return _bounded(curve, curve.cap, quantity, reading)


def _minimum(curve: Minimum, quantity: int, reading: _Reading) -> Steps:
    return _bounded(curve, curve.minimum, quantity, reading)


_STEPS: Mapping[type, Callable[[Any, int, _Reading], Steps]] = {
    AllowanceOverage: _allowance_overage,
    Capped: _capped,
    Flat: _flat,
    Graduated: _graduated,
    Increments: _increments,
    Minimum: _minimum,
    Package: _package,
    Payg: _payg,
    Percentage: _percentage,
    Volume: _volume,
}
"""The steps of each price model of `rating.curves`."""


def _weights(meter: Meter) -> list[PriceStep]:
    """Return the steps that say which traffic classes and hours count otherwise, if any do."""
    default = Fraction(*meter.default_weight)
    classes = {
        name: weight for name, weight in meter.class_weights.items() if Fraction(*weight) != default
    }
    steps = []
    if classes:
        others = f"everything else {_weight_words(meter.default_weight)}"
        steps.append(PriceStep(f"of which count: {_listed(classes)}, {others}"))
    if meter.band_weights:
        others = f"other hours {_weight_words(meter.default_band_weight)}"
        steps.append(PriceStep(f"by the hour: {_listed(meter.band_weights)}, {others}"))
    return steps


def _listed(weights: Mapping[str, Weight]) -> str:
    return ", ".join(f"{name} {_weight_words(weight)}" for name, weight in sorted(weights.items()))


def _weight_words(weight: Weight) -> str:
    part = Fraction(*weight)
    words = {Fraction(0): "not at all", Fraction(1, 2): "half", Fraction(1): "in full"}
    return words.get(part, f"× {part}")
