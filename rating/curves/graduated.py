"""Graduated: each tier's price for the part of the quantity that lies in the tier."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.curves.tiers import Quantity, Tier, check_tiers, scale_tiers, tier_price
from rating.shares import Share


class Graduated(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="model", tag="graduated"
):
    """F(q) = sum over the tiers entered of flat_fee + price of the part inside.

    The first tier is entered at zero, every other one above its lower bound.
    """

    tiers: tuple[Tier, ...]

    def __post_init__(self) -> None:
        check_tiers(self.tiers)


def price(curve: Graduated, quantity: Quantity) -> Fraction:
    """Return F(quantity); the cost is one step per tier, whatever the quantity."""
    total = curve.tiers[0].flat_fee
    below = 0
    for number, tier in enumerate(curve.tiers):
        if quantity <= below:
            break
        if number:
            total += tier.flat_fee
        top = quantity if tier.up_to is None or quantity < tier.up_to else tier.up_to
        total += tier_price(tier, top - below)
        below = tier.up_to if tier.up_to is not None else below
    return total


def scale(curve: Graduated, share: Share) -> Graduated:
    """Return the curve of a part of a period: bounds in whole units, flat fees exactly."""
    return Graduated(scale_tiers(curve.tiers, share))


def allowance(curve: Graduated) -> int | None:
    """Return the quantity that alerts are percentages of: a free first tier, if any."""
    first = curve.tiers[0]
    return first.up_to if first.unit_price == 0 else None


def never_decreases(curve: Graduated) -> bool:
    """Return whether more usage never costs less."""
    return True
