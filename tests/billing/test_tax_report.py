"""The report to the tax office: by tax, rate, relief and paper, and tied out to the ledger."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from billing.adapters.billing_run import run_billing
from billing.adapters.corrections import issue_note, void_invoice
from billing.adapters.databases import reading, writing
from billing.adapters.reports import run_report
from billing.adapters.repositories import create
from billing.clerk_notes import CREDIT, DEBIT, NoteLine, NoteOrder
from billing.config import BillingConfig
from billing.reports.table import Question, ReportTable
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.test_taxed_invoices import add_rate, add_status
from tests.billing.world import add_customer, at, close_month, home_plan

NOVEMBER, DECEMBER = ("2026-11-01", "2026-11-30"), ("2026-12-01", "2026-12-31")


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    """Karim is taxed at 15 and 2 %, Rahima by reverse charge; both have 1,600.00 in November."""
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan(tax_rate="0", tax_code="internet"))
        for name in ("karim", "rahima"):
            add_customer(connection, name)
            close_month(connection, name, "2026-11", gigabytes=620, minor=60000)
    add_rate(engine, "15")
    add_rate(engine, "2", tax_id="city", name="City tax", position=2)
    add_status(engine, "reverse_charge", account_id="rahima", tax_id="vat", certificate="BIN 7")
    run_billing(engine, BillingConfig(), at("2026-12-01", 12))
    return engine


def ask(engine: Engine, days: tuple[str, str], **more: Any) -> ReportTable:
    first, last = (datetime.date.fromisoformat(day) for day in days)
    with reading(engine) as connection:
        table = run_report(connection, "tax", Question(first, last, **more))
    assert [tie for tie in table.ties if tie.difference_minor] == []
    return table


def shown(table: ReportTable) -> list[tuple[Any, ...]]:
    columns = ("tax_id", "tax_rate", "relief", "kind", "documents", "net_minor", "tax_minor")
    return list(table.rows.select(columns).iter_rows())


def correct(engine: Engine, kind: str, account: str, amount: int) -> None:
    order = NoteOrder(
        f"inv_{account}_2026-11-01_BDT", kind, (NoteLine(1, amount),), "Outage", "clerk"
    )
    with writing(engine) as connection:
        issue_note(connection, order, at("2026-12-05"))


def test_a_month_by_tax_rate_and_relief(engine: Engine) -> None:
    assert shown(ask(engine, NOVEMBER)) == [
        ("city", "2", "", "invoice", 2, 320000, 6400),
        ("vat", "0", "reverse_charge", "invoice", 1, 160000, 0),
        ("vat", "15", "", "invoice", 1, 160000, 24000),
    ]
    assert shown(ask(engine, DECEMBER)) == []


def test_corrections_count_on_their_own_day(engine: Engine) -> None:
    correct(engine, CREDIT, "karim", 20000)
    correct(engine, DEBIT, "karim", 10000)
    with writing(engine) as connection:
        void_invoice(
            connection, "inv_rahima_2026-11-01_BDT", "wrong customer", "clerk", at("2026-12-06")
        )
    assert len(shown(ask(engine, NOVEMBER))) == 3, "what was reported stays as it was"
    assert shown(ask(engine, DECEMBER)) == [
        ("city", "2", "", "credit note", 1, -20000, -400),
        ("city", "2", "", "debit note", 1, 10000, 200),
        ("city", "2", "", "void", -1, -160000, -3200),
        ("vat", "0", "reverse_charge", "void", -1, -160000, 0),
        ("vat", "15", "", "credit note", 1, -20000, -3000),
        ("vat", "15", "", "debit note", 1, 10000, 1500),
    ]
    both = (NOVEMBER[0], DECEMBER[1])
    for name in ("revenue", "aging", "unbilled"):
        with reading(engine) as connection:
            first, last = (datetime.date.fromisoformat(day) for day in both)
            table = run_report(connection, name, Question(first, last))
        assert [tie for tie in table.ties if tie.difference_minor] == [], name


def test_each_sum_leads_to_its_papers(engine: Engine) -> None:
    table = ask(engine, NOVEMBER, wanted={"tax_id": ["city"]}, has_details=True)
    details = table.rows
    assert details["invoice_id"].to_list() == [
        "inv_karim_2026-11-01_BDT",
        "inv_rahima_2026-11-01_BDT",
    ]
    assert details["tax_minor"].sum() == 6400
