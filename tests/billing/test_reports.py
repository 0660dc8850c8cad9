"""Reports over a small ISP: every sum ties out to the ledger, and every row can be drilled into."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, update

from billing.adapters import tables
from billing.adapters.databases import reading, writing
from billing.adapters.reports import REPORTS, run_report
from billing.reports.table import Question, ReportTable, summarise
from tests.billing import report_world
from tests.billing.conftest import NewDatabase
from tests.billing.payment_desk import Desk, invoice_id, open_desk


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    report_world.live(engine)
    return engine


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def ask(engine: Engine, name: str, first: str, last: str, **more: Any) -> ReportTable:
    with reading(engine) as connection:
        return run_report(connection, name, Question(day(first), day(last), **more))


def rows(table: ReportTable, *columns: str) -> list[tuple[Any, ...]]:
    return [
        tuple(str(v) if isinstance(v, datetime.date) else v for v in row)
        for row in table.rows.select(columns).iter_rows()
    ]


MONTHS = ("2026-10-01", "2026-12-31")


@pytest.mark.parametrize("name", ["revenue", "aging", "unbilled", "collections", "arpu"])
@pytest.mark.parametrize(
    ("first", "last"),
    [
        MONTHS,
        ("2026-11-01", "2026-11-30"),
        ("2026-10-31", "2026-10-31"),
        ("2026-11-11", "2026-12-01"),
    ],
)
def test_every_report_ties_out_to_the_ledger(
    engine: Engine, name: str, first: str, last: str
) -> None:
    table = ask(engine, name, first, last)
    assert [tie for tie in table.ties if tie.difference_minor] == []


@pytest.mark.parametrize("name", ["revenue", "aging", "unbilled", "collections", "arpu"])
def test_a_sum_that_is_not_the_ledgers_is_told(engine: Engine, name: str) -> None:
    """An entry of every report's account is altered behind our back."""
    entry = tables.ledger_entry
    with writing(engine) as connection:
        connection.execute(
            update(entry)
            .where(entry.c.ledger_account_id == "dhk/unbilled/karim")
            .values(amount_minor=entry.c.amount_minor + 1)
        )
    ties = ask(engine, name, *MONTHS).ties
    assert any(tie.ledger_minor for tie in ties)
    assert any(tie.difference_minor for tie in ties) == (name == "unbilled")


@pytest.mark.parametrize("name", REPORTS)
def test_a_summary_is_the_sum_of_its_details(engine: Engine, name: str) -> None:
    summary = ask(engine, name, *MONTHS)
    details = ask(engine, name, *MONTHS, has_details=True)
    assert summary.rows.height
    assert summary.rows.equals(summarise(details.shape, details.rows))
    for column in summary.shape.ids:
        assert column.name in details.rows.columns


def test_revenue_by_plan_of_a_month(engine: Engine) -> None:
    table = ask(engine, "revenue", "2026-11-01", "2026-11-30", branch_id="dhk")
    by_plan: dict[tuple[str, str], list[int]] = {}
    for plan, income, recognised, invoiced in rows(
        table, "plan_id", "income", "recognised_minor", "invoiced_minor"
    ):
        sums = by_plan.setdefault((plan, income), [0, 0])
        sums[0] += recognised
        sums[1] += invoiced
    assert by_plan == {
        # Karim's fee and Rahima's 19 of 30 days; on 1 November October was invoiced.
        ("home", "revenue_recurring"): [100000 + 63333, 200000],
        ("home", "revenue_usage"): [3333 + 101, 60000],
        # What a balance has paid is shown, and taken back by a line of no plan.
        ("prepaid", "revenue_usage"): [5000, 12000],
        ("", "revenue_usage"): [0, -12000],
        # 21 of 30 days of 2,300.00 with 15 % inside, and 10.00 of usage likewise.
        ("shop", "revenue_recurring"): [140000, 0],
        ("shop", "revenue_usage"): [870, 0],
    }


def test_days_are_those_of_the_branch(engine: Engine) -> None:
    """Midnight of Kathmandu is a quarter past Dhaka's: Maya's 31 October ends on 31 October."""
    table = ask(engine, "revenue", "2026-10-31", "2026-10-31", branch_id="ktm")
    assert rows(table, "day", "plan_id", "income", "currency", "recognised_minor") == [
        ("2026-10-31", "nepal", "revenue_recurring", "NPR", 150000),
        ("2026-10-31", "nepal", "revenue_usage", "NPR", 7700),
    ]
    table = ask(engine, "revenue", "2026-11-01", "2026-11-01", branch_id="ktm")
    assert rows(table, "plan_id", "recognised_minor", "invoiced_minor") == [
        ("nepal", 0, 150000),
        ("nepal", 0, 7700),
    ]


AGING = ("account_id", "currency", "not_due_minor", "days_0_30_minor", "days_31_60_minor",
         "total_minor")  # fmt: skip


def test_aging_by_due_day(engine: Engine) -> None:
    """October is due on 15 November, November on 15 December."""
    table = ask(engine, "aging", *MONTHS[:1], "2026-12-10")
    karim = 100000 + 3333 + 2500
    karim += (karim * 15 + 50) // 100
    shop, maya = 161000 + 1000, (157700 + 150000) * 115 // 100
    assert rows(table, *AGING) == [
        ("karim", "BDT", karim, 84000, 0, karim + 84000),
        ("rahima", "BDT", 72949, 0, 0, 72949),
        ("shop", "BDT", shop, 0, 0, shop),
        ("maya", "NPR", 172500, 181355, 0, maya),
    ]


