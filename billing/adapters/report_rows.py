"""Reads what reports are made of into frames; `billing.reports` says what becomes of them.

A posting belongs to the local day that its instant ends: a usage day and an invoice are posted
at the midnight that closes them (decision 0360).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Executable,
    Select,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    union_all,
)

from billing.accounts import Branch
from billing.adapters import payment_tables, tables
from billing.invoices import TAX
from billing.ledger import BANK, CASH, CHART, REVENUE_USAGE, TILL
from rating.periods import day_end_at, day_start_at, local_day

_ROWS_PER_FETCH = 50_000


class Reach(NamedTuple):
    """The days of one branch that a report is about, and their instants (ms)."""

    branch: Branch
    first_on: datetime.date
    last_on: datetime.date

    @property
    def start_at(self) -> int:
        """The instant at which the first day begins."""
        return day_start_at(self.branch.timezone, self.first_on)

    @property
    def end_at(self) -> int:
        """The instant at which the last day ends."""
        return day_end_at(self.branch.timezone, self.last_on)


def read_frame(
    connection: Connection, query: Executable, schema: Mapping[str, Any]
) -> pl.DataFrame:
    """Return the rows of a query as a frame with these columns, in the order of the query's."""
    frames = []
    for rows in connection.execute(query).partitions(_ROWS_PER_FETCH):
        values = zip(*rows, strict=True)
        frames.append(
            pl.DataFrame(
                [
                    pl.Series(name, column, dtype=dtype)
                    for (name, dtype), column in zip(schema.items(), values, strict=True)
                ]
            )
        )
    return pl.concat(frames) if frames else pl.DataFrame(schema=dict(schema))


