"""Minimum: any curve, but never less than a committed amount."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.curves import plain
from rating.curves.tiers import Quantity
from rating.shares import Share


class Minimum(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="model", tag="minimum"
):
    """F(q) = max(minimum, curve(q)): the commitment is posted when the period opens."""

    minimum: Fraction
    curve: plain.PlainCurve

    def __post_init__(self) -> None:
        if self.minimum < 0:
            raise ValueError("minimum: may not be negative")


def price(curve: Minimum, quantity: Quantity) -> Fraction:
    """Return F(quantity)."""
    return max(curve.minimum, plain.price(curve.curve, quantity))


def scale(curve: Minimum, share: Share) -> Minimum:
    """Return the curve of a part of a period: minimum and inner curve both in part."""
    return Minimum(minimum=share.amount(curve.minimum), curve=plain.scale(curve.curve, share))


def allowance(curve: Minimum) -> int | None:
    """Return the quantity that alerts are percentages of."""
    return plain.allowance(curve.curve)


def never_decreases(curve: Minimum) -> bool:
    """Return whether more usage never costs less."""
    return plain.never_decreases(curve.curve)
