"""The tier: what graduated and volume prices are made of."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.money import ZERO
from rating.shares import Share

Quantity = int | Fraction
"""What a curve prices: whole octets or seconds on the wire, any exact number in arithmetic."""


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of the quantities in (the tier before's up_to, up_to]; up_to null is open.

    unit_price is for `unit` units; flat_fee is once, on entering the tier. With an increment, a
    started increment counts as whole ("per started GB").
    """

    up_to: int | None
    unit_price: Fraction
    flat_fee: Fraction = ZERO
    unit: int = 1
    increment: int | None = None


def check_tiers(tiers: tuple[Tier, ...]) -> None:
    """Raise ValueError, naming the tier, unless bounds never fall and only the last is open.

    Equal bounds are an empty tier: a short segment of a period makes some (`scale_tiers`).
    """
    if not tiers:
        raise ValueError("tiers: at least one is needed")
    below = 0
    for number, tier in enumerate(tiers):
        is_last = number == len(tiers) - 1
        if is_last != (tier.up_to is None):
            raise ValueError(f"tiers[{number}].up_to: the last tier, and only it, must be open")
        if tier.up_to is not None and tier.up_to < below:
            raise ValueError(f"tiers[{number}].up_to: expected {below} or more")
        if tier.unit < 1 or (tier.increment is not None and tier.increment < 1):
            raise ValueError(f"tiers[{number}]: unit and increment must be 1 or more")
        if tier.unit_price < 0 or tier.flat_fee < 0:
            raise ValueError(f"tiers[{number}]: a price may not be negative")
        below = tier.up_to or 0


def cost_of(quantity: Quantity, unit_price: Fraction, unit: int) -> Fraction:
    """Return quantity x unit_price / unit, exactly, reduced to lowest terms once."""
    return Fraction(quantity * unit_price.numerator, unit_price.denominator * unit)


def tier_price(tier: Tier, quantity: Quantity) -> Fraction:
    """Return the price of a quantity that lies wholly in the tier, without the flat fee."""
    if tier.increment is not None:
        quantity = -(-quantity // tier.increment) * tier.increment
    return cost_of(quantity, tier.unit_price, tier.unit)


def scale_tiers(tiers: tuple[Tier, ...], share: Share) -> tuple[Tier, ...]:
    """Return the tiers of a part of a period: bounds in whole units, flat fees exactly."""
    return tuple(
        Tier(
            up_to=None if tier.up_to is None else share.quantity(tier.up_to),
            unit_price=tier.unit_price,
            flat_fee=share.amount(tier.flat_fee),
            unit=tier.unit,
            increment=tier.increment,
        )
        for tier in tiers
    )