def test_aging_by_period_and_as_of_an_earlier_day(engine: Engine) -> None:
    table = ask(engine, "aging", *MONTHS[:1], "2026-11-04", aged_by="period", branch_id="dhk")
    assert rows(table, *AGING) == [
        ("karim", "BDT", 0, 184000, 0, 184000),
        ("rahima", "BDT", 0, 115000, 0, 115000),
    ]
    table = ask(engine, "aging", *MONTHS[:1], "2026-12-15", aged_by="period", branch_id="dhk",
                wanted={"account_id": ["karim"]}, has_details=True)  # fmt: skip
    assert rows(table, "number", "aged_from", "age_days") == [
        ("DHK-INV-000001", "2026-10-31", 45),
        ("DHK-INV-000004", "2026-11-30", 15),
    ]


def test_unbilled_is_what_was_used_since(engine: Engine) -> None:
    table = ask(engine, "unbilled", *MONTHS[:1], "2026-12-02", has_details=True)
    assert rows(table, "account_id", "rating_key", "period_from", "unbilled_minor") == [
        ("karim", "karim", "2026-12-01", 977)
    ]
    assert rows(ask(engine, "unbilled", *MONTHS[:1], "2026-12-01"), "unbilled_minor") == [(900,)]
    # Before October was invoiced at its end, all of it was unbilled; the late 25.00 came later.
    table = ask(engine, "unbilled", *MONTHS[:1], "2026-10-30", branch_id="dhk")
    assert rows(table, "account_id", "unbilled_minor") == [("karim", 22500)]


def test_collections_by_method(engine: Engine) -> None:
    table = ask(engine, "collections", *MONTHS)
    assert rows(table, "day", "method", "payments", "received_minor", "net_minor") == [
        ("2026-11-05", "cash", 1, 100000, 100000),
        ("2026-11-06", "mobile", 1, 115000, 115000),
        ("2026-11-07", "topup", 1, 50000, 50000),
    ]


def test_mrr_moves_from_month_to_month(engine: Engine) -> None:
    table = ask(engine, "mrr", "2026-11-15", "2026-12-01", branch_id="dhk")
    columns = ("month", *(value.name for value in table.shape.values))
    assert rows(table, *columns) == [
        ("2026-11-01", 200000, 230000, 0, 0, 0, -100000, 330000),
        ("2026-12-01", 330000, 0, 0, 0, 0, 0, 330000),
    ]
    [churn, _] = rows(
        ask(engine, "churn", "2026-11-15", "2026-12-01", branch_id="dhk"),
        "accounts_opening", "accounts_lost", "accounts_gained",
        "logo_churn_percent", "revenue_churn_percent",
    )  # fmt: skip
    assert churn == (2, 1, 1, 50.0, 50.0)


def test_arpu_is_revenue_by_the_mean_of_services(engine: Engine) -> None:
    table = ask(engine, "arpu", "2026-11-01", "2026-11-02", branch_id="dhk")
    revenue = 100000 + 63333 + 3333 + 101 + 5000 + 140000 + 870
    assert rows(table, "revenue_minor", "services_opening", "services_closing", "arpu_minor") == [
        (revenue, 3, 3, (revenue * 2 + 3) // 6)
    ]


def test_what_cannot_be_asked_is_said(engine: Engine) -> None:
    with pytest.raises(LookupError, match="report 'profit': expected one of aging, arpu"):
        ask(engine, "profit", *MONTHS)
    with pytest.raises(LookupError, match="branch 'nowhere' does not exist"):
        ask(engine, "revenue", *MONTHS, branch_id="nowhere")
    with pytest.raises(ValueError, match="colour: expected one of account_id, branch_id"):
        ask(engine, "revenue", *MONTHS, wanted={"colour": ["red"]})
    with pytest.raises(ValueError, match="to: expected 2026-10-02 or later"):
        Question(day("2026-10-02"), day("2026-10-01"))


def test_an_empty_database_has_reports_of_nothing(new_database: NewDatabase) -> None:
    for name in REPORTS:
        table = ask(new_database(), name, *MONTHS)
        assert (table.rows.height, table.ties) == (0, ())


@pytest.mark.parametrize(
    ("lines", "aged"),
    [
        (["pay 2300"], {"nov": 115000}),
        (["pay 1300 for nov"], {"sep": 100000, "oct": 115000}),
        (["pay 3500 as p", "bounce p"], {"sep": 115000, "oct": 115000, "nov": 115000}),
        (["pay 1150 for sep", "give_up oct"], {"nov": 115000}),
        (["give_up sep", "pay 2200"], {"nov": 10000}),
        (["pay 3500", "refund 50"], {}),
        (["pending 1150 as p"], {"sep": 115000, "oct": 115000, "nov": 115000}),
    ],
)
def test_whatever_happens_to_money_aging_and_collections_tie_out(
    new_database: NewDatabase, lines: list[str], aged: dict[str, int]
) -> None:
    engine = new_database()
    open_desk(engine)
    desk = Desk(engine)
    for line in lines:
        desk.do(line)
    table = ask(engine, "aging", "2026-12-01", "2026-12-31", has_details=True)
    collected = ask(engine, "collections", "2026-12-01", "2026-12-31")
    assert [t for t in (*table.ties, *collected.ties) if t.difference_minor] == []
    assert rows(table, "invoice_id", "total_minor") == [
        (invoice_id(month), minor) for month, minor in sorted(aged.items(), key=_by_month)
    ]


def _by_month(pair: tuple[str, int]) -> int:
    return ["sep", "oct", "nov"].index(pair[0])
