"""Unbilled usage: what was used and posted, and is on no invoice yet.

Computed from the usage days and what invoices billed of them, not from the ledger's unbilled
account, so that the two can be held against each other.
"""

from __future__ import annotations

import polars as pl

from billing.reports.table import Column, Shape, details_of

SHAPE = Shape(
    name="unbilled",
    title="Unbilled usage",
    description="Usage of postpaid services, posted and not yet invoiced, at the end of a day.",
    keys=(
        Column("branch_id", "Branch"),
        Column("account_id", "Account"),
        Column("account_name", "Name"),
        Column("currency", "Currency"),
    ),
    values=(Column("unbilled_minor", "Unbilled", "money"),),
    ids=(
        Column("rating_key", "Service"),
        Column("period_from", "Period from", "day"),
        Column("period_start_at", "Period start (ms)", "count"),
    ),
    is_balance=True,
)

_PERIOD = ("rating_key", "period_start_at", "currency")


def unbilled_details(
    days: pl.DataFrame, billed: pl.DataFrame, owners: pl.DataFrame
) -> pl.DataFrame:
    """Return the services' periods of which something is unbilled.

    days [n]: rating_key, period_start_at, currency, amount_minor, of postpaid segments, posted
    through the report's day. billed [m]: rating_key, period_start_at, currency, amount_minor
    (without true-ups), of invoices posted through that day. owners [k]: rating_key, branch_id,
    account_id, account_name, and by period_start_at its first local day, period_from.
    """
    moved = pl.concat(
        [
            days.select(*_PERIOD, pl.col("amount_minor").cast(pl.Int64)),
            billed.select(*_PERIOD, -pl.col("amount_minor").cast(pl.Int64)),
        ]
    )
    left = moved.group_by(_PERIOD).agg(pl.col("amount_minor").sum().alias("unbilled_minor"))
    left = left.filter(pl.col("unbilled_minor") != 0)
    return details_of(SHAPE, left.join(owners, on=["rating_key", "period_start_at"], how="inner"))
