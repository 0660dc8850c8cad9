"""Who says when an invoice is due: the account, its group, its branch, the settings."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from sqlalchemy import insert

from billing.adapters import dunning_tables
from billing.adapters.billing_run import run_billing
from billing.adapters.databases import writing
from billing.adapters.repositories import create
from billing.config import BillingConfig
from billing.terms import PaymentTerms, due_on, effective_terms
from tests.billing import world
from tests.billing.conftest import NewDatabase


@pytest.mark.parametrize(
    ("account", "group", "branch", "expected"),
    [
        (PaymentTerms(), PaymentTerms(), PaymentTerms(), PaymentTerms()),
        (PaymentTerms(7), PaymentTerms(14), PaymentTerms(30), PaymentTerms(7)),
        (PaymentTerms(), PaymentTerms(14), PaymentTerms(30), PaymentTerms(14)),
        (PaymentTerms(), PaymentTerms(), PaymentTerms(30), PaymentTerms(30)),
        (
            PaymentTerms(0),
            PaymentTerms(14),
            PaymentTerms(),
            PaymentTerms(0),
        ),  # at once is an answer
        (
            PaymentTerms(7, None, ""),
            PaymentTerms(14, 3, "homes"),
            PaymentTerms(30, 5, "all"),
            PaymentTerms(7, 3, "homes"),  # each field by itself
        ),
    ],
)
def test_the_nearest_answer_holds(
    account: PaymentTerms, group: PaymentTerms, branch: PaymentTerms, expected: PaymentTerms
) -> None:
    assert effective_terms(account, group, branch) == expected


@pytest.mark.parametrize(
    ("issued", "days", "due"),
    [
        ("2026-12-01", 14, "2026-12-15"),
        ("2027-01-31", 30, "2027-03-02"),
        ("2028-01-31", 30, "2028-03-01"),  # a leap year
        ("2026-03-28", 1, "2026-03-29"),  # Europe's clocks change in that night
        ("2026-12-31", 0, "2026-12-31"),
    ],
)
def test_days_are_calendar_days(issued: str, days: int, due: str) -> None:
    assert due_on(datetime.date.fromisoformat(issued), days).isoformat() == due


@pytest.mark.parametrize(
    ("rows", "due"),
    [
        ([], "2026-12-15"),  # issued on 1 December, 14 days by the settings
        ([("branch_terms", {"branch_id": "dhk", "terms_days": 30})], "2026-12-31"),
        (
            [
                ("branch_terms", {"branch_id": "dhk", "terms_days": 30}),
                (
                    "customer_group",
                    {"group_id": "homes", "branch_id": "dhk", "name": "Homes", "terms_days": 10},
                ),
                ("account_terms", {"account_id": "karim", "group_id": "homes"}),
            ],
            "2026-12-11",
        ),
        ([("account_terms", {"account_id": "karim", "terms_days": 3})], "2026-12-04"),
    ],
)
def test_an_invoice_gets_its_due_day(
    new_database: NewDatabase, rows: list[tuple[str, dict[str, Any]]], due: str
) -> None:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, world.home_plan())
        world.add_customer(connection, "karim")
        world.close_month(connection, "karim", "2026-11", gigabytes=100, minor=0)
        for table, row in rows:
            connection.execute(insert(getattr(dunning_tables, table)), [row])
    run_billing(engine, BillingConfig(), world.at("2026-12-01", 3))
    assert [invoice.due_on for invoice in world.invoices(engine)] == [due]
