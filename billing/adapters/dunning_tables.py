"""Tables of payment terms and of dunning: groups, schedules, what was done, what holds it up."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
    text,
)

from billing.adapters.columns import (
    key_column,
    metadata,
    number_column,
    optional_number,
    reference_column,
    text_column,
)

customer_group = Table(
    "customer_group",
    metadata,
    key_column("group_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("name"),
    optional_number("terms_days"),
    optional_number("grace_days"),
    text_column("schedule_id", default=""),
    Index(None, "branch_id", "group_id"),
)
"""Accounts that are treated alike; null or empty leaves the answer to the branch."""

branch_terms = Table(
    "branch_terms",
    metadata,
    Column("branch_id", Text, ForeignKey("branch.branch_id"), primary_key=True),
    optional_number("terms_days"),
    optional_number("grace_days"),
    text_column("schedule_id", default=""),
)
"""What holds for accounts of a branch of which neither they nor their group say otherwise."""

account_terms = Table(
    "account_terms",
    metadata,
    Column("account_id", Text, ForeignKey("account.account_id"), primary_key=True),
    text_column("group_id", default=""),
    optional_number("terms_days"),
    optional_number("grace_days"),
    text_column("schedule_id", default=""),
    Index(None, "group_id"),
)
"""An account's group and what it was granted itself; without a row it has neither."""

branch_holiday = Table(
    "branch_holiday",
    metadata,
    Column("branch_id", Text, ForeignKey("branch.branch_id"), primary_key=True),
    key_column("day_on"),
    text_column("name"),
)
"""A day on which nobody is dunned."""

dunning_schedule = Table(
    "dunning_schedule",
    metadata,
    key_column("schedule_id"),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    reference_column("branch_id", "branch.branch_id"),
    text_column("name"),
    text_column("document"),
    number_column("valid_from_at"),
)
"""A version of a schedule, which never changes; document is `billing.dunning_schedule` as JSON."""

dunning_step = Table(
    "dunning_step",
    metadata,
    Column("account_id", Text, ForeignKey("account.account_id"), primary_key=True),
    key_column("item_id"),
    key_column("step_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("invoice_id", "invoice.invoice_id"),
    text_column("schedule_id"),
    number_column("version"),
    text_column("action"),
    text_column("profile", default=""),
    text_column("taken_on"),
    number_column("taken_at"),
    number_column("open_minor"),
    text_column("currency"),
    text_column("effect", default=""),
    Index(None, "branch_id", "taken_at"),
)
"""A step that was taken: the key makes it once. effect says what came of it, in words."""

_STANDS = text("ended_at IS NULL")
dunning_pause = Table(
    "dunning_pause",
    metadata,
    key_column("pause_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    text_column("invoice_id", default=""),
    text_column("kind"),
    Column("restores", Boolean, nullable=False),
    text_column("from_on"),
    Column("until_on", Text),
    number_column("amount_minor", default="0"),
    text_column("currency", default=""),
    text_column("reason", default=""),
    number_column("made_at"),
    text_column("made_by"),
    Column("ended_on", Text),
    optional_number("ended_at"),
    text_column("ended_by", default=""),
    text_column("outcome", default=""),
    CheckConstraint("kind IN ('promise', 'hold', 'dispute', 'exemption')", name="kind"),
    Index(None, "account_id"),
    Index(
        "ix_dunning_pause_standing",
        "account_id",
        sqlite_where=_STANDS,
        postgresql_where=_STANDS,
    ),
)
"""What holds dunning up. outcome is a promise's: kept or broken, empty while it stands."""

dunning_restriction = Table(
    "dunning_restriction",
    metadata,
    Column("account_id", Text, ForeignKey("account.account_id"), primary_key=True),
    reference_column("branch_id", "branch.branch_id"),
    text_column("action"),
    text_column("profile", default=""),
    text_column("item_id"),
    text_column("step_id"),
    text_column("reason"),
    number_column("decided_at"),
)
"""What the lines of an account are held to now; no row means that dunning restricts nothing."""
