"""Percentage: a part of the quantity itself, where the quantity is money (a resold invoice)."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.curves.tiers import Quantity, cost_of
from rating.money import ZERO
from rating.shares import Share


class Percentage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="model", tag="percentage"
):
    """F(q) = max(0, q - free) x percent / 100 / unit; unit 100 where q counts minor units."""

    percent: Fraction
    free: int = 0
    unit: int = 1

    def __post_init__(self) -> None:
        if self.percent < 0:
            raise ValueError("percent: may not be negative")
        if self.free < 0:
            raise ValueError("free: may not be negative")
        if self.unit < 1:
            raise ValueError("unit: must be 1 or more")


def price(curve: Percentage, quantity: Quantity) -> Fraction:
    """Return F(quantity)."""
    if quantity <= curve.free:
        return ZERO
    return cost_of(quantity - curve.free, curve.percent, 100 * curve.unit)


def scale(curve: Percentage, share: Share) -> Percentage:
    """Return the curve of a part of a period: the free quantity in whole units."""
    return msgspec.structs.replace(curve, free=share.quantity(curve.free))


def allowance(curve: Percentage) -> int | None:
    """Return the quantity that alerts are percentages of."""
    return curve.free or None


def never_decreases(curve: Percentage) -> bool:
    """Return whether more usage never costs less."""
    return True
