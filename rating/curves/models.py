"""What one price model must offer: four functions beside its frozen parameters."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from types import ModuleType
from typing import Any, NamedTuple


class Model(NamedTuple):
    """The functions of one price model, each taking the model's parameters first.

    price(curve, q) is F(q), exact and in constant time; scale(curve, share) is the curve of a
    part of a period; allowance(curve) is what alerts are percentages of, or None;
    never_decreases(curve) is what prepaid requires.
    """

    price: Callable[[Any, Any], Fraction]
    scale: Callable[[Any, Any], Any]
    allowance: Callable[[Any], int | None]
    never_decreases: Callable[[Any], bool]


def model_of(module: ModuleType) -> Model:
    """Return the functions of a price model's module."""
    return Model(module.price, module.scale, module.allowance, module.never_decreases)
