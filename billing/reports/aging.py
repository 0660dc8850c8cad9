"""Aging: what accounts owe, by how long it has been due.

Every posting to a receivable belongs to one document: the invoice or note that made it, or that
a payment, reversal or allocation settles. What names no document is the account's open credit
(or, where it is owed, due at once). So the columns of a row add up to the ledger's receivable.
"""

from __future__ import annotations

import datetime

import polars as pl

from billing.reports.table import Column, Shape, details_of

BUCKETS: tuple[tuple[str, str, int | None, int | None], ...] = (
    ("not_due_minor", "Not due", None, -1),
    ("days_0_30_minor", "0–30 days", 0, 30),
    ("days_31_60_minor", "31–60 days", 31, 60),
    ("days_61_90_minor", "61–90 days", 61, 90),
    ("days_over_90_minor", "Over 90 days", 91, None),
)
"""(column, title, first, last day of age) of what is owed; a document ages from its day."""

SHAPE = Shape(
    name="aging",
    title="Aging of receivables",
    description="What accounts owe at the end of a day, by the days since it was due.",
    keys=(
        Column("branch_id", "Branch"),
        Column("account_id", "Account"),
        Column("account_name", "Name"),
        Column("currency", "Currency"),
    ),
    values=(
        *(Column(name, title, "money") for name, title, _, _ in BUCKETS),
        Column("credit_minor", "Open credit", "money"),
        Column("total_minor", "Total", "money"),
    ),
    ids=(
        Column("invoice_id", "Invoice"),
        Column("number", "Number"),
        Column("aged_from", "Ages from", "day"),
        Column("age_days", "Days", "count"),
    ),
    is_balance=True,
)


def aging_details(documents: pl.DataFrame, through_on: datetime.date) -> pl.DataFrame:
    """Return the open documents with their amount in its bucket.

    documents [n]: branch_id, account_id, account_name, currency, invoice_id ("" for what names
    none), number, aged_from (the day from which it ages; null: the report's last day), open_minor.
    through_on is the last day of the report.
    """
    through = pl.lit(through_on)
    aged = documents.filter(pl.col("open_minor") != 0).with_columns(
        pl.col("aged_from").fill_null(through)
    )
    age = (through - pl.col("aged_from")).dt.total_days()
    aged = aged.with_columns(age.alias("age_days"), pl.col("open_minor").alias("total_minor"))
    owed = pl.col("open_minor") > 0
    return details_of(
        SHAPE,
        aged.with_columns(
            *(
                _amount_where(owed & _is_between(first, last)).alias(name)
                for name, _, first, last in BUCKETS
            ),
            _amount_where(~owed).alias("credit_minor"),
        ),
    )


def _is_between(first: int | None, last: int | None) -> pl.Expr:
    days = pl.col("age_days")
    return (days >= first if first is not None else pl.lit(True)) & (
        days <= last if last is not None else pl.lit(True)
    )


def _amount_where(condition: pl.Expr) -> pl.Expr:
    return pl.when(condition).then(pl.col("open_minor")).otherwise(0)
