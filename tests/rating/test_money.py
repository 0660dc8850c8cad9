"""Money: exact until the one rounding, and telescoping on the wire."""

from __future__ import annotations

import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import money


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("1.005", "BDT", 101),  # the half that binary floating point loses
        ("1.004999999999999999", "BDT", 100),
        ("-1.005", "BDT", -101),  # a credit mirrors its debit
        ("0.5", "JPY", 1),
        ("1.0005", "KWD", 1001),
        ("-0.004", "USD", 0),
    ],
)
def test_rounds_halves_away_from_zero_to_the_minor_unit(
    amount: str, currency: str, minor: int
) -> None:
    assert money.to_minor(money.parse_amount(amount), currency) == minor


@pytest.mark.parametrize("text", ["", "1e3", "NaN", "1,5", "+1", ".5", "1.", " 1", "١"])
def test_refuses_what_is_no_plain_decimal(text: str) -> None:
    with pytest.raises(ValueError, match="plain decimal"):
        money.parse_amount(text)


def test_an_unknown_currency_is_named() -> None:
    with pytest.raises(ValueError, match="'XYZ'"):
        money.to_minor(Fraction(1), "XYZ")


def test_formats_minor_units_with_the_currency_point() -> None:
    assert money.format_minor(123450, "BDT") == "1234.50"
    assert money.format_minor(-5, "BDT") == "-0.05"
    assert money.format_minor(7, "JPY") == "7"


def test_a_third_has_no_exact_decimal() -> None:
    assert money.format_amount(Fraction(1, 8)) == "0.125"
    with pytest.raises(ValueError, match="no exact decimal"):
        money.format_amount(Fraction(1, 3))


@given(st.lists(st.fractions(min_value=-(10**6), max_value=10**6), min_size=2, max_size=20))
def test_wire_differences_sum_to_the_difference_of_the_ends(totals: list[Fraction]) -> None:
    steps = [
        money.wire_decimal(money.to_wire(after) - money.to_wire(before))
        for before, after in itertools.pairwise(totals)
    ]
    ends = money.to_wire(totals[-1]) - money.to_wire(totals[0])
    assert sum(map(Fraction, steps)) == Fraction(ends, 10**18)


def test_the_wire_keeps_all_38_digits() -> None:
    units = 99_999_999_999_999_999_999_123_456_789_012_345_678
    assert money.wire_decimal(units) == Decimal("99999999999999999999.123456789012345678")


@given(st.fractions())
def test_exact_text_round_trips(amount: Fraction) -> None:
    assert money.decode_exact(money.encode_exact(amount)) == amount
