"""Flat: one amount for the period, whatever is used."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.curves.tiers import Quantity
from rating.shares import Share


class Flat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="model", tag="flat"):
    """F(q) = amount. An allowance, if named, is only what alerts are measured against."""

    amount: Fraction
    allowance: int | None = None

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError("amount: may not be negative")
        if self.allowance is not None and self.allowance < 1:
            raise ValueError("allowance: must be 1 or more, or null")


def price(curve: Flat, quantity: Quantity) -> Fraction:
    """Return F(quantity)."""
    return curve.amount


def scale(curve: Flat, share: Share) -> Flat:
    """Return the curve of a part of a period."""
    allowance = None if curve.allowance is None else share.quantity(curve.allowance)
    return msgspec.structs.replace(
        curve, amount=share.amount(curve.amount), allowance=allowance or None
    )


def allowance(curve: Flat) -> int | None:
    """Return the quantity that alerts are percentages of."""
    return curve.allowance


def never_decreases(curve: Flat) -> bool:
    """Return whether more usage never costs less."""
    return True
