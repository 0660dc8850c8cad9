"""The meter: what a step does to its copy of a counter does not reach the one it was read from."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Literal

import pytest

from rating.curves import Payg
from rating.engine import Movement, copy_meter, move, post, pricing_of
from rating.money import ZERO
from rating.rate_state import MeterState
from rating.shares import WHOLE
from tests.rating.rate_scene import meter


@pytest.mark.parametrize("scope", ["period", "day", "session"])
def test_moving_and_posting_a_copy_leaves_the_original(
    scope: Literal["period", "day", "session"],
) -> None:
    pricing = pricing_of(meter(Payg(Fraction(1)), scope=scope), WHOLE)
    read = MeterState()
    amount = move(read, pricing, Movement("2024-01-01", "s1", 10, 5, 1), ZERO)
    assert len(post(read, pricing, 10, "BDT")) == 1
    before = copy.deepcopy(read)

    changed = copy_meter(read)
    assert changed == read
    amount = move(changed, pricing, Movement("2024-01-01", "s1", 20, 7, 2), amount)
    (posting,) = post(changed, pricing, 20, "BDT")
    assert (posting.revision, posting.amount_minor, amount) == (1, 700, Fraction(12))
    assert read == before
