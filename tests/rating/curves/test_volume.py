"""Volume: the tier in which the quantity ends prices all of it."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rating.curves import Tier, Volume, never_decreases, price

CURVE = Volume(
    (Tier(5, Fraction(7)), Tier(10, Fraction("6.5")), Tier(None, Fraction(6), Fraction(1)))
)


@pytest.mark.parametrize(
    ("quantity", "cost"), [(0, "0"), (5, "35"), (6, "39"), (10, "65"), (11, "67")]
)
def test_the_edge_belongs_to_the_tier_below(quantity: int, cost: str) -> None:
    assert price(CURVE, quantity) == Fraction(cost)


def test_a_price_that_falls_at_an_edge_is_seen() -> None:
    assert never_decreases(CURVE)
    assert not never_decreases(Volume((Tier(5, Fraction(7)), Tier(None, Fraction(1)))))
