"""Tables of what is charged beside plans and usage."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, Index, Table, text

from billing.adapters.columns import metadata, record_columns, reference_column
from billing.charges import Charge

_WAITING = text("invoice_id IS NULL")
charge = Table(
    "charge",
    metadata,
    *record_columns(Charge, ("charge_id",)),
    reference_column("invoice_id", "invoice.invoice_id", nullable=True),
    ForeignKeyConstraint(["branch_id"], ["branch.branch_id"]),
    ForeignKeyConstraint(["account_id"], ["account.account_id"]),
    Index(None, "account_id", "due_at"),
    Index(None, "invoice_id"),
    Index(
        "ix_charge_waiting",
        "account_id",
        "due_at",
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    ),
)
"""`billing.charges.Charge`; invoice_id is null until an invoice that has it is finalized."""
