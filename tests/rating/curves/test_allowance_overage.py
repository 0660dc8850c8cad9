"""Allowance and overage."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from rating.curves import AllowanceOverage, price, scaled
from rating.shares import Share

GB = 10**9


@pytest.mark.parametrize(
    ("gigabytes", "cost"), [(0, 0), (50, 0), (51, 5), (60, 50)], ids=lambda value: str(value)
)
def test_only_what_is_above_the_allowance_costs(gigabytes: int, cost: int) -> None:
    assert price(AllowanceOverage(50 * GB, Fraction(5), GB), gigabytes * GB) == cost


def test_the_last_included_octet_is_free_and_the_next_is_not() -> None:
    curve = AllowanceOverage(10, Fraction(1))
    assert [price(curve, 10), price(curve, 11)] == [0, 1]


def test_the_allowance_of_three_segments_sums_to_the_whole_octet() -> None:
    curve = AllowanceOverage(100, Fraction(1))
    cuts = [Fraction(third, 3) for third in range(4)]
    parts = [scaled(curve, Share(start, end)) for start, end in itertools.pairwise(cuts)]
    assert [part.allowance for part in parts if isinstance(part, AllowanceOverage)] == [33, 33, 34]
