"""Every business table, once: SQLAlchemy Core, the same for SQLite and PostgreSQL.

Conventions: money is a signed integer of minor units beside its currency; an instant (`*_at`) is
BIGINT milliseconds since 1970 UTC; a local day (`*_on`) is ISO text; JSON is canonical text, so a
hash over it stays a hash over what is stored. Ids are text made of business keys. Rows that the
stages write take their columns and keys from `rating.rows`, where they are defined.

What belongs to one area alone (payments, discounts, cable TV, …) has a module of its own,
`billing.adapters.*_tables`, named in `AREAS`, so that `metadata` is whole.

Writers (DESIGN §5): `web` writes branches to pools, keys, requests and payments (with their
invoice's state), and releases held drafts; `engine` writes what
`rating.rows` defines; `office` writes invoices, commands and notifications; the ledger is
append-only and may be written by web and office.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)

from billing.adapters import (
    audit_tables,
    bank_tables,
    cable_tables,
    cash_tables,
    charge_tables,
    columns,
    deposit_tables,
    discount_tables,
    document_tables,
    dunning_tables,
    instalment_tables,
    payment_tables,
    service_tables,
    tax_tables,
    voucher_tables,
)
from billing.adapters.columns import (
    key_column,
    number_column,
    optional_number,
    record_columns,
    reference_column,
    text_column,
)
from rating import rows
from rating.records import DirectoryEntry

metadata = columns.metadata
"""Every table of the business database; `infra.migrate` brings a database to exactly this."""


def _row_table(name: str, row: type, *more: Any) -> Table:
    """Return the table of a class of `rating.rows`."""
    return Table(name, metadata, *record_columns(row, rows.KEYS[row]), *more)


# Whom we serve ---------------------------------------------------------------------------------

branch = Table(
    "branch",
    metadata,
    key_column("branch_id"),
    text_column("name"),
    text_column("timezone"),
    text_column("currency"),
    text_column("invoice_prefix"),
    text_column("language"),
    text_column("address", default=""),
    text_column("tax_number", default=""),
    text_column("phone", default=""),
    text_column("email", default=""),
)
"""An office of the ISP: its time zone makes the days, its prefix the invoice numbers."""

account = Table(
    "account",
    metadata,
    key_column("account_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("name"),
    text_column("kind"),
    text_column("email"),
    text_column("phone"),
    number_column("created_at"),
    text_column("address", default=""),
    text_column("cycle", default="monthly"),
    number_column("anchor_day", default="1"),
    number_column("anchor_month", default="1"),
    Index(None, "branch_id", "account_id"),
)
"""Who owes: kind is ``person`` or ``company``; cycle and anchors make its billing periods."""

plan = Table(
    "plan",
    metadata,
    key_column("plan_id"),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    reference_column("branch_id", "branch.branch_id"),
    text_column("name"),
    text_column("document"),
    number_column("valid_from_at"),
)
"""A rate plan; a version never changes. document is `rating.plans.Plan` as JSON."""

subscriber = Table(
    "subscriber",
    metadata,
    key_column("subscriber_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    text_column("user_name"),
    text_column("name"),
    text_column("status"),
    number_column("created_at"),
    Index(None, "branch_id", "subscriber_id"),
    Index(None, "account_id"),
    Index(None, "status"),
    UniqueConstraint("branch_id", "user_name"),
)
"""Who uses: status is ``active``, ``suspended`` or ``ended``."""

pool = Table(
    "pool",
    metadata,
    key_column("pool_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    text_column("name"),
    Index(None, "account_id"),
)
"""Subscribers who share one allowance; the pool is their rating key (`directory_entry`)."""

subscription = Table(
    "subscription",
    metadata,
    key_column("subscription_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    text_column("rating_key"),
    text_column("plan_id"),
    number_column("plan_version"),
    number_column("starts_at"),
    optional_number("ends_at"),
    Index(None, "account_id"),
    Index(None, "rating_key", "starts_at"),
)
"""A rating key on a plan version in [starts_at, ends_at); ends_at null while it runs."""

_POOLED = text("kind = 'membership' AND target <> match")
directory_entry = Table(
    "directory_entry",
    metadata,
    *record_columns(DirectoryEntry, ("entry_id", "revision")),
    reference_column("branch_id", "branch.branch_id"),
    Index(None, "kind", "match"),
    Index(None, "kind", "target"),
    Index("ix_directory_entry_pooled", "match", sqlite_where=_POOLED, postgresql_where=_POOLED),
)
"""The directory as the office of record; the same rows travel on topic `directory`."""

api_key = Table(
    "api_key",
    metadata,
    key_column("key_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("hash"),
    text_column("name"),
    number_column("created_at"),
    optional_number("revoked_at"),
    UniqueConstraint("hash"),
)
"""An API key: only its hash is kept."""

# What the stages write (rating.rows) -----------------------------------------------------------

live_session = _row_table(
    "live_session", rows.LiveSession, Index(None, "subscriber_id"), Index(None, "ended_at")
)
usage_counter = _row_table("usage_counter", rows.UsageCounter, Index(None, "period_end_at"))
usage_day = _row_table(
    "usage_day",
    rows.UsageDay,
    Index(None, "posted_at"),
    Index(None, "rating_key", "period_start_at"),
)
usage_charge = _row_table("usage_charge", rows.UsageCharge, Index(None, "closed_at"))
period_closing = _row_table(
    "period_closing", rows.PeriodClosing, Index(None, "closed_at"), Index(None, "period_end_at")
)
balance = _row_table("balance", rows.Balance)
balance_bucket = _row_table("balance_bucket", rows.BalanceBucket, Index(None, "is_final", "unit"))
alert = _row_table("alert", rows.Alert, Index(None, "raised_at"), Index(None, "rating_key"))
_NOT_ACTIVE = text("target <> 'active'")
desired_service = _row_table(
    "desired_service",
    rows.DesiredService,
    Index(None, "decided_at"),
    Index(None, "target", sqlite_where=_NOT_ACTIVE, postgresql_where=_NOT_ACTIVE),
)
account_event_result = _row_table(
    "account_event_result", rows.AccountEventResult, Index(None, "outcome")
)
unattributed_minute = _row_table("unattributed_minute", rows.UnattributedMinute)
loss_minute = _row_table("loss_minute", rows.LossMinute, Index(None, "minute"))
loss_hour = _row_table("loss_hour", rows.LossHour, Index(None, "hour"))
flow_hour = _row_table("flow_hour", rows.FlowHour, Index(None, "hour"), Index(None, "changed_at"))
collector_outage = _row_table("collector_outage", rows.CollectorOutage)

ROW_TABLES: dict[type, Table] = {
    rows.LiveSession: live_session,
    rows.UsageCounter: usage_counter,
    rows.UsageDay: usage_day,
    rows.UsageCharge: usage_charge,
    rows.PeriodClosing: period_closing,
    rows.Balance: balance,
    rows.BalanceBucket: balance_bucket,
    rows.Alert: alert,
    rows.DesiredService: desired_service,
    rows.AccountEventResult: account_event_result,
    rows.UnattributedMinute: unattributed_minute,
    rows.LossMinute: loss_minute,
    rows.LossHour: loss_hour,
    rows.FlowHour: flow_hour,
    rows.CollectorOutage: collector_outage,
}
"""The table of each class of `rating.rows`."""

# The ledger ------------------------------------------------------------------------------------

ledger_account = Table(
    "ledger_account",
    metadata,
    key_column("ledger_account_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("code"),
    text_column("kind"),
    text_column("name"),
    reference_column("account_id", "account.account_id", nullable=True),
    Index(None, "branch_id", "code"),
)
"""The chart of accounts, and one sub-account per customer where the code asks for one."""

ledger_transaction = Table(
    "ledger_transaction",
    metadata,
    key_column("transaction_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("source"),
    text_column("idempotency_key"),
    number_column("occurred_at"),
    text_column("description"),
    number_column("chain_number"),
    text_column("chain_hash"),
    number_column("recorded_at"),
    UniqueConstraint("source", "idempotency_key"),
    UniqueConstraint("branch_id", "chain_number"),
)
"""A balanced posting, never changed. chain_number is dense per branch; chain_hash covers the
entries and the hash before (billing.ledger)."""

ledger_entry = Table(
    "ledger_entry",
    metadata,
    Column(
        "transaction_id", Text, ForeignKey("ledger_transaction.transaction_id"), primary_key=True
    ),
    Column("line", BigInteger, primary_key=True, autoincrement=False),
    reference_column("ledger_account_id", "ledger_account.ledger_account_id"),
    number_column("amount_minor"),
    text_column("currency"),
    Index(None, "ledger_account_id", "currency"),
)
"""One leg: debit positive, credit negative."""

# Invoices and payments -------------------------------------------------------------------------

document_series = Table(
    "document_series",
    metadata,
    Column("branch_id", Text, ForeignKey("branch.branch_id"), primary_key=True),
    key_column("series"),
    number_column("last_number"),
)
"""The last number given out; it rises only in the transaction that finalizes a document."""

invoice = Table(
    "invoice",
    metadata,
    key_column("invoice_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    text_column("series"),
    Column("number", Text),
    text_column("status"),
    number_column("period_start_at"),
    number_column("period_end_at"),
    optional_number("issued_at"),
    Column("due_on", Text),
    text_column("currency"),
    number_column("subtotal_minor"),
    number_column("tax_minor"),
    number_column("total_minor"),
    text_column("hash"),
    text_column("document"),
    number_column("paid_minor", default="0"),
    optional_number("paid_at"),
    text_column("hold_reason", default=""),
    number_column("written_off_minor", default="0"),
    UniqueConstraint("account_id", "period_end_at", "currency"),
    UniqueConstraint("branch_id", "series", "number"),
    CheckConstraint("status IN ('draft', 'finalized', 'paid', 'void')", name="status"),
    Index(None, "branch_id", "status"),
    Index(None, "period_end_at"),
)
"""One per account, period and currency. number and due_on are null until finalized. document is
the canonical JSON under hash; hold_reason says why a draft waits for a clerk."""

invoice_line = Table(
    "invoice_line",
    metadata,
    Column("invoice_id", Text, ForeignKey("invoice.invoice_id"), primary_key=True),
    Column("line", BigInteger, primary_key=True, autoincrement=False),
    text_column("kind"),
    text_column("description"),
    text_column("rating_key"),
    text_column("meter_id"),
    number_column("quantity"),
    text_column("unit"),
    number_column("amount_minor"),
    text_column("tax_rate"),
    text_column("evidence"),
    text_column("income", default=""),
)
"""kind is recurring, usage, charge, adjustment or tax; evidence is JSON (billing.invoices)."""

billed_charge = Table(
    "billed_charge",
    metadata,
    key_column("rating_key"),
    Column("period_start_at", BigInteger, primary_key=True, autoincrement=False),
    Column("segment_number", BigInteger, primary_key=True, autoincrement=False),
    key_column("meter_id"),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    reference_column("invoice_id", "invoice.invoice_id"),
    number_column("amount_minor"),
    number_column("true_up_minor", default="0"),
    Index(None, "invoice_id"),
)
"""Which revision of which usage charge was billed where: the key makes it once. true_up_minor
is what finalization added to the days' postings so that unbilled revenue comes to zero."""

