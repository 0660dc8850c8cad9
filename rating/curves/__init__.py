"""Price curves: F(q), the exact price of a quantity, one model per file.

Moving a counter from q to q + d costs F(q + d) - F(q), in constant time however large d is, and
the order in which usage arrives cannot change the sum. Adding a model is one file with the four
functions of `models.Model`, one line in the table, one test beside it by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from rating.curves import capped, minimum
from rating.curves.allowance_overage import AllowanceOverage
from rating.curves.capped import Capped
from rating.curves.flat import Flat
from rating.curves.graduated import Graduated
from rating.curves.increments import Increments
from rating.curves.minimum import Minimum
from rating.curves.models import Model, model_of
from rating.curves.package import Package
from rating.curves.payg import Payg
from rating.curves.percentage import Percentage
from rating.curves.plain import PLAIN_MODELS
from rating.curves.tiers import Quantity, Tier
from rating.curves.volume import Volume
from rating.shares import WHOLE, Share

Curve = (
    Flat
    | Payg
    | AllowanceOverage
    | Graduated
    | Volume
    | Package
    | Percentage
    | Increments
    | Capped
    | Minimum
)
"""Any price model; in JSON the field ``model`` names which."""

MODELS: Mapping[type, Model] = {
    **PLAIN_MODELS,
    Capped: model_of(capped),
    Minimum: model_of(minimum),
}

__all__ = [
    "MODELS",
    "AllowanceOverage",
    "Capped",
    "Curve",
    "Flat",
    "Graduated",
    "Increments",
    "Minimum",
    "Package",
    "Payg",
    "Percentage",
    "Quantity",
    "Tier",
    "Volume",
    "allowance_of",
    "never_decreases",
    "price",
    "scaled",
]


def price(curve: Curve, quantity: Quantity) -> Fraction:
    """Return F(quantity) in major units; ValueError for a negative quantity."""
    if quantity < 0:
        raise ValueError(f"negative quantity {quantity}")
    return MODELS[type(curve)].price(curve, quantity)


def scaled(curve: Curve, share: Share) -> Curve:
    """Return the curve of a part of a period: bounds in whole units, fixed amounts exactly."""
    if share == WHOLE:
        return curve
    part: Curve = MODELS[type(curve)].scale(curve, share)
    return part


def allowance_of(curve: Curve) -> int | None:
    """Return the quantity that alerts are percentages of, or None where there is none."""
    return MODELS[type(curve)].allowance(curve)


def never_decreases(curve: Curve) -> bool:
    """Return whether more usage never costs less, which prepaid requires."""
    return MODELS[type(curve)].never_decreases(curve)
