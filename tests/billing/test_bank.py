"""Whose money a bank entry is: a table of transfers as customers write them, and the clerk's queue.

Karim and Rahim each have invoices of 1,150.00 for September to November.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, select

from billing.adapters import tables
from billing.adapters.bank import ignore_entry, import_entry, resolve_entry
from billing.adapters.bank_tables import bank_entry
from billing.adapters.databases import reading, writing
from billing.bank_statements import BankEntry
from billing.matching import Match, numbers_in
from billing.payments import PaymentRefusedError
from tests.billing.conftest import NewDatabase
from tests.billing.payment_desk import NOON, Desk, open_desk
from tests.billing.world import BRANCH
from tests.cluster.test_business_writers import at_once

ALL_OPEN = "sep 1150.00 open, oct 1150.00 open, nov 1150.00 open, credit 0.00"


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    open_desk(engine, ("karim", "rahim"))
    return engine


def numbers(engine: Engine, customer: str) -> list[str]:
    invoice = tables.invoice.c
    query = select(invoice.number).where(invoice.account_id == customer)
    with reading(engine) as connection:
        return list(connection.scalars(query.order_by(invoice.period_start_at)))


def money(text: str = "", amount: int = 115000, **more: Any) -> BankEntry:
    values = {"payer": "", "payer_account": "", "reference": "", "currency": "BDT"} | more
    name = values.pop("entry_id", f"bnk-{text}-{amount}")
    entry = BankEntry(
        name, "BD1", "2026-12-01", amount, values.pop("currency"), values.pop("reference"), "",
        text, values.pop("payer"), values.pop("payer_account"),
    )  # fmt: skip
    return dataclasses.replace(entry, **values)


def take(engine: Engine, entry: BankEntry) -> Any:
    with writing(engine) as connection:
        import_entry(connection, BRANCH, entry, "import", NOON)
    with reading(engine) as connection:
        table = bank_entry
        query = select(table).where(table.c.entry_id == entry.entry_id)
        return connection.execute(query).one()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("DHK-INV-000042", ["DHK-INV-000042"]),
        ("inv. dhk inv 42, thanks", ["DHK-INV-000042"]),
        ("DHKINV000042", ["DHK-INV-000042"]),
        ("DHK-INV-000042 and dhk/inv/43", ["DHK-INV-000042", "DHK-INV-000043"]),
        ("XDHK-INV-000042", []),
        ("INV-42", []),
    ],
)
def test_numbers_as_people_write_them(text: str, found: list[str]) -> None:
    assert numbers_in(text, "DHK") == found


@pytest.mark.parametrize(
    ("text", "more", "status", "state"),
    [
        ("bill {nov}", {}, "matched", "sep 1150.00 open, oct 1150.00 open, nov paid, credit 0.00"),
        ("{nov} {sep}", {"amount": 230000}, "matched",
         "sep paid, oct 1150.00 open, nov paid, credit 0.00"),
        ("{nov}", {"amount": 400000}, "matched", "sep paid, oct paid, nov paid, credit 550.00"),
        ("my id is karim.", {"amount": 100}, "matched", ALL_OPEN.replace("sep 1150", "sep 1149")),
        ("internet", {"payer": "Karim"}, "unmatched", ALL_OPEN),
        ("{nov} {other}", {}, "unmatched", ALL_OPEN),
        ("karim rahim", {}, "unmatched", ALL_OPEN),
        ("{nov}", {"currency": "USD"}, "unmatched", ALL_OPEN),
        ("{nov}", {"remark": "a batch that does not add up"}, "unmatched", ALL_OPEN),
        ("electricity", {"amount": -5000}, "outgoing", ALL_OPEN),
    ],
)  # fmt: skip
def test_whose_money_it_is(
    engine: Engine, text: str, more: dict[str, Any], status: str, state: str
) -> None:
    sep, _, nov = numbers(engine, "karim")
    other = numbers(engine, "rahim")[0]
    row = take(engine, money(text.format(sep=sep, nov=nov, other=other), **more))
    assert row.status == status
    assert Desk(engine).state() == state
    assert Desk(engine, "rahim").state() == ALL_OPEN


def test_one_open_invoice_of_the_amount_and_name_is_enough(engine: Engine) -> None:
    Desk(engine).do("pay 3350 as p")  # 100.00 of November are left, as nobody else owes
    row = take(engine, money("internet", 10000, payer="KARIM"))
    assert (row.status, row.account_id) == ("matched", "karim")
    Desk(engine, "rahim").do("pay 3350 as q")
    row = take(engine, money("internet", 10000, payer="Somebody", entry_id="other"))
    assert (row.status, row.suggestion) == ("unmatched", "rahim"), "an amount alone suggests"


def test_who_paid_before_pays_again(engine: Engine) -> None:
    nov = numbers(engine, "karim")[2]
    take(engine, money(nov, payer_account="BD99"))
    row = take(engine, money("thanks", 5000, payer_account="BD99"))
    assert (row.account_id, row.reason) == ("karim", "paid from the same bank account before")
    take(engine, money(numbers(engine, "rahim")[0], payer_account="BD99"))
    row = take(engine, money("again", 5000, payer_account="BD99"))
    assert row.status == "unmatched"
    assert "there are several: karim, rahim" in row.reason


def test_a_statement_twice_and_two_imports_at_once_are_one(engine: Engine) -> None:
    entry = money(numbers(engine, "karim")[2])

    def run() -> str | None:
        with writing(engine) as connection:
            return import_entry(connection, BRANCH, entry, "import", NOON)

    assert sorted(at_once([partial(run) for _ in range(4)]), key=str) == [
        None, None, None, "matched",
    ]  # fmt: skip
    assert Desk(engine).state() == ALL_OPEN.replace("nov 1150.00 open", "nov paid")


def test_a_returned_transfer_opens_what_it_paid(engine: Engine) -> None:
    nov = numbers(engine, "karim")[2]
    take(engine, money(nov, reference="ft1"))
    back = money("account closed", -115000, reference="ft1", is_reversal=True)
    assert take(engine, back).status == "reversed"
    assert Desk(engine).state() == ALL_OPEN
    assert take(engine, back).status == "reversed"
    lost = money("who knows", -115000, reference="ft2", is_reversal=True)
    assert (take(engine, lost).status, take(engine, lost).reason) == (
        "unmatched",
        "returns a payment, but 0 fit it",
    )


def test_a_returned_transfer_that_was_refunded_is_for_a_clerk(engine: Engine) -> None:
    take(engine, money("karim", 355000, reference="ft1"))
    Desk(engine).do("refund 50")  # of 100.00
    row = take(engine, money("closed", -355000, reference="ft1", is_reversal=True))
    assert row.status == "unmatched"
    assert "5000 BDT minor units were refunded" in row.reason
    assert Desk(engine).state() == "sep paid, oct paid, nov paid, credit 50.00"


def test_a_clerk_resolves_the_queue_once(engine: Engine) -> None:
    first, second = money("internet"), money("rent", 999)
    take(engine, first)
    take(engine, second)
    match = Match("karim", ("inv_karim_2026-11-01_BDT",), "a clerk says so")
    with writing(engine) as connection:
        resolve_entry(connection, first.entry_id, match, "Rina", NOON)
        ignore_entry(connection, second.entry_id, "our own rent", "Rina", NOON)
    assert Desk(engine).state() == ALL_OPEN.replace("nov 1150.00 open", "nov paid")
    for entry_id in (first.entry_id, second.entry_id):
        with writing(engine) as connection, pytest.raises(PaymentRefusedError, match="expected"):
            resolve_entry(connection, entry_id, match, "Rina", NOON)
