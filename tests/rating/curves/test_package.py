"""Package: whole packages after a free quantity."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rating.curves import Package, price


@pytest.mark.parametrize(
    ("quantity", "up", "down"), [(0, 0, 0), (5, 0, 0), (6, 3, 0), (15, 3, 3), (16, 6, 3)]
)
def test_started_packages_count_unless_rounded_down(quantity: int, up: int, down: int) -> None:
    assert price(Package(10, Fraction(3), free=5), quantity) == up
    assert price(Package(10, Fraction(3), free=5, rounding="down"), quantity) == down
