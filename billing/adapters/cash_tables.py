"""Tables of tills: shifts of cashiers and what moved in them."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Table, Text, text

from billing.adapters.columns import (
    metadata,
    number_column,
    optional_number,
    reference_column,
    text_column,
)

_OPEN = text("closed_at IS NULL")

cash_shift = Table(
    "cash_shift",
    metadata,
    Column("shift_id", Text, primary_key=True),
    reference_column("branch_id", "branch.branch_id"),
    text_column("cashier_id"),
    text_column("cashier"),
    text_column("currency"),
    number_column("opened_at"),
    number_column("float_minor"),
    optional_number("closed_at"),
    optional_number("counted_minor"),
    optional_number("expected_minor"),
    text_column("closing_number"),
    text_column("note"),
    CheckConstraint("float_minor >= 0", name="float"),
    Index(None, "branch_id", "opened_at"),
    Index(
        "ix_cash_shift_open",
        "cashier_id",
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    ),
)
"""A cashier's shift; the index lets each have one open shift. A closed one never changes."""

cash_movement = Table(
    "cash_movement",
    metadata,
    Column("shift_id", Text, ForeignKey("cash_shift.shift_id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    reference_column("branch_id", "branch.branch_id"),
    text_column("kind"),
    number_column("amount_minor"),
    text_column("receipt_number"),
    text_column("business_id"),
    text_column("purpose"),
    text_column("reason"),
    number_column("moved_at"),
    CheckConstraint("kind IN ('payment', 'refund', 'paid_in', 'paid_out')", name="kind"),
    Index(None, "business_id"),
)
"""Cash into or out of a till; receipt_number is dense per branch where the customer gets paper."""
