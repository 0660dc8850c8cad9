"""Tables of payments: credits, allocations, refunds, write-offs."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, Text, UniqueConstraint

from billing.adapters.columns import (
    key_column,
    metadata,
    number_column,
    reference_column,
    text_column,
)

customer_credit = Table(
    "customer_credit",
    metadata,
    key_column("credit_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    text_column("kind"),
    number_column("amount_minor"),
    number_column("left_minor"),
    text_column("currency"),
    number_column("created_at"),
    CheckConstraint("kind IN ('payment', 'credit_note')", name="kind"),
    CheckConstraint("left_minor >= 0 AND left_minor <= amount_minor", name="left"),
    Index(None, "account_id", "currency"),
)
"""Money of an account that invoices may take: credit_id is its payment's or credit note's id.
left_minor is what no invoice has taken and nobody was given back."""

allocation = Table(
    "allocation",
    metadata,
    key_column("allocation_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    reference_column("credit_id", "customer_credit.credit_id"),
    reference_column("invoice_id", "invoice.invoice_id"),
    number_column("amount_minor"),
    number_column("recovered_minor"),
    text_column("currency"),
    number_column("taken_minor"),
    text_column("taken_currency"),
    text_column("rate"),
    number_column("allocated_at"),
    text_column("allocated_by"),
    Index(None, "credit_id"),
    Index(None, "invoice_id"),
)
"""Which credit paid which invoice (`billing.payments.Allocation`); append-only, undone by a row of
the opposite sign. Its sum per invoice is `invoice.paid_minor`."""

refund = Table(
    "refund",
    metadata,
    key_column("refund_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    text_column("method"),
    text_column("reference"),
    number_column("amount_minor"),
    text_column("currency"),
    number_column("refunded_at"),
    text_column("refunded_by"),
    text_column("reason"),
    text_column("shift_id", default=""),
    UniqueConstraint("branch_id", "method", "reference"),
    Index(None, "account_id", "refunded_at"),
)
"""Credit given back to the customer."""

refund_part = Table(
    "refund_part",
    metadata,
    Column("refund_id", Text, ForeignKey("refund.refund_id"), primary_key=True),
    Column("credit_id", Text, ForeignKey("customer_credit.credit_id"), primary_key=True),
    number_column("amount_minor"),
    Index(None, "credit_id"),
)
"""What a refund took of which credit."""

write_off = Table(
    "write_off",
    metadata,
    key_column("write_off_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    reference_column("invoice_id", "invoice.invoice_id"),
    number_column("amount_minor"),
    text_column("currency"),
    number_column("written_off_at"),
    text_column("written_off_by"),
    text_column("reason"),
    Index(None, "invoice_id"),
)
"""An invoice's open amount given up as bad debt; what is left of it is in `invoice`."""
