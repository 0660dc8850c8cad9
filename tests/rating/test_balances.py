"""The prepaid balance: exact inside, rounded where it is shown."""

from __future__ import annotations

from fractions import Fraction

from rating.balances import available, balance_row, charged, credited
from rating.rate_state import BalanceState


def test_thirds_of_a_poisha_are_not_lost() -> None:
    state = credited(BalanceState("BDT"), 1000, at=5)
    for received_at in (7, 6, 8):
        state = charged(state, Fraction(1, 3), received_at)
    assert available(state) == 9
    row = balance_row("key", charged(state, Fraction(1, 3), 9))
    assert (row.amount_exact, row.amount_minor, row.updated_at) == ("26/3", 867, 9)
    assert state.top_ups == 1
