"""What happens to an account's money, in the words of the clerk who does it.

Each customer begins with invoices of 1,150.00 for September, October and November. After each
line the receivable is what the invoices ask for, the liability is what credits have left, and the
trial balance is zero (`Desk.state`).
"""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select, update

from billing.adapters import payment_tables, tables
from billing.adapters.allocations import free_invoice, take_account
from billing.adapters.databases import reading, writing
from billing.adapters.payments import in_flight
from billing.allocation import AllocationError
from billing.payments import PaymentRefusedError
from tests.billing.conftest import NewDatabase
from tests.billing.payment_desk import NOON, Desk, bill, invoice_id, open_desk

ALL_OPEN = "sep 1150.00 open, oct 1150.00 open, nov 1150.00 open, credit 0.00"


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    open_desk(engine)
    return engine


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        # A payment settles the oldest first, or what it names, and the rest is credit.
        (["pay 2300"], "sep paid, oct paid, nov 1150.00 open, credit 0.00"),
        (["pay 1300"], "sep paid, oct 1000.00 open, nov 1150.00 open, credit 0.00"),
        (["pay 1150 for nov"], "sep 1150.00 open, oct 1150.00 open, nov paid, credit 0.00"),
        (["pay 1300 for nov"], "sep 1000.00 open, oct 1150.00 open, nov paid, credit 0.00"),
        (["pay 1300 for nov rest kept"], ALL_OPEN.replace("nov 1150.00 open, credit 0.00",
                                                          "nov paid, credit 150.00")),
        (["pay 3500"], "sep paid, oct paid, nov paid, credit 50.00"),
        (["pay 3450 as a", "pay 10 for nov as b"], "sep paid, oct paid, nov paid, credit 10.00"),
        # A receipt is one payment.
        (["pay 100 as a", "pay 100 as a"], ALL_OPEN.replace("sep 1150", "sep 1050")),
        # In flight it pays nothing; then it pays what it named, as far as that is still open.
        (["pending 1150 as p"], ALL_OPEN),
        (["pending 1150 for oct as p", "settle p"],
         "sep 1150.00 open, oct paid, nov 1150.00 open, credit 0.00"),
        (["pending 1150 for oct as p", "pay 1150 for oct as q", "settle p"],
         "sep paid, oct paid, nov 1150.00 open, credit 0.00"),
        (["pending 1150 as p", "settle p", "settle p"],
         "sep paid, oct 1150.00 open, nov 1150.00 open, credit 0.00"),
        (["pending 1150 as p", "fail p", "fail p"], ALL_OPEN),
        (["pending 1150 as p", "fail p", "settle p"],
         "sep paid, oct 1150.00 open, nov 1150.00 open, credit 0.00"),
        # A bounced payment leaves all as it was.
        (["pay 3500 as p", "bounce p"], ALL_OPEN),
        (["pay 1150 as p", "bounce p", "bounce p"], ALL_OPEN),
        # Money that paid the wrong invoice is moved.
        (["pay 1150 as p", "move p nov"],
         "sep 1150.00 open, oct 1150.00 open, nov paid, credit 0.00"),
        (["pay 1150 as p", "move p credit"], ALL_OPEN.replace("credit 0", "credit 1150")),
        (["pay 1150 as p", "move p credit", "bounce p"], ALL_OPEN),
        # Credit is given back, never more than is there.
        (["pay 3500 as p", "refund 50"], "sep paid, oct paid, nov paid, credit 0.00"),
        (["pay 3500 as p", "refund 20 of p", "refund 20 of p"],
         "sep paid, oct paid, nov paid, credit 30.00"),
        # Bad debt is given up; who names it may pay it yet.
        (["give_up sep"], "sep given up, oct 1150.00 open, nov 1150.00 open, credit 0.00"),
        (["pay 150 for sep", "give_up sep", "give_up sep"],
         "sep given up, oct 1150.00 open, nov 1150.00 open, credit 0.00"),
        (["give_up sep", "pay 1150"],
         "sep given up, oct paid, nov 1150.00 open, credit 0.00"),
        (["give_up sep", "pay 1150 for sep"],
         "sep paid, oct 1150.00 open, nov 1150.00 open, credit 0.00"),
        (["give_up sep", "pay 1150 for sep as p", "bounce p"],
         "sep given up, oct 1150.00 open, nov 1150.00 open, credit 0.00"),
    ],
    ids=lambda value: "; ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_after_these_lines_the_account_stands_so(
    engine: Engine, lines: list[str], state: str
) -> None:
    desk = Desk(engine)
    for line in lines:
        desk.do(line)
        desk.state()
    assert desk.state() == state


