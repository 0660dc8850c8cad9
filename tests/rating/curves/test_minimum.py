"""Minimum: a commitment is owed from the opening on."""

from __future__ import annotations

from fractions import Fraction

from rating.curves import Minimum, Payg, price


def test_usage_counts_only_above_the_commitment() -> None:
    curve = Minimum(Fraction(10), Payg(Fraction(1)))
    assert [price(curve, quantity) for quantity in (0, 9, 10, 11)] == [10, 10, 10, 11]
