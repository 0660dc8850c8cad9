"""Invoices under tax codes: what is printed, posted and held, on a small ISP."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, insert

from billing.adapters import tables, tax_tables
from billing.adapters.billing_run import run_billing
from billing.adapters.charges import add_charges
from billing.adapters.databases import reading, writing
from billing.adapters.ledger import broken_link, trial_balance
from billing.adapters.repositories import create
from billing.charges import Charge
from billing.config import BillingConfig
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import add_customer, at, close_month, home_plan


def add_rate(engine: Engine, percent: str, since: str = "2020-01-01", **changes: Any) -> None:
    row = {
        "branch_id": "dhk",
        "tax_code": "internet",
        "tax_id": "vat",
        "place": "",
        "valid_from_on": since,
        "name": "VAT",
        "percent": percent,
        "position": 1,
        "is_compound": False,
        "created_by": "test",
        "created_at": 0,
    }
    with writing(engine) as connection:
        connection.execute(insert(tax_tables.tax_rate), [row | changes])


def add_status(engine: Engine, kind: str, **changes: Any) -> None:
    row = {
        "status_id": f"{kind}-1",
        "account_id": "karim",
        "branch_id": "dhk",
        "kind": kind,
        "tax_id": "",
        "certificate": "C-7",
        "percent": "",
        "basis": "",
        "valid_from_on": "2026-01-01",
        "valid_until_on": "",
        "created_by": "test",
        "created_at": 0,
    }
    with writing(engine) as connection:
        connection.execute(insert(tax_tables.tax_status), [row | changes])


def place(engine: Engine, where: str) -> None:
    with writing(engine) as connection:
        row = {"account_id": "karim", "place": where, "tax_number": "BIN 0042"}
        connection.execute(insert(tax_tables.tax_party), [row])


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    """Karim's November: 1,000.00 fee and 600.00 of usage on the 5th and 25th, code internet."""
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan(tax_rate="0", tax_code="internet"))
        add_customer(connection, "karim")
        days = {"2026-11-05": 20000, "2026-11-25": 40000}
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000, days=days)
    return engine


def bill(engine: Engine) -> Any:
    """Run billing twice and return Karim's invoice."""
    for hour in (12, 13):
        run_billing(engine, BillingConfig(), at("2026-12-01", hour))
    [invoice] = world.invoices(engine)
    return invoice


