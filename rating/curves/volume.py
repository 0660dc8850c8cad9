"""Volume: the whole quantity at the price of the tier in which it ends."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.curves.tiers import Quantity, Tier, check_tiers, scale_tiers, tier_price
from rating.shares import Share


class Volume(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="model", tag="volume"
):
    """F(q) = flat_fee + q x unit_price / unit of the tier with (from, up_to] around q.

    Zero lies in the first tier. At a tier's edge the price may fall.
    """

    tiers: tuple[Tier, ...]

    def __post_init__(self) -> None:
        check_tiers(self.tiers)


def price(curve: Volume, quantity: Quantity) -> Fraction:
    """Return F(quantity)."""
    for tier in curve.tiers:
        if tier.up_to is None or quantity <= tier.up_to:
            return tier.flat_fee + tier_price(tier, quantity)
    raise AssertionError("the last tier is open")


def scale(curve: Volume, share: Share) -> Volume:
    """Return the curve of a part of a period: bounds in whole units, flat fees exactly."""
    return Volume(scale_tiers(curve.tiers, share))


def allowance(curve: Volume) -> int | None:
    """Return the quantity that alerts are percentages of: a free first tier, if any."""
    first = curve.tiers[0]
    return first.up_to if first.unit_price == 0 else None


def never_decreases(curve: Volume) -> bool:
    """Return whether more usage never costs less: no edge at which the price falls."""
    edges = [tier.up_to for tier in curve.tiers if tier.up_to is not None]
    return all(price(curve, edge) <= price(curve, edge + 1) for edge in edges)
