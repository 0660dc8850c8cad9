"""The table of bank entries: what statements said, and whose money each was."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Table

from billing.adapters.columns import (
    key_column,
    metadata,
    number_column,
    optional_number,
    reference_column,
    text_column,
)

bank_entry = Table(
    "bank_entry",
    metadata,
    key_column("entry_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("bank_account"),
    text_column("booked_on"),
    number_column("amount_minor"),
    text_column("currency"),
    text_column("reference"),
    text_column("end_to_end_id"),
    text_column("remittance"),
    text_column("payer"),
    text_column("payer_account"),
    Column("is_reversal", Boolean, nullable=False),
    text_column("remark"),
    text_column("status"),
    text_column("reason"),
    text_column("suggestion"),
    reference_column("account_id", "account.account_id", nullable=True),
    reference_column("payment_id", "payment.payment_id", nullable=True),
    number_column("imported_at"),
    optional_number("resolved_at"),
    text_column("resolved_by"),
    CheckConstraint(
        "status IN ('matched', 'unmatched', 'reversed', 'outgoing', 'ignored')", name="status"
    ),
    Index(None, "branch_id", "status", "entry_id"),
    Index(None, "branch_id", "payer_account"),
    Index(None, "payment_id"),
)
"""One movement of a bank account (`billing.bank_statements.BankEntry`), once however often its
statement is imported. matched and reversed name their payment; unmatched wait for a clerk."""