def days_of(instants: pl.Series, timezone: str, *, before_ms: int = 0) -> pl.Series:
    """Return the local days of instants (ms), or with before_ms=1 those that they end."""
    known = instants.drop_nulls().unique().to_list()
    days = {at: local_day(timezone, (at - before_ms) // 60_000) for at in known}
    return instants.replace_strict(days, default=None, return_dtype=pl.Date)


def read_postings(connection: Connection, reach: Reach, codes: Iterable[str]) -> pl.DataFrame:
    """Return a branch's entries at some chart codes in its days, debit positive.

    Columns: branch_id, transaction_id, source, key, occurred_at, income (the code), currency,
    amount_minor, day.
    """
    transaction, entry = tables.ledger_transaction.c, tables.ledger_entry.c
    account = tables.ledger_account.c
    query = (
        select(
            transaction.branch_id,
            transaction.transaction_id,
            transaction.source,
            transaction.idempotency_key,
            transaction.occurred_at,
            account.code,
            entry.currency,
            entry.amount_minor,
        )
        .select_from(tables.ledger_transaction)
        .join(tables.ledger_entry)
        .join(tables.ledger_account)
        .where(
            transaction.branch_id == reach.branch.branch_id,
            transaction.occurred_at > reach.start_at,
            transaction.occurred_at <= reach.end_at,
            account.code.in_(sorted(codes)),
        )
    )
    names = ("branch_id", "transaction_id", "source", "key", "occurred_at", "income", "currency")
    schema = {name: pl.Int64() if name == "occurred_at" else pl.String() for name in names}
    frame = read_frame(connection, query, {**schema, "amount_minor": pl.Int64()})
    days = days_of(frame["occurred_at"], reach.branch.timezone, before_ms=1)
    return frame.with_columns(days.alias("day"))


def ledger_sums(
    connection: Connection, reach: Reach, codes: Iterable[str], *, is_balance: bool
) -> dict[tuple[str, str], int]:
    """Return what chart codes moved by in a branch's days, or stand at their end, per currency."""
    transaction, entry = tables.ledger_transaction.c, tables.ledger_entry.c
    query = (
        select(entry.currency, func.sum(entry.amount_minor))
        .select_from(tables.ledger_entry)
        .join(tables.ledger_transaction)
        .join(tables.ledger_account)
        .where(
            transaction.branch_id == reach.branch.branch_id,
            transaction.occurred_at <= reach.end_at,
            tables.ledger_account.c.code.in_(sorted(codes)),
        )
        .group_by(entry.currency)
    )
    if not is_balance:
        query = query.where(transaction.occurred_at > reach.start_at)
    branch_id = reach.branch.branch_id
    return {(branch_id, currency): int(total) for currency, total in connection.execute(query)}


def income_codes() -> list[str]:
    """Return the chart's codes of income."""
    return [line.code for line in CHART.values() if line.kind == "income"]


def cash_codes() -> list[str]:
    """Return the chart's codes of money in hand or at the bank."""
    return [CASH, BANK, TILL]


def read_counters(connection: Connection, reach: Reach) -> pl.DataFrame:
    """Return the plan and account of counters whose period meets the days, as `revenue` takes."""
    counter = tables.usage_counter.c
    query = select(
        counter.rating_key,
        counter.meter_id,
        counter.period_start_at,
        counter.segment_number,
        counter.plan_id,
    ).where(
        counter.period_start_at < reach.end_at,
        counter.period_end_at > reach.start_at,
        counter.rating_key.in_(keys_of(reach)),
    )
    names = ("rating_key", "meter_id", "period_start_at", "segment_number")
    counts = ("period_start_at", "segment_number")
    schema = {name: pl.Int64() if name in counts else pl.String() for name in (*names, "plan_id")}
    frame = read_frame(connection, query, schema)
    owned = frame.join(read_owners(connection, reach.branch), on="rating_key", how="inner")
    return owned.select(
        pl.concat_str([pl.col(name).cast(pl.String) for name in names], separator="/").alias(
            "counter"
        ),
        "plan_id",
        "account_id",
    )


def keys_of(reach: Reach) -> Select[Any]:
    """Return the query of a branch's rating keys."""
    subscription = tables.subscription.c
    return select(subscription.rating_key).where(subscription.branch_id == reach.branch.branch_id)


def read_owners(connection: Connection, branch: Branch) -> pl.DataFrame:
    """Return whose each rating key of a branch is: its newest subscription's account.

    Columns: rating_key, branch_id, account_id, account_name.
    """
    subscription, account = tables.subscription.c, tables.account.c
    query = (
        select(subscription.rating_key, account.branch_id, account.account_id, account.name)
        .join_from(
            tables.subscription, tables.account, account.account_id == subscription.account_id
        )
        .where(account.branch_id == branch.branch_id)
        .order_by(subscription.starts_at, subscription.subscription_id)
    )
    names = ("rating_key", "branch_id", "account_id", "account_name")
    frame = read_frame(connection, query, dict.fromkeys(names, pl.String()))
    return frame.unique("rating_key", keep="last")


def read_invoice_lines(connection: Connection, reach: Reach) -> pl.DataFrame:
    """Return lines without tax of a branch's final invoices, as `revenue.RevenueRows` says.

    Of those issued in its days, and of those that a posting in its days is about.
    """
    invoice, line = tables.invoice.c, tables.invoice_line.c
    is_issued = (invoice.issued_at >= reach.start_at) & (invoice.issued_at < reach.end_at)
    query = (
        select(
            line.invoice_id,
            line.line,
            # Usage was income before, on its day.
            case((line.income == "", REVENUE_USAGE), else_=line.income),
            func.coalesce(_plan_of(connection, line.evidence), ""),
            line.amount_minor,
            invoice.branch_id,
            invoice.account_id,
            invoice.currency,
            invoice.subtotal_minor,
            invoice.issued_at,
        )
        .join_from(tables.invoice, tables.invoice_line)
        .where(
            invoice.branch_id == reach.branch.branch_id,
            invoice.status.in_(("finalized", "paid")),
            line.kind != TAX,
            or_(is_issued, invoice.invoice_id.in_(_posted_keys(reach))),
        )
    )
    text, whole = pl.String(), pl.Int64()
    schema = {"invoice_id": text, "line": whole, "income": text, "plan_id": text}
    schema |= {"amount_minor": whole, "branch_id": text, "account_id": text, "currency": text}
    schema |= {"subtotal_minor": whole, "issued_at": whole}
    frame = read_frame(connection, query, schema)
    frame = frame.with_columns(days_of(frame["issued_at"], reach.branch.timezone).alias("day"))
    in_days = pl.col("day").is_between(reach.first_on, reach.last_on)
    return frame.with_columns(pl.when(in_days).then(pl.col("day")).alias("day"))


def _posted_keys(reach: Reach) -> Select[Any]:
    """Return the query of the keys of a branch's postings in its days, those of usage left out."""
    transaction = tables.ledger_transaction.c
    return select(transaction.idempotency_key).where(
        transaction.branch_id == reach.branch.branch_id,
        transaction.occurred_at > reach.start_at,
        transaction.occurred_at <= reach.end_at,
        transaction.source != "usage_day",
    )


def _plan_of(connection: Connection, evidence: Any) -> ColumnElement[Any]:
    """Return the plan that a line's evidence names, null where it names none."""
    document = func.nullif(evidence, "")
    if connection.dialect.name == "sqlite":
        return func.json_extract(document, "$.plan_id")
    found: ColumnElement[Any] = cast(document, JSON)["plan_id"].as_string()
    return found


def read_payments(connection: Connection, reach: Reach) -> pl.DataFrame:
    """Return a branch's payments and refunds posted in its days, as `collections` takes them."""
    payment, refund = tables.payment.c, payment_tables.refund.c
    branch_id, posted = reach.branch.branch_id, _posted_keys(reach)
    query = union_all(
        select(
            payment.payment_id,
            payment.method,
            payment.account_id,
            func.coalesce(payment.invoice_id, ""),
            payment.reference,
        ).where(payment.branch_id == branch_id, payment.payment_id.in_(posted)),
        select(
            refund.refund_id, refund.method, refund.account_id, literal(""), refund.reference
        ).where(refund.branch_id == branch_id, refund.refund_id.in_(posted)),
    )
    names = ("key", "method", "account_id", "invoice_id", "reference")
    return read_frame(connection, query, dict.fromkeys(names, pl.String()))
