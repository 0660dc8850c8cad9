"""Tables of vouchers: batches, codes by their hash, and attempts that failed."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, UniqueConstraint

from billing.adapters.columns import (
    key_column,
    metadata,
    number_column,
    optional_number,
    reference_column,
    text_column,
)

voucher_batch = Table(
    "voucher_batch",
    metadata,
    key_column("batch_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("name"),
    number_column("amount_minor"),
    text_column("currency"),
    number_column("quantity"),
    number_column("created_at"),
    text_column("created_by"),
    optional_number("expires_at"),
    optional_number("voided_at"),
    optional_number("sold_at"),
    Index(None, "branch_id", "batch_id"),
)
"""Vouchers made together, worth amount_minor each."""

voucher = Table(
    "voucher",
    metadata,
    key_column("code_hash"),
    reference_column("batch_id", "voucher_batch.batch_id"),
    number_column("serial"),
    optional_number("voided_at"),
    optional_number("redeemed_at"),
    text_column("rating_key", default=""),
    number_column("redemptions", default="0"),
    text_column("event_id", default=""),
    UniqueConstraint("batch_id", "serial"),
)
"""A code, as its SHA-256. redemptions counts those asked for: a further one is only possible where
rating has refused the one before. rating_key and event_id
are those of the newest one."""

voucher_attempt = Table(
    "voucher_attempt",
    metadata,
    key_column("rating_key"),
    Column("window_at", BigInteger, primary_key=True, autoincrement=False),
    number_column("failures"),
    Index(None, "window_at"),
)
"""Codes that were none, per rating key and stretch of time that begins at window_at (ms)."""
