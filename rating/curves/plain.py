"""The price models that stand alone, as one table; `capped` and `minimum` wrap any of them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from rating.curves import (
    allowance_overage,
    flat,
    graduated,
    increments,
    package,
    payg,
    percentage,
    volume,
)
from rating.curves.allowance_overage import AllowanceOverage
from rating.curves.flat import Flat
from rating.curves.graduated import Graduated
from rating.curves.increments import Increments
from rating.curves.models import Model, model_of
from rating.curves.package import Package
from rating.curves.payg import Payg
from rating.curves.percentage import Percentage
from rating.curves.tiers import Quantity
from rating.curves.volume import Volume
from rating.shares import Share

PlainCurve = Flat | Payg | AllowanceOverage | Graduated | Volume | Package | Percentage | Increments

PLAIN_MODELS: Mapping[type, Model] = {
    Flat: model_of(flat),
    Payg: model_of(payg),
    AllowanceOverage: model_of(allowance_overage),
    Graduated: model_of(graduated),
    Volume: model_of(volume),
    Package: model_of(package),
    Percentage: model_of(percentage),
    Increments: model_of(increments),
}


def price(curve: PlainCurve, quantity: Quantity) -> Fraction:
    """Return F(quantity)."""
    return PLAIN_MODELS[type(curve)].price(curve, quantity)


def scale(curve: PlainCurve, share: Share) -> PlainCurve:
    """Return the curve of a part of a period."""
    scaled: PlainCurve = PLAIN_MODELS[type(curve)].scale(curve, share)
    return scaled


def allowance(curve: PlainCurve) -> int | None:
    """Return the quantity that alerts are percentages of, or None."""
    return PLAIN_MODELS[type(curve)].allowance(curve)


def never_decreases(curve: PlainCurve) -> bool:
    """Return whether more usage never costs less."""
    return PLAIN_MODELS[type(curve)].never_decreases(curve)
