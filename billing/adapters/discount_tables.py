"""Tables of discounts, who has them, and on which invoices they stood."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from billing.adapters.columns import (
    key_column,
    metadata,
    number_column,
    record_columns,
    reference_column,
    text_column,
)
from billing.discounts import Discount

_EVERYONE = text("who = 'everyone'")
_CODED = text("code <> ''")
discount = Table(
    "discount",
    metadata,
    *record_columns(Discount, ("discount_id",)),
    ForeignKeyConstraint(["branch_id"], ["branch.branch_id"]),
    Index(None, "branch_id", "discount_id"),
    Index("ix_discount_everyone", "branch_id", sqlite_where=_EVERYONE, postgresql_where=_EVERYONE),
    Index(
        "ux_discount_code",
        "branch_id",
        "code",
        unique=True,
        sqlite_where=_CODED,
        postgresql_where=_CODED,
    ),
)
"""`billing.discounts.Discount`."""

discount_grant = Table(
    "discount_grant",
    metadata,
    key_column("grant_id"),
    reference_column("discount_id", "discount.discount_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    text_column("reason"),
    number_column("granted_at"),
    UniqueConstraint("discount_id", "account_id", "reason"),
    Index(None, "account_id"),
)
"""Who has a discount, and why: ``coupon``, ``clerk``, ``referred`` or ``referral of ACCOUNT``."""

discount_use = Table(
    "discount_use",
    metadata,
    key_column("grant_id"),
    Column("invoice_id", Text, ForeignKey("invoice.invoice_id"), primary_key=True),
    number_column("amount_minor"),
    Index(None, "invoice_id"),
)
"""On which final invoices a discount stood, and what it took off."""
