"""Deposits, step by step: which credit they take, and which gets what back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.deposits import (
    Deposit,
    DepositMovement,
    DepositRefusedError,
    given_back,
    released_transaction,
    require_held,
    taken_transaction,
)

DEPOSIT = Deposit("dep-1", "dhk", "acc-1", 500, 500, "BDT", "box 7", 1_000, "Mina")


def movement(number: int, credit_id: str, amount: int) -> DepositMovement:
    return DepositMovement("dep-1", number, 1, credit_id, amount, 0, "Mina", "")


@pytest.mark.parametrize(
    ("taken", "back", "parts"),
    [
        ([("a", 300), ("b", 200)], 100, [("b", 100)]),
        ([("a", 300), ("b", 200)], 200, [("b", 200)]),
        ([("a", 300), ("b", 200)], 450, [("b", 200), ("a", 250)]),
        ([("a", 300), ("b", 200), ("b", -200)], 300, [("a", 300)]),
        ([("a", 300), ("b", 200), ("b", -50)], 200, [("b", 150), ("a", 50)]),
    ],
)
def test_what_came_last_goes_back_first(
    taken: list[tuple[str, int]], back: int, parts: list[tuple[str, int]]
) -> None:
    movements = [movement(n, credit, amount) for n, (credit, amount) in enumerate(taken, 1)]
    assert given_back(movements, back) == parts


@given(
    st.lists(st.integers(1, 1_000), min_size=1, max_size=6),
    st.lists(st.integers(1, 400), max_size=12),
)
def test_releases_never_give_a_credit_more_than_was_taken(
    taken: list[int], releases: list[int]
) -> None:
    movements = [movement(n, f"c{n}", amount) for n, amount in enumerate(taken, 1)]
    held = sum(taken)
    for wanted in releases:
        amount = min(wanted, held)
        parts = given_back(movements, amount)
        assert sum(part for _, part in parts) == amount
        movements += [movement(len(movements) + 1, credit, -part) for credit, part in parts]
        held -= amount
    for number, amount in enumerate(taken, 1):
        moved = sum(m.amount_minor for m in movements if m.credit_id == f"c{number}")
        assert 0 <= moved <= amount


def test_taking_and_releasing_are_each_others_opposite() -> None:
    taken, released = taken_transaction(DEPOSIT), released_transaction(DEPOSIT, 2, 500, 2_000)
    assert taken.transaction_id != released.transaction_id
    sums = {entry.account.code: entry.amount_minor for entry in taken.entries}
    assert sums == {"customer_credit": 500, "deposits": -500}
    assert {e.account.code: -e.amount_minor for e in released.entries} == sums


@pytest.mark.parametrize("amount", [0, -1, 501])
def test_no_more_is_released_than_is_held(amount: int) -> None:
    with pytest.raises(DepositRefusedError, match="expected 1 to 500"):
        require_held(DEPOSIT, amount)
