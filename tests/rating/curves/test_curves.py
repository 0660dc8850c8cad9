"""What holds for every price model: conservation, exactness, parts of a period."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.curves import (
    MODELS,
    AllowanceOverage,
    Capped,
    Curve,
    Flat,
    Graduated,
    Increments,
    Minimum,
    Package,
    Payg,
    Percentage,
    Tier,
    Volume,
    allowance_of,
    never_decreases,
    price,
    scaled,
)
from rating.money import to_wire
from rating.shares import WHOLE, Share

PRICES = st.decimals("0", "100", places=4).map(Fraction)
COUNTS = st.integers(0, 10**12)
UNITS = st.integers(1, 10**9)


@st.composite
def tier_lists(draw: Any) -> tuple[Tier, ...]:
    bounds = sorted(draw(st.lists(st.integers(1, 10**12), max_size=4, unique=True)))
    increments = st.none() | UNITS
    return tuple(
        Tier(bound, draw(PRICES), draw(PRICES), draw(UNITS), draw(increments))
        for bound in [*bounds, None]
    )


PLAIN = st.one_of(
    st.builds(Flat, PRICES),
    st.builds(Payg, PRICES, UNITS),
    st.builds(AllowanceOverage, COUNTS, PRICES, UNITS),
    st.builds(Graduated, tier_lists()),
    st.builds(Volume, tier_lists()),
    st.builds(Package, UNITS, PRICES, COUNTS, st.sampled_from(["up", "down"])),
    st.builds(Percentage, PRICES, COUNTS, UNITS),
    st.builds(Increments, UNITS, UNITS, PRICES, UNITS, PRICES, COUNTS),
)
CURVES: st.SearchStrategy[Curve] = st.one_of(
    PLAIN, st.builds(Capped, PRICES, PLAIN), st.builds(Minimum, PRICES, PLAIN)
)


def test_every_model_of_the_table_is_generated_here() -> None:
    covered = {Flat, Payg, AllowanceOverage, Graduated, Volume, Package, Percentage, Increments}
    assert set(MODELS) == covered | {Capped, Minimum}


@given(CURVES, st.lists(st.integers(0, 10**11), max_size=8), st.randoms(use_true_random=False))
def test_the_price_of_usage_does_not_depend_on_split_or_order(
    curve: Curve, pieces: list[int], chance: random.Random
) -> None:
    def posted(order: list[int]) -> int:
        quantity, sum_units = 0, to_wire(price(curve, 0))
        for piece in order:
            before = to_wire(price(curve, quantity))
            quantity += piece
            sum_units += to_wire(price(curve, quantity)) - before
        return sum_units

    shuffled = chance.sample(pieces, len(pieces))
    assert posted(pieces) == posted(shuffled) == posted([sum(pieces)])


@given(CURVES, COUNTS, COUNTS)
def test_a_curve_that_never_decreases_never_does(curve: Curve, one: int, other: int) -> None:
    if never_decreases(curve):
        assert price(curve, min(one, other)) <= price(curve, max(one, other))


@given(CURVES, st.fractions(0, 1), st.integers(0, 10**12))
def test_two_parts_of_a_period_share_the_whole_allowance(
    curve: Curve, cut: Fraction, quantity: int
) -> None:
    first = scaled(curve, Share(Fraction(0), cut))
    second = scaled(curve, Share(cut, Fraction(1)))
    whole = allowance_of(curve)
    if whole is not None and not isinstance(curve, Flat):
        assert (allowance_of(first) or 0) + (allowance_of(second) or 0) == whole
    assert price(first, 0) + price(second, 0) == price(curve, 0)
    assert price(first, quantity) >= 0


def test_the_whole_period_is_the_curve_itself() -> None:
    curve = Payg(Fraction(1))
    assert scaled(curve, WHOLE) is curve


def test_a_negative_quantity_is_an_error() -> None:
    with pytest.raises(ValueError, match="negative quantity"):
        price(Payg(Fraction(1)), -1)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((), "at least one"),
        ((10,), r"tiers\[0\].up_to: the last tier"),
        ((None, None), r"tiers\[0\].up_to"),
        ((10, 5, None), r"tiers\[1\].up_to: expected 10"),
    ],
)
def test_tiers_must_ascend_and_end_open(bounds: tuple[int | None, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Graduated(tuple(Tier(bound, Fraction(1)) for bound in bounds))
