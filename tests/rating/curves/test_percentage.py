"""Percentage of a quantity that is money."""

from __future__ import annotations

from fractions import Fraction

from rating.curves import Percentage, price


def test_a_part_of_what_is_above_the_free_amount() -> None:
    curve = Percentage(Fraction("1.5"), free=1000, unit=100)
    assert price(curve, 1000) == 0
    assert price(curve, 21_000) == 3
