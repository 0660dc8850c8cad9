"""Pay as you go: every unit at one price, from the first."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.curves.tiers import Quantity, cost_of
from rating.shares import Share


class Payg(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="model", tag="payg"):
    """F(q) = q x unit_price / unit."""

    unit_price: Fraction
    unit: int = 1

    def __post_init__(self) -> None:
        if self.unit_price < 0:
            raise ValueError("unit_price: may not be negative")
        if self.unit < 1:
            raise ValueError("unit: must be 1 or more")


def price(curve: Payg, quantity: Quantity) -> Fraction:
    """Return F(quantity)."""
    return cost_of(quantity, curve.unit_price, curve.unit)


def scale(curve: Payg, share: Share) -> Payg:
    """Return the curve of a part of a period: the same."""
    return curve


def allowance(curve: Payg) -> int | None:
    """Return the quantity that alerts are percentages of: none."""
    return None


def never_decreases(curve: Payg) -> bool:
    """Return whether more usage never costs less."""
    return True
