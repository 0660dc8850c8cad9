"""Tables of taxes: rates from a day on, where accounts are, and their certificates."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, Table

from billing.adapters.columns import (
    key_column,
    metadata,
    number_column,
    record_columns,
    reference_column,
    text_column,
)
from billing.tax_rules import TaxRate, TaxStatus

tax_rate = Table(
    "tax_rate",
    metadata,
    *record_columns(TaxRate, ("branch_id", "tax_code", "tax_id", "place", "valid_from_on")),
    text_column("created_by"),
    number_column("created_at"),
)
"""A tax of a code from a local day on; rows are only added, a new rate is a new row."""

tax_status = Table(
    "tax_status",
    metadata,
    *record_columns(TaxStatus, ("status_id",)),
    reference_column("branch_id", "branch.branch_id"),
    text_column("created_by"),
    number_column("created_at"),
    CheckConstraint("kind IN ('exempt', 'reverse_charge', 'withholding')", name="kind"),
    Index(None, "account_id"),
)
"""A certificate of an account: exemption, reverse charge or withholding, with its days."""

tax_party = Table(
    "tax_party",
    metadata,
    key_column("account_id"),
    text_column("place"),
    text_column("tax_number"),
)
"""Where an account is for its taxes (empty: the branch's own place), and its own tax number."""