@pytest.mark.parametrize(
    ("lines", "refused", "why"),
    [
        (["pay 3500 as p"], "refund 51", "expected at most 5000 .* got 5100"),
        (["pay 3500 as p", "pay 10 as q"], "refund 51 of p", "payment p has as credit"),
        (["pay 3500 as p", "refund 20"], "bounce p", "2000 BDT minor units were refunded"),
        (["pay 3500 as p", "bounce p"], "settle p", "is reversed: to settle it, expected"),
        (["pay 3500 as p", "bounce p"], "move p nov", "is reversed: to reallocate it"),
        (["pending 10 as p"], "bounce p", "is pending: to reverse it, expected settled"),
        (["pay 10 as p"], "fail p", "is settled: to fail it, expected pending"),
        (["pending 10 as p"], "give_up sep", "payment in flight"),
        (["pay 3500 as p", "refund 20 as x"], "refund 30 as x", "stands for another refund"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    engine: Engine, lines: list[str], refused: str, why: str
) -> None:
    desk = Desk(engine)
    for line in lines:
        desk.do(line)
    before = desk.state(), desk.books()
    with pytest.raises(PaymentRefusedError, match=why):
        desk.do(refused)
    assert (desk.state(), desk.books()) == before


def test_where_the_money_lies(engine: Engine) -> None:
    desk = Desk(engine)
    desk.do("pay 3500 by bank as p")
    desk.do("refund 50")
    revenue = {"revenue_recurring": -3000, "tax_payable": -450}
    assert desk.books() == {"bank": 3450} | revenue
    desk.do("move p credit")
    assert desk.books() == {"bank": 3450, "customer_credit": -3450, "receivable": 3450} | revenue
    desk.do("give_up sep")
    assert desk.books()["bad_debt"] == 1150


def test_credit_pays_the_next_invoice_by_itself(engine: Engine) -> None:
    desk = Desk(engine)
    desk.do("pay 3500 as p")
    bill(engine, "dec")
    assert desk.state() == "sep paid, oct paid, nov paid, dec 1100.00 open, credit 0.00"
    desk.do("bounce p")
    assert desk.state() == ALL_OPEN.replace(", credit", ", dec 1150.00 open, credit")


def test_a_void_invoice_gives_its_money_back(engine: Engine) -> None:
    desk = Desk(engine)
    desk.do("pay 1150 for nov as p")
    with writing(engine) as connection:
        take_account(connection, "karim")
        free_invoice(connection, invoice_id("nov"), "Front desk", NOON)
    assert desk.state() == ALL_OPEN.replace("credit 0", "credit 1150")


def test_a_payment_names_invoices_of_its_account_only(engine: Engine) -> None:
    with writing(engine) as connection:
        table = tables.invoice
        draft = table.c.invoice_id == invoice_id("oct")
        connection.execute(update(table).where(draft).values(status="draft"))
    with pytest.raises(AllocationError, match="is draft and takes no money"):
        Desk(engine).do("pay 10 for oct")
    with pytest.raises(AllocationError, match="expected one of account karim"):
        Desk(engine).do("pay 10 for dec")


def test_who_is_in_flight(engine: Engine) -> None:
    desk = Desk(engine)
    desk.do("pending 10 as p")
    desk.do("pending 20 as q")
    desk.do("fail q")
    with reading(engine) as connection:
        assert [payment.payment_id for payment in in_flight(connection, "karim")] == ["p"]
    desk.do("settle p")
    with reading(engine) as connection:
        assert in_flight(connection, "karim") == []


def test_allocations_sum_to_what_each_invoice_was_paid(engine: Engine) -> None:
    desk = Desk(engine)
    for line in ("pay 2000 as p", "move p nov", "pay 1000 as q", "bounce p", "pay 10 for sep as s"):
        desk.do(line)
    table = payment_tables.allocation.c
    with reading(engine) as connection:
        sums: dict[str, int] = {}
        for row in connection.execute(select(table.invoice_id, table.amount_minor)):
            sums[row.invoice_id] = sums.get(row.invoice_id, 0) + row.amount_minor
        for row in connection.execute(select(tables.invoice)):
            assert row.paid_minor == sums.get(row.invoice_id, 0), row.invoice_id
