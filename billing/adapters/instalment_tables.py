"""Tables of instalment plans."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Table, Text, text

from billing.adapters.columns import (
    key_column,
    metadata,
    number_column,
    reference_column,
    text_column,
)

_STANDING = text("NOT is_cancelled")

instalment_plan = Table(
    "instalment_plan",
    metadata,
    key_column("plan_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    reference_column("invoice_id", "invoice.invoice_id"),
    Column("is_cancelled", Boolean, nullable=False),
    number_column("paid_before_minor"),
    text_column("currency"),
    number_column("created_at"),
    text_column("created_by"),
    Index(None, "account_id"),
    Index(
        "ix_instalment_plan_standing",
        "invoice_id",
        unique=True,
        sqlite_where=_STANDING,
        postgresql_where=_STANDING,
    ),
)
"""An invoice's open amount in parts (`billing.instalments`); an invoice has one that stands."""

instalment = Table(
    "instalment",
    metadata,
    Column("plan_id", Text, ForeignKey("instalment_plan.plan_id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    text_column("due_on"),
    number_column("amount_minor"),
)
"""One part of a plan; what is open of it follows from what its invoice was paid."""
