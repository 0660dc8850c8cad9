"""Increments: time billed in a first and further increments, as calls and hotspots are (30/6)."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.curves.tiers import Quantity, cost_of
from rating.money import ZERO
from rating.shares import Share


class Increments(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="model", tag="increments"
):
    """F(q) = connect_fee + billed(q - free) x unit_price / unit, and nothing for q = 0.

    billed(q) is `first` for 0 < q <= first, then whole increments of `next` beyond it: 31 seconds
    at 30/6 are billed as 36. The cost is the same however long q is. Mostly of scope session, so
    that every session has its own first increment and connect fee.
    """

    first: int
    next: int
    unit_price: Fraction
    unit: int = 1
    connect_fee: Fraction = ZERO
    free: int = 0

    def __post_init__(self) -> None:
        for field in ("first", "next", "unit"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}: must be 1 or more")
        for field in ("unit_price", "connect_fee", "free"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field}: may not be negative")


def billed(curve: Increments, quantity: Quantity) -> Quantity:
    """Return what of a quantity is billed: whole increments of what is above the free part."""
    above = quantity - curve.free
    if above <= 0:
        return 0
    return curve.first + max(0, -(-(above - curve.first) // curve.next)) * curve.next


def price(curve: Increments, quantity: Quantity) -> Fraction:
    """Return F(quantity)."""
    if quantity <= 0:
        return ZERO
    return curve.connect_fee + cost_of(billed(curve, quantity), curve.unit_price, curve.unit)


def scale(curve: Increments, share: Share) -> Increments:
    """Return the curve of a part of a period: the free quantity in whole units."""
    return msgspec.structs.replace(curve, free=share.quantity(curve.free))


def allowance(curve: Increments) -> int | None:
    """Return the quantity that alerts are percentages of."""
    return curve.free or None


def never_decreases(curve: Increments) -> bool:
    """Return whether more usage never costs less."""
    return True
