"""A cashier's day, in a table: what moves, what the till should hold, what the books say."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from billing.adapters import cash, ledger
from billing.adapters.databases import reading, writing
from billing.adapters.receipts import receipt_input, render_receipt
from billing.cash import CashShift, ShiftRefusedError
from tests.billing.conftest import NewDatabase
from tests.billing.payment_desk import NOON, Desk, minor, open_desk
from tests.cluster.test_business_writers import at_once

CASHIER = "key-1"


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    open_desk(engine)
    return engine


def shift(number: int = 1, cashier: str = CASHIER, float_minor: int = 20000) -> CashShift:
    return CashShift(f"shf-{number}", "dhk", cashier, "Rina", "BDT", NOON, float_minor)


def do(engine: Engine, words: str) -> Any:
    """Do one line, such as ``take 500`` or ``out 100 safe``."""
    verb, amount, *more = words.split()
    with writing(engine) as connection:
        if verb == "take":
            return cash.receive_cash(connection, "shf-1", f"pay-{amount}", minor(amount), NOON)
        if verb == "give":
            return cash.refund_cash(connection, "shf-1", f"ref-{amount}", minor(amount), NOON)
        if verb == "in":
            return cash.pay_in(connection, "shf-1", minor(amount), "change", NOON)
        if verb == "out":
            return cash.pay_out(connection, "shf-1", minor(amount), more[0], "noon", NOON)
        return cash.close_shift(connection, "shf-1", minor(amount), "", NOON + 1)


def books(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        found = ledger.trial_balance(connection, "dhk")
    codes = ("till", "cash", "cash_difference", "petty_expenses")
    return {code: found.get((code, "BDT"), 0) for code in codes if found.get((code, "BDT"), 0)}


@pytest.mark.parametrize(
    ("lines", "expected", "counted", "difference", "after"),
    [
        ([], "200", "200", "0", {}),
        (["in 50", "out 30 safe"], "220", "220", "0", {}),
        (["out 30 expense"], "170", "170", "0", {"cash": -3000, "petty_expenses": 3000}),
        ([], "200", "195", "-5", {"cash": -500, "cash_difference": 500}),
        (["in 50"], "250", "260", "10", {"cash": 1000, "cash_difference": -1000}),
    ],
)  # fmt: skip
def test_a_shift_is_closed_with_its_count(
    engine: Engine, lines: list[str], expected: str, counted: str, difference: str,
    after: dict[str, int],
) -> None:  # fmt: skip
    with writing(engine) as connection:
        cash.open_shift(connection, shift())
    for line in lines:
        do(engine, line)
    with reading(engine) as connection:
        found = cash.find_shift(connection, "shf-1")
        assert found is not None
        report = cash.shift_report(connection, found)
    assert (report.title, report.expected_minor) == ("X", minor(expected))
    assert report.difference_minor is None
    assert books(engine).get("till", 0) == minor(expected)
    closed = do(engine, f"close {counted}")
    assert (closed.title, closed.difference_minor) == ("Z", minor(difference))
    assert closed.shift.closing_number == "DHK-Z-000001"
    assert books(engine) == after, "the till is empty, the safe has the count"
    assert do(engine, f"close {counted}") == closed, "the same count again is a repeat"


@pytest.mark.parametrize("words", ["take 1", "give 1", "in 1", "out 1 safe", "close 1"])
def test_a_closed_shift_never_changes(engine: Engine, words: str) -> None:
    with writing(engine) as connection:
        cash.open_shift(connection, shift())
    do(engine, "close 200")
    before = books(engine)
    with pytest.raises(ShiftRefusedError, match="closed and never changes"):
        do(engine, words)
    assert books(engine) == before


@pytest.mark.parametrize("words", ["give 201", "out 200.01 safe"])
def test_no_more_leaves_a_till_than_it_holds(engine: Engine, words: str) -> None:
    with writing(engine) as connection:
        cash.open_shift(connection, shift())
    with pytest.raises(ShiftRefusedError, match="expected at most 20000"):
        do(engine, words)


def test_receipts_are_numbered_without_gaps_over_all_tills(engine: Engine) -> None:
    with writing(engine) as connection:
        cash.open_shift(connection, shift())
    assert do(engine, "take 5").receipt_number == "DHK-RCP-000001"
    with engine.connect() as connection:
        cash.receive_cash(connection, "shf-1", "lost", 5, NOON)
        connection.rollback()
    assert do(engine, "take 6").receipt_number == "DHK-RCP-000002"
    with reading(engine) as connection:
        found = cash.find_shift(connection, "shf-1")
        assert found is not None
        report = cash.shift_report(connection, found)
    assert (report.first_receipt, report.last_receipt) == ("DHK-RCP-000001", "DHK-RCP-000002")
    assert [(t.kind, t.count, t.amount_minor) for t in report.totals if t.count] == [
        ("payment", 2, 1100)
    ]


def test_a_cashier_has_one_open_shift_whoever_is_quicker(engine: Engine) -> None:
    def begin(number: int) -> str:
        with writing(engine) as connection:
            cash.open_shift(connection, shift(number))
        return "opened"

    def attempt(number: int) -> str:
        try:
            return begin(number)
        except ShiftRefusedError as error:
            return str(error)

    results = at_once([partial(attempt, number) for number in range(4)])
    assert sorted(results) == ["Rina has an open shift: close it first"] * 3 + ["opened"]
    with writing(engine) as connection:
        cash.open_shift(connection, shift(9, cashier="key-2"))
        open_now = connection.execute(
            text("select count(*) from cash_shift where closed_at is null")
        )
        assert open_now.scalar() == 2


def test_a_payment_into_the_till_has_a_receipt_to_print(engine: Engine, tmp_path: Path) -> None:
    with writing(engine) as connection:
        cash.open_shift(connection, shift())
    Desk(engine).do("pay 1200 by cash as p in shf-1")
    with writing(engine) as connection:
        cash.receive_cash(connection, "shf-1", "p", 120000, NOON)
    with reading(engine) as connection:
        printed = receipt_input(connection, "p")
    assert printed["lines"] == [["DHK-INV-000001", "1150.00"], ["DHK-INV-000002", "50.00"]]
    assert (printed["number"], printed["total"]) == ("DHK-RCP-000001", "1200.00")
    assert printed["received_at"] == "2026-12-01 12:00"
    assert render_receipt(printed).startswith(b"%PDF-1.")
    assert books(engine)["till"] == 140000
    with reading(engine) as connection, pytest.raises(LookupError, match="no receipt"):
        receipt_input(connection, "q")
