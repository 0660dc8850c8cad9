"""Allowance and overage: a quantity included, every unit above it at one price."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.curves.tiers import Quantity, cost_of
from rating.money import ZERO
from rating.shares import Share


class AllowanceOverage(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="model",
    tag="allowance_overage",
):
    """F(q) = max(0, q - allowance) x unit_price / unit."""

    allowance: int
    unit_price: Fraction
    unit: int = 1

    def __post_init__(self) -> None:
        if self.allowance < 0:
            raise ValueError("allowance: may not be negative")
        if self.unit_price < 0:
            raise ValueError("unit_price: may not be negative")
        if self.unit < 1:
            raise ValueError("unit: must be 1 or more")


def price(curve: AllowanceOverage, quantity: Quantity) -> Fraction:
    """Return F(quantity)."""
    if quantity <= curve.allowance:
        return ZERO
    return cost_of(quantity - curve.allowance, curve.unit_price, curve.unit)


def scale(curve: AllowanceOverage, share: Share) -> AllowanceOverage:
    """Return the curve of a part of a period: the allowance in whole units."""
    return msgspec.structs.replace(curve, allowance=share.quantity(curve.allowance))


def allowance(curve: AllowanceOverage) -> int | None:
    """Return the quantity that alerts are percentages of."""
    return curve.allowance


def never_decreases(curve: AllowanceOverage) -> bool:
    """Return whether more usage never costs less."""
    return True
