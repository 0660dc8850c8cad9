"""Runs a report: reads its rows branch by branch, and holds its sums against the ledger."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence

import polars as pl
from sqlalchemy import Connection

from billing import tax_report
from billing.accounts import Branch
from billing.adapters import report_balances as balances
from billing.adapters import report_rows as rows
from billing.adapters.report_rows import Reach
from billing.adapters.report_taxes import read_papers, tax_codes
from billing.adapters.repositories import find, list_of
from billing.ledger import RECEIVABLE, UNBILLED
from billing.reports import aging, collections, recurring, revenue, unbilled
from billing.reports.recurring import Month
from billing.reports.table import (
    Question,
    ReportTable,
    Shape,
    Tie,
    details_of,
    empty_details,
    report_of,
    ties_of,
)
from rating.periods import day_start_at

Answer = tuple[pl.DataFrame, tuple[Tie, ...]]
"""The details of one branch, and what the ledger says of them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A report's shape, and what reads and computes one branch's part of it."""

    shape: Shape
    answer: Callable[[Connection, Reach, Question], Answer]


def run_report(connection: Connection, name: str, question: Question) -> ReportTable:
    """Return a report by name. LookupError: no such report or branch; ValueError as `report_of`.

    One read transaction is one moment: details, sums and the ledger are of the same snapshot.
    """
    source = REPORTS.get(name)
    if source is None:
        raise LookupError(f"report {name!r}: expected one of {', '.join(sorted(REPORTS))}")
    found: list[pl.DataFrame] = [empty_details(source.shape)]
    ties: list[Tie] = []
    for branch in _branches(connection, question.branch_id):
        reach = Reach(branch, question.first_on, question.last_on)
        details, tied = source.answer(connection, reach, question)
        found.append(details)
        ties += tied
    details = details_of(source.shape, pl.concat(found))
    return report_of(source.shape, details, question, ties)


def _branches(connection: Connection, branch_id: str | None) -> Sequence[Branch]:
    if branch_id is not None:
        branch = find(connection, Branch, branch_id)
        if branch is None:
            raise LookupError(f"branch {branch_id!r} does not exist")
        return [branch]
    branches: list[Branch] = []
    while some := list_of(connection, Branch, after=branches[-1].branch_id if branches else ""):
        branches += some
    return branches


def _revenue(connection: Connection, reach: Reach, _question: Question) -> Answer:
    codes = rows.income_codes()
    postings = rows.read_postings(connection, reach, codes)
    details = revenue.revenue_details(
        revenue.RevenueRows(
            postings.with_columns((-pl.col("amount_minor")).alias("recognised_minor")),
            rows.read_counters(connection, reach),
            rows.read_invoice_lines(connection, reach),
        )
    )
    sums = rows.ledger_sums(connection, reach, codes, is_balance=False)
    income = {key: -total for key, total in sums.items()}
    return details, ties_of("income", details, "recognised_minor", income)


def _aging(connection: Connection, reach: Reach, question: Question) -> Answer:
    documents = balances.read_open_documents(connection, reach, question.aged_by)
    details = aging.aging_details(documents, reach.last_on)
    sums = rows.ledger_sums(connection, reach, [RECEIVABLE], is_balance=True)
    return details, ties_of("receivable", details, "total_minor", sums)


def _unbilled(connection: Connection, reach: Reach, _question: Question) -> Answer:
    days = balances.read_usage_days(connection, reach)
    billed = balances.read_billed(connection, reach)
    starts = pl.concat([days["period_start_at"], billed["period_start_at"]])
    owned = balances.read_periods_owned(connection, reach, starts)
    details = unbilled.unbilled_details(days, billed, owned)
    sums = rows.ledger_sums(connection, reach, [UNBILLED], is_balance=True)
    return details, ties_of("unbilled", details, "unbilled_minor", sums)


def _collections(connection: Connection, reach: Reach, _question: Question) -> Answer:
    postings = rows.read_postings(connection, reach, rows.cash_codes())
    payments = rows.read_payments(connection, reach)
    details = collections.collection_details(postings, payments)
    sums = rows.ledger_sums(connection, reach, rows.cash_codes(), is_balance=False)
    return details, ties_of("cash", details, "net_minor", sums)


def _tax(connection: Connection, reach: Reach, _question: Question) -> Answer:
    details = tax_report.tax_details(read_papers(connection, reach))
    sums = rows.ledger_sums(connection, reach, tax_codes(connection), is_balance=False)
    owed = {key: -total for key, total in sums.items()}
    return details, ties_of("tax payable", details, "tax_minor", owed)


def _mrr(connection: Connection, reach: Reach, _question: Question) -> Answer:
    subscriptions = balances.read_subscriptions(connection, reach)
    return recurring.mrr_details(subscriptions, months_of(reach)), ()


def _churn(connection: Connection, reach: Reach, question: Question) -> Answer:
    mrr, _ = _mrr(connection, reach, question)
    return recurring.churn_details(mrr), ()


def _arpu(connection: Connection, reach: Reach, question: Question) -> Answer:
    whole = Reach(reach.branch, *_whole_months(reach))
    earned, ties = _revenue(connection, whole, question)
    subscriptions = balances.read_subscriptions(connection, whole)
    return recurring.arpu_details(earned, subscriptions, months_of(whole)), ties


def months_of(reach: Reach) -> list[Month]:
    """Return the months that a branch's days touch, ascending."""
    first, last = _whole_months(reach)
    months: list[Month] = []
    while first <= last:
        following = _following(first)
        zone = reach.branch.timezone
        months.append(
            Month(
                reach.branch.branch_id,
                first,
                day_start_at(zone, first),
                day_start_at(zone, following),
            )
        )
        first = following
    return months


def _whole_months(reach: Reach) -> tuple[datetime.date, datetime.date]:
    """Return the first and last day of the months that the days touch."""
    last = _following(reach.last_on.replace(day=1)) - datetime.timedelta(days=1)
    return reach.first_on.replace(day=1), last


def _following(first_on: datetime.date) -> datetime.date:
    return (first_on + datetime.timedelta(days=32)).replace(day=1)


REPORTS: Mapping[str, Source] = {
    source.shape.name: source
    for source in (
        Source(revenue.SHAPE, _revenue),
        Source(aging.SHAPE, _aging),
        Source(recurring.MRR, _mrr),
        Source(recurring.CHURN, _churn),
        Source(recurring.ARPU, _arpu),
        Source(unbilled.SHAPE, _unbilled),
        Source(collections.SHAPE, _collections),
        Source(tax_report.SHAPE, _tax),
    )
}
"""Every report by name, in the order in which it is offered."""
