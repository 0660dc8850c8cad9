"""Capped: any curve, but never more than the cap."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.curves import plain
from rating.curves.tiers import Quantity
from rating.shares import Share


class Capped(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="model", tag="capped"
):
    """F(q) = min(cap, curve(q))."""

    cap: Fraction
    curve: plain.PlainCurve

    def __post_init__(self) -> None:
        if self.cap < 0:
            raise ValueError("cap: may not be negative")


def price(curve: Capped, quantity: Quantity) -> Fraction:
    """Return F(quantity)."""
    return min(curve.cap, plain.price(curve.curve, quantity))


def scale(curve: Capped, share: Share) -> Capped:
    """Return the curve of a part of a period: cap and inner curve both in part."""
    return Capped(cap=share.amount(curve.cap), curve=plain.scale(curve.curve, share))


def allowance(curve: Capped) -> int | None:
    """Return the quantity that alerts are percentages of."""
    return plain.allowance(curve.curve)


def never_decreases(curve: Capped) -> bool:
    """Return whether more usage never costs less."""
    return plain.never_decreases(curve.curve)
