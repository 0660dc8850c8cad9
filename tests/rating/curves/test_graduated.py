"""Graduated: each tier prices what lies in it."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rating.curves import Graduated, Tier, allowance_of, price

CURVE = Graduated(
    (
        Tier(10, Fraction(10), Fraction(2)),
        Tier(20, Fraction(5), Fraction(3)),
        Tier(None, Fraction(1), Fraction(4)),
    )
)


@pytest.mark.parametrize(
    ("quantity", "cost"),
    [
        (0, 2),  # the first tier's fee is charged at zero usage
        (1, 12),
        (10, 102),  # (from, up_to]: ten is still the first tier
        (11, 110),
        (20, 155),
        (21, 160),
    ],
)
def test_the_edge_belongs_to_the_tier_below(quantity: int, cost: int) -> None:
    assert price(CURVE, quantity) == cost


def test_a_quantity_between_whole_numbers_lies_in_the_next_tier() -> None:
    assert price(CURVE, Fraction(21, 2)) == 102 + 3 + Fraction(5, 2)


def test_a_started_increment_counts_as_whole() -> None:
    curve = Graduated((Tier(None, Fraction(2), unit=15, increment=15),))
    assert [price(curve, second) for second in (0, 1, 15, 16)] == [0, 2, 2, 4]


def test_a_free_first_tier_is_an_allowance() -> None:
    assert allowance_of(Graduated((Tier(5, Fraction(0)), Tier(None, Fraction(1))))) == 5
    assert allowance_of(CURVE) is None
