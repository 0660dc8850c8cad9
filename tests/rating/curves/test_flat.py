"""Flat: one amount, used or not."""

from __future__ import annotations

from fractions import Fraction

from rating.curves import Flat, allowance_of, price, scaled
from rating.shares import Share


def test_costs_the_same_at_any_quantity() -> None:
    curve = Flat(Fraction(500))
    assert price(curve, 0) == price(curve, 10**15) == 500


def test_ten_of_thirty_one_days_cost_their_exact_part() -> None:
    part = scaled(Flat(Fraction(500), allowance=31), Share(Fraction(0), Fraction(10, 31)))
    assert price(part, 0) == Fraction(5000, 31)
    assert allowance_of(part) == 10