_IN_FLIGHT = text("status = 'pending'")
payment = Table(
    "payment",
    metadata,
    key_column("payment_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    reference_column("invoice_id", "invoice.invoice_id", nullable=True),
    text_column("method"),
    text_column("reference"),
    number_column("amount_minor"),
    text_column("currency"),
    number_column("received_at"),
    text_column("recorded_by"),
    text_column("status", default="settled"),
    optional_number("settled_at"),
    text_column("reason", default=""),
    text_column("payer", default=""),
    text_column("shift_id", default=""),
    text_column("wanted", default="[]"),
    Column("keeps_rest", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("branch_id", "method", "reference"),
    CheckConstraint("status IN ('pending', 'settled', 'failed', 'reversed')", name="status"),
    Index(None, "invoice_id"),
    Index(None, "account_id", "received_at"),
    Index(
        "ix_payment_pending",
        "account_id",
        sqlite_where=_IN_FLIGHT,
        postgresql_where=_IN_FLIGHT,
    ),
)
"""Money of an account; (method, reference) is the provider's key, so a repeat is no second
payment. What it paid is in `billing.adapters.payment_tables.allocation`."""

# Acting ----------------------------------------------------------------------------------------

command_request = Table(
    "command_request",
    metadata,
    key_column("request_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("subscriber_id"),
    text_column("action"),
    text_column("profile"),
    text_column("requested_by"),
    number_column("requested_at"),
    CheckConstraint("action IN ('throttle', 'restore', 'disconnect')", name="action"),
    Index(None, "subscriber_id", "requested_at"),
    Index(None, "requested_at"),
)
"""What a clerk asked for; the office makes commands of it."""

_PENDING = text("outcome = 'pending' AND settled_at IS NULL")
command = Table(
    "command",
    metadata,
    key_column("command_id"),
    text_column("branch_id", default=""),
    text_column("subscriber_id"),
    text_column("session_id"),
    text_column("nas_id", default=""),
    text_column("kind"),
    text_column("target"),
    text_column("previous_target", default=""),
    text_column("profile", default=""),
    number_column("attempt"),
    text_column("vendor_profile"),
    optional_number("identifier"),
    optional_number("error_cause"),
    text_column("outcome"),
    number_column("requested_at"),
    optional_number("sent_at"),
    optional_number("acknowledged_at"),
    optional_number("verified_at"),
    text_column("reason"),
    text_column("desired_hash", default=""),
    optional_number("settled_at"),
    Column("is_current", Boolean, nullable=False, server_default=true()),
    CheckConstraint("kind IN ('coa', 'disconnect')", name="kind"),
    Index(None, "session_id", "is_current"),
    Index(None, "is_current"),
    Index(None, "outcome"),
    Index(None, "requested_at"),
    Index(None, "subscriber_id", "requested_at"),
    Index(
        "ix_command_pending",
        "requested_at",
        "command_id",
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
)
"""One request to one NAS for one session, with its fate. settled_at is when the fate was final:
verified, failed, or handed on to the next attempt. is_current marks the newest command of a
session that the office still follows."""

notification = Table(
    "notification",
    metadata,
    key_column("notification_id"),
    text_column("branch_id", default=""),
    text_column("kind"),
    text_column("subject_key"),
    text_column("channel"),
    text_column("recipient"),
    text_column("subject"),
    text_column("body"),
    text_column("outcome"),
    number_column("attempts"),
    number_column("created_at"),
    optional_number("attempted_at"),
    optional_number("settled_at"),
    text_column("reason", default=""),
    Index(None, "outcome"),
    Index(None, "created_at"),
)
"""The outbox: outcome is pending, attempting, delivered, failed or unknown. notification_id is
crossing + channel, so one crossing notifies once."""

office_cursor = Table(
    "office_cursor",
    metadata,
    key_column("name"),
    number_column("position"),
)
"""How far the office has read an append-only table, in that table's `*_at` ms."""

# Areas -----------------------------------------------------------------------------------------

AREAS: tuple[ModuleType, ...] = (
    cable_tables,
    cash_tables,
    audit_tables,
    bank_tables,
    charge_tables,
    deposit_tables,
    document_tables,
    discount_tables,
    dunning_tables,
    instalment_tables,
    payment_tables,
    service_tables,
    voucher_tables,
    tax_tables,
)
"""Modules with tables of one area each; importing them here puts their tables into `metadata`."""
