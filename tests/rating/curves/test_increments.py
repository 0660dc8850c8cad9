"""Increments: the first one whole, then whole next ones, at the same cost however many."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from rating.curves import Increments, price, scaled
from rating.curves.increments import billed
from rating.shares import Share

THIRTY_SIX = Increments(30, 6, Fraction("0.60"), 60)
"""30/6 at 0.60 a minute."""


@pytest.mark.parametrize(
    ("seconds", "counted", "amount"),
    [
        (0, 0, "0"),
        (1, 30, "0.30"),
        (30, 30, "0.30"),
        (31, 36, "0.36"),
        (36, 36, "0.36"),
        (37, 42, "0.42"),
        (10**12, 10**12 + 2, "10000000000.02"),
    ],
)
def test_a_started_increment_counts_whole(seconds: int, counted: int, amount: str) -> None:
    assert billed(THIRTY_SIX, seconds) == counted
    assert price(THIRTY_SIX, seconds) == Fraction(amount)


def test_a_connect_fee_is_for_whoever_connects_also_inside_the_free_time() -> None:
    curve = Increments(60, 60, Fraction(1), 60, connect_fee=Fraction(2), free=120)
    assert [price(curve, seconds) for seconds in (0, 1, 120, 121)] == [0, 2, 2, 3]


def test_the_free_part_is_prorated_and_the_connect_fee_is_not() -> None:
    curve = Increments(60, 60, Fraction(1), 60, connect_fee=Fraction(2), free=120)
    half = scaled(curve, Share(Fraction(0), Fraction(1, 2)))
    assert price(half, 61) == 3


@pytest.mark.parametrize("field", ["first", "next", "unit"])
def test_sizes_are_at_least_one(field: str) -> None:
    sizes: dict[str, Any] = {"first": 1, "next": 1, "unit": 1, field: 0}
    with pytest.raises(ValueError, match=f"{field}: must be 1 or more"):
        Increments(unit_price=Fraction(1), **sizes)
