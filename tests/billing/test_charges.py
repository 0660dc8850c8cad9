"""A charge stands on the account's next invoice, once, and nowhere else."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from sqlalchemy import Engine, select

from billing.accounts import Account
from billing.adapters import charge_tables, tables
from billing.adapters.billing_run import carry_out, plan_period, run_billing
from billing.adapters.charges import add_charges, find_charge, waiting_charges
from billing.adapters.databases import reading, writing
from billing.adapters.invoice_inputs import DuePeriod
from billing.adapters.ledger import broken_link, trial_balance
from billing.adapters.repositories import create
from billing.charges import Charge
from billing.config import BillingConfig
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import add_customer, add_subscription, at, close_month, home_plan

CONFIG = BillingConfig()
DECEMBER = at("2026-12-01", 12)


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
    return engine


def charge(charge_id: str, account: str, on: str, minor: int, **changes: Any) -> Charge:
    made = Charge(
        charge_id, "dhk", account, "installation", "Fibre installation", minor, "BDT", at(on, 10)
    )
    return dataclasses.replace(made, **changes)


def add(engine: Engine, *charges: Charge) -> int:
    with writing(engine) as connection:
        return add_charges(connection, charges)


def bill(engine: Engine, now_ms: int = DECEMBER) -> dict[str, int]:
    return dict(run_billing(engine, CONFIG, now_ms))


def balance(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        balances = trial_balance(connection, "dhk")
        assert broken_link(connection, "dhk") is None
    assert sum(balances.values()) == 0
    return {code: amount for (code, _), amount in balances.items() if amount}


def shop(engine: Engine) -> None:
    """An account that buys things and has no rate plan."""
    with writing(engine) as connection:
        create(connection, Account("shop", "dhk", "Shop", "company", "", "", 0))


def test_a_charge_is_a_line_on_the_invoice_of_its_period(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=100, minor=0)
    add(
        engine,
        charge("install-1", "karim", "2026-11-03", 250000, tax_percent="15", subject="Karim"),
        charge("install-2", "karim", "2026-12-01", 99900),
    )
    assert bill(engine) == {"invoices_finalized": 1}
    assert world.lines(engine, "karim", "2026-11") == [
        ("recurring", "Home 50, Karim", 100000),
        ("usage", "Internet, Karim", 0),
        ("charge", "Fibre installation, Karim", 250000),
        ("tax", "Tax 15 %", 52500),
    ]
    assert balance(engine) == {
        "receivable": 402500,
        "revenue_recurring": -100000,
        "revenue_one_off": -250000,
        "tax_payable": -52500,
    }
    [line] = [
        line
        for line in json.loads(world.invoices(engine)[0].document)["lines"]
        if line["kind"] == "charge"
    ]
    assert line["evidence"] == {
        "charge_id": "install-1",
        "charge_kind": "installation",
        "due_at": at("2026-11-03", 10),
    }
    with reading(engine) as connection:
        [left] = waiting_charges(connection, "karim", at("2027-01-01"))
        assert left.charge_id == "install-2"
        stored = connection.scalar(
            select(charge_tables.charge.c.invoice_id).where(
                charge_tables.charge.c.charge_id == "install-1"
            )
        )
    assert stored == "inv_karim_2026-11-01_BDT"


def test_a_charge_that_comes_too_late_for_its_invoice_stands_on_the_next(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-10", gigabytes=100, minor=0)
    bill(engine, at("2026-11-01", 12))
    add(engine, charge("install-1", "karim", "2026-10-30", 250000))
    assert bill(engine, at("2026-11-02", 12)) == {}
    with writing(engine) as connection:
        close_month(connection, "karim", "2026-11", gigabytes=100, minor=0)
    bill(engine)
    assert ("charge", "Fibre installation", 250000) in world.lines(engine, "karim", "2026-11")
    assert ("charge", "Fibre installation", 250000) not in world.lines(engine, "karim", "2026-10")


def test_the_same_id_is_one_charge_whatever_it_says(engine: Engine) -> None:
    shop(engine)
    first = charge("fee-1", "shop", "2026-11-03", 5000)
    assert add(engine, first) == 1
    assert add(engine, dataclasses.replace(first, amount_minor=9000), first) == 0
    with reading(engine) as connection:
        assert find_charge(connection, "fee-1") == first
    many = [charge(f"many-{n}", "shop", "2026-11-04", n) for n in range(120)]
    assert add(engine, *many, first) == 120


@pytest.mark.parametrize(
    ("added_on", "due_on", "billed_on", "month"),
    [
        # a charge waits for the end of the month in which it is due
        ("2026-11-03", "2026-11-03", "2026-12-01", "2026-11"),
        # one for a month that was invoiced stands on the first that was not
        ("2026-12-02", "2026-10-15", "2027-01-01", "2026-11"),
    ],
)
def test_an_account_without_a_plan_is_invoiced_at_its_periods_end(
    engine: Engine, added_on: str, due_on: str, billed_on: str, month: str
) -> None:
    shop(engine)
    add(engine, charge("before", "shop", "2026-10-01", 100))
    assert bill(engine, at("2026-11-01")) == {"invoices_finalized": 1}
    add(engine, charge("sale", "shop", due_on, 70000))
    assert bill(engine, at(added_on, 12)) == (
        {} if added_on == due_on else {"invoices_finalized": 1}
    )
    bill(engine, at(billed_on))
    assert world.lines(engine, "shop", month) == [("charge", "Fibre installation", 70000)]
    assert len(world.invoices(engine)) == 2
    assert bill(engine, at(billed_on, 1)) == {}


def test_who_has_left_is_still_asked_for_what_comes_due(engine: Engine) -> None:
    with writing(engine) as connection:
        create(connection, Account("karim", "dhk", "Karim", "person", "", "", 0))
        add_subscription(connection, "karim", "karim", since="2026-01-01", until="2026-11-15")
    add(
        engine,
        charge("in-november", "karim", "2026-11-20", 1000),
        charge("in-december", "karim", "2026-12-20", 2000),
    )
    # November has a subscription: its closing makes the invoice, not the calendar.
    assert bill(engine) == {}
    with writing(engine) as connection:
        close_month(connection, "karim", "2026-11", gigabytes=100, minor=0)
    assert bill(engine) == {"invoices_finalized": 1}
    assert ("charge", "Fibre installation", 1000) in world.lines(engine, "karim", "2026-11")
    assert bill(engine, at("2027-01-01")) == {"invoices_finalized": 1}
    assert world.lines(engine, "karim", "2026-12") == [("charge", "Fibre installation", 2000)]


def test_two_offices_cannot_bill_a_charge_twice(engine: Engine) -> None:
    shop(engine)
    add(engine, charge("sale", "shop", "2026-11-03", 70000))
    due = DuePeriod("shop", at("2026-11-01"), at("2026-12-01"))
    with reading(engine) as connection:
        plan = plan_period(connection, due)
    bill(engine)
    with pytest.raises(ValueError, match="never changes"), writing(engine) as connection:
        carry_out(connection, plan, CONFIG, DECEMBER)
    other = dataclasses.replace(plan.finalize[0], invoice_id="inv_other")
    stale = dataclasses.replace(plan, finalize=(other,))
    with writing(engine) as connection:
        connection.execute(tables.invoice.update().values(period_end_at=0))
    with pytest.raises(ValueError, match="meanwhile"), writing(engine) as connection:
        carry_out(connection, stale, CONFIG, DECEMBER)
    assert balance(engine) == {"receivable": 70000, "revenue_one_off": -70000}


def test_income_goes_by_kind_and_tax_inside_it_is_no_income(engine: Engine) -> None:
    shop(engine)
    inclusive = {"tax_percent": "15", "tax_inclusive": True}
    month = {"covers_from_at": at("2026-11-01"), "covers_until_at": at("2026-12-01")}
    add(
        engine,
        charge("fee", "shop", "2026-11-03", 5000, kind="late_fee"),
        charge("box", "shop", "2026-11-03", 11500, **inclusive),
        charge("rent", "shop", "2026-11-03", 2300, **inclusive, **month),
        charge("given back", "shop", "2026-11-03", -1000),
    )
    bill(engine)
    assert balance(engine) == {
        "receivable": 17800,
        "revenue_fees": -5000,
        "revenue_one_off": -9000,
        "revenue_recurring": -2000,
        "tax_payable": -1800,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"charge_id": ""}, "charge_id"),
        ({"currency": "XXX"}, "currency: unknown currency 'XXX'"),
        ({"quantity": -1}, "quantity: expected 0 or more, got -1"),
        ({"tax_percent": "x"}, "tax_percent: expected 0 to 100, got 'x'"),
        ({"tax_percent": "101"}, "tax_percent: expected 0 to 100"),
        ({"covers_from_at": 5}, "expected both"),
        ({"covers_from_at": 5, "covers_until_at": 5}, "covers_until_at: expected above"),
    ],
)
def test_a_wrong_charge_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    right = charge("sale", "shop", "2026-11-03", 1)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(right, **change)
