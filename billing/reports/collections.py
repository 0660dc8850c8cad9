"""Collections: money that came in and went out, by day and method, as the cash accounts say."""

from __future__ import annotations

import polars as pl

from billing.reports.table import Column, Shape, details_of

SHAPE = Shape(
    name="collections",
    title="Collections",
    description="Money received and given back, by day and method of payment.",
    keys=(
        Column("branch_id", "Branch"),
        Column("day", "Day", "day"),
        Column("method", "Method"),
        Column("currency", "Currency"),
    ),
    values=(
        Column("payments", "Payments", "count"),
        Column("received_minor", "Received", "money"),
        Column("returned_minor", "Given back", "money"),
        Column("net_minor", "Net", "money"),
    ),
    ids=(
        Column("account_id", "Account"),
        Column("invoice_id", "Invoice"),
        Column("reference", "Reference"),
        Column("transaction_id", "Ledger transaction"),
    ),
)


def collection_details(postings: pl.DataFrame, payments: pl.DataFrame) -> pl.DataFrame:
    """Return every movement of cash with its method: a payment's own, else the posting's source.

    postings [n]: branch_id, day, source, key, currency, amount_minor (debit positive),
    transaction_id. payments [m]: key (payment_id), method, account_id, invoice_id, reference.
    """
    known = postings.join(payments, on="key", how="left")
    amount = pl.col("amount_minor")
    return details_of(
        SHAPE,
        known.with_columns(
            pl.col("method").fill_null(pl.col("source")),
            pl.col("account_id", "invoice_id", "reference").fill_null(""),
            (amount > 0).cast(pl.Int64).alias("payments"),
            pl.when(amount > 0).then(amount).otherwise(0).alias("received_minor"),
            pl.when(amount < 0).then(amount).otherwise(0).alias("returned_minor"),
            amount.alias("net_minor"),
        ),
    )
