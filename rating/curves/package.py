"""Package: whole packages of a size, after a free quantity."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import msgspec

from rating.curves.tiers import Quantity
from rating.money import ZERO
from rating.shares import Share


class Package(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="model", tag="package"
):
    """F(q) = packages(q - free) x package_price, started packages counted (up) or not (down)."""

    size: int
    package_price: Fraction
    free: int = 0
    rounding: Literal["up", "down"] = "up"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("size: must be 1 or more")
        if self.free < 0:
            raise ValueError("free: may not be negative")
        if self.package_price < 0:
            raise ValueError("package_price: may not be negative")


def price(curve: Package, quantity: Quantity) -> Fraction:
    """Return F(quantity)."""
    if quantity <= curve.free:
        return ZERO
    above = quantity - curve.free
    count = above // curve.size if curve.rounding == "down" else -(-above // curve.size)
    return curve.package_price * count


def scale(curve: Package, share: Share) -> Package:
    """Return the curve of a part of a period: the free quantity in whole units."""
    return msgspec.structs.replace(curve, free=share.quantity(curve.free))


def allowance(curve: Package) -> int | None:
    """Return the quantity that alerts are percentages of."""
    return curve.free or None


def never_decreases(curve: Package) -> bool:
    """Return whether more usage never costs less."""
    return True
