"""Capped: no month costs more than the cap."""

from __future__ import annotations

from fractions import Fraction

from rating.curves import Capped, Payg, price, scaled
from rating.shares import Share


def test_the_cap_ends_the_rise() -> None:
    curve = Capped(Fraction(10), Payg(Fraction(1)))
    assert [price(curve, quantity) for quantity in (9, 10, 11, 10**12)] == [9, 10, 10, 10]


def test_half_a_period_has_half_the_cap() -> None:
    half = scaled(Capped(Fraction(10), Payg(Fraction(1))), Share(Fraction(0), Fraction(1, 2)))
    assert price(half, 10**12) == 5