def balances(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        found = trial_balance(connection, "dhk")
        assert sum(found.values()) == 0
        assert broken_link(connection, "dhk") is None
    return {code: amount for (code, _), amount in found.items() if amount}


def printed(engine: Engine) -> list[tuple[str, int]]:
    return [(text, amount) for _, text, amount in world.lines(engine, "karim", "2026-11")]


FEE, USAGE = ("Home 50, Karim", 100000), ("Internet, Karim", 60000)


def test_several_taxes_each_have_a_ledger_account(engine: Engine) -> None:
    add_rate(engine, "15")
    add_rate(engine, "5", tax_id="supplementary", name="SD", position=0)
    add_rate(engine, "2", tax_id="city", name="City tax", position=2, place="gulshan")
    place(engine, "gulshan")
    invoice = bill(engine)
    assert printed(engine) == [
        FEE, USAGE, ("SD 5 %", 8000), ("VAT 15 %", 24000), ("City tax 2 %", 3200),
    ]  # fmt: skip
    assert (invoice.subtotal_minor, invoice.tax_minor, invoice.total_minor) == (
        160000, 35200, 195200,
    )  # fmt: skip
    assert '"tax_number":"BIN 0042"' in invoice.document
    assert balances(engine) == {
        "receivable": 195200,
        "revenue_recurring": -100000,
        "revenue_usage": -60000,
        "tax_payable.supplementary": -8000,
        "tax_payable.vat": -24000,
        "tax_payable.city": -3200,
    }


def test_vat_on_a_supplementary_duty(engine: Engine) -> None:
    add_rate(engine, "5", tax_id="sd", name="SD", position=0)
    add_rate(engine, "15", is_compound=True)
    bill(engine)
    assert printed(engine)[2:] == [("SD 5 %", 8000), ("VAT 15 %", 25200)]


def test_a_rate_that_changes_on_the_11th_parts_fee_by_day_and_usage_by_use(engine: Engine) -> None:
    add_rate(engine, "15")
    add_rate(engine, "10", "2026-11-11")
    invoice = bill(engine)
    early, late = "2026-11-01 to 2026-11-10", "2026-11-11 to 2026-11-30"
    assert printed(engine) == [
        (f"{FEE[0]}, {early}", 33333),
        (f"{FEE[0]}, {late}", 66667),
        (f"{USAGE[0]}, {early}", 20000),
        (f"{USAGE[0]}, {late}", 40000),
        ("VAT 10 %", 10667),
        ("VAT 15 %", 8000),
    ]
    assert invoice.subtotal_minor == 160000
    assert balances(engine)["tax_payable.vat"] == -18667


def test_what_comes_late_bears_the_rate_of_its_time(engine: Engine) -> None:
    add_rate(engine, "15")
    add_rate(engine, "10", "2026-12-01")
    bill(engine)
    with writing(engine) as connection:
        world.revise_month(
            connection, "karim", "2026-11", revision=1, gigabytes=640, minor=70000,
            day_minor=10000, closed_at=at("2026-12-10"),
        )  # fmt: skip
        close_month(connection, "karim", "2026-12", gigabytes=1, minor=0)
    run_billing(engine, BillingConfig(), at("2027-01-01", 12))
    found = {text: amount for _, text, amount in world.lines(engine, "karim", "2026-12")}
    assert (found["VAT 10 %"], found["VAT 15 %"]) == (10000, 1500)


def test_exempt_and_reverse_charge_ask_for_no_tax(engine: Engine) -> None:
    add_rate(engine, "15")
    add_rate(engine, "2", tax_id="city", name="City tax", position=2)
    add_status(engine, "reverse_charge", tax_id="vat")
    add_status(engine, "exempt", tax_id="city")
    invoice = bill(engine)
    assert printed(engine) == [FEE, USAGE]
    assert (invoice.tax_minor, invoice.total_minor) == (0, 160000)
    assert '"relief":"reverse_charge"' in invoice.document


def test_what_the_payer_withholds_is_owed_by_the_tax_office(engine: Engine) -> None:
    add_rate(engine, "15")
    add_status(engine, "withholding", percent="10", basis="net")
    invoice = bill(engine)
    assert printed(engine)[2:] == [
        ("VAT 15 %", 24000), ("Withheld 10 % of the net amount (C-7)", -16000),
    ]  # fmt: skip
    assert invoice.total_minor == 168000
    assert balances(engine) == {
        "receivable": 168000,
        "tax_withheld": 16000,
        "tax_payable.vat": -24000,
        "revenue_recurring": -100000,
        "revenue_usage": -60000,
    }


def test_an_invoice_without_a_known_rate_waits_for_it(engine: Engine) -> None:
    invoice = bill(engine)
    assert (invoice.status, invoice.number) == ("draft", None)
    assert invoice.hold_reason == "no rate of tax code internet is known"
    assert "receivable" not in balances(engine)
    add_rate(engine, "15")
    invoice = bill(engine)
    assert (invoice.status, invoice.total_minor, invoice.hold_reason) == ("finalized", 184000, "")


def test_tax_inside_the_price_leaves_the_revenue(new_database: NewDatabase) -> None:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan(tax_rate="0", tax_code="internet", tax_inclusive=True))
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=523, minor=11500)
    add_rate(engine, "15")
    invoice = bill(engine)
    assert (invoice.subtotal_minor, invoice.tax_minor, invoice.total_minor) == (
        96957, 14543, 111500,
    )  # fmt: skip
    assert balances(engine) == {
        "receivable": 111500,
        "tax_payable.vat": -14543,
        "revenue_recurring": -86957,
        "revenue_usage": -10000,
    }


def test_late_usage_of_a_void_invoice_is_shown_and_not_asked_for(engine: Engine) -> None:
    add_rate(engine, "15")
    bill(engine)
    with writing(engine) as connection:
        connection.execute(tables.invoice.update().values(status="void"))
        world.revise_month(
            connection, "karim", "2026-11", revision=1, gigabytes=640, minor=50000,
            day_minor=-10000, closed_at=at("2026-12-10"),
        )  # fmt: skip
        close_month(connection, "karim", "2026-12", gigabytes=1, minor=0)
    run_billing(engine, BillingConfig(), at("2027-01-01", 12))
    found = {text: amount for _, text, amount in world.lines(engine, "karim", "2026-12")}
    words = "Correction of a void invoice, not charged 2026-11-01 to 2026-11-30: Internet, Karim"
    assert found[words] == 0
    assert "unbilled" not in balances(engine)


def test_a_charge_names_a_code_too(engine: Engine) -> None:
    add_rate(engine, "15")
    add_rate(engine, "7.5", tax_code="equipment", since="2026-11-20")
    router = Charge(
        "router-1", "dhk", "karim", "equipment", "Router", 20000, "BDT", at("2026-11-21"),
        tax_code="equipment",
    )  # fmt: skip
    with writing(engine) as connection:
        add_charges(connection, [router])
    bill(engine)
    assert printed(engine)[2:] == [("Router", 20000), ("VAT 7.5 %", 1500), ("VAT 15 %", 24000)]
    assert balances(engine)["revenue_one_off"] == -20000
