"""Tables of deposits. Writer: `web`."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Table, Text

from billing.adapters.columns import (
    key_column,
    metadata,
    number_column,
    reference_column,
    text_column,
)

deposit = Table(
    "deposit",
    metadata,
    key_column("deposit_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    number_column("amount_minor"),
    number_column("held_minor"),
    text_column("currency"),
    text_column("reason"),
    number_column("taken_at"),
    text_column("taken_by"),
    CheckConstraint("held_minor >= 0 AND held_minor <= amount_minor", name="held"),
    Index(None, "account_id"),
)
"""Credit of a customer that is set aside; held_minor is what has not been released."""

deposit_movement = Table(
    "deposit_movement",
    metadata,
    Column("deposit_id", Text, ForeignKey("deposit.deposit_id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    number_column("step"),
    reference_column("credit_id", "customer_credit.credit_id"),
    number_column("amount_minor"),
    number_column("moved_at"),
    text_column("moved_by"),
    text_column("reason"),
)
"""What a deposit took of which credit, and gave back (negative); append-only."""
