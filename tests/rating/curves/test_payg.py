"""Pay as you go."""

from __future__ import annotations

from fractions import Fraction

from rating.curves import Payg, price

GB = 10**9


def test_every_octet_at_its_part_of_the_price_of_a_gigabyte() -> None:
    curve = Payg(Fraction(5), GB)
    assert price(curve, 0) == 0
    assert price(curve, 1) == Fraction(5, GB)
    assert price(curve, 3 * GB // 2) == Fraction(15, 2)
