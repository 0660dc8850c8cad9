"""Every business table, once: SQLAlchemy Core, the same for SQLite and PostgreSQL.

Conventions: money is a signed integer of minor units beside its currency; an instant (`*_at`) is
BIGINT milliseconds since 1970 UTC; a local day (`*_on`) is ISO text; JSON is canonical text, so a
hash over it stays a hash over what is stored. Ids are text made of business keys. Rows that the
stages write take their columns and keys from `rating.rows`, where they are defined.

Writers (DESIGN §5): `web` writes branches to pools, keys, requests and payments (with their
invoice's state), and releases held drafts; `engine` writes what
`rating.rows` defines; `office` writes invoices, commands and notifications; the ledger is
append-only and may be written by web and office.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
    true,
)

from rating import rows
from rating.records import DirectoryEntry

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables below; `infra.migrate` brings a database to exactly this."""

_TYPES: dict[Any, Any] = {int: BigInteger, str: Text, bool: Boolean}


def _key(name: str) -> Column[Any]:
    """Return a text column of the primary key."""
    return Column(name, Text, primary_key=True)


def _text(name: str, *, default: str | None = None) -> Column[Any]:
    """Return a text column that is never null; `default` also fills rows written without it."""
    return Column(name, Text, nullable=False, server_default=default)


def _number(name: str, *, default: str | None = None) -> Column[Any]:
    """Return a 64-bit signed integer column that is never null."""
    return Column(name, BigInteger, nullable=False, server_default=default)


def _maybe(name: str) -> Column[Any]:
    """Return a 64-bit signed integer column that may be null (not yet, or without end)."""
    return Column(name, BigInteger)


def _reference(name: str, target: str, *, nullable: bool = False) -> Column[Any]:
    """Return a text column that names a row of another table (``table.column``)."""
    return Column(name, Text, ForeignKey(target), nullable=nullable)


def _record_columns(record: type, keys: tuple[str, ...]) -> list[Column[Any]]:
    """Return the columns of a record class, in field order; `keys` are the primary key."""
    columns: list[Column[Any]] = []
    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        arguments = typing.get_args(hints[field.name])
        scalar = next((a for a in arguments if a is not type(None)), hints[field.name])
        columns.append(
            Column(
                field.name,
                _TYPES[scalar],
                primary_key=field.name in keys,
                autoincrement=False,
                nullable=type(None) in arguments,
            )
        )
    return columns


def _row_table(name: str, row: type, *more: Any) -> Table:
    """Return the table of a class of `rating.rows`."""
    return Table(name, metadata, *_record_columns(row, rows.KEYS[row]), *more)


# Whom we serve ---------------------------------------------------------------------------------

branch = Table(
    "branch",
    metadata,
    _key("branch_id"),
    _text("name"),
    _text("timezone"),
    _text("currency"),
    _text("invoice_prefix"),
    _text("language"),
    _text("address", default=""),
    _text("tax_number", default=""),
    _text("phone", default=""),
    _text("email", default=""),
)
"""An office of the ISP: its time zone makes the days, its prefix the invoice numbers."""

account = Table(
    "account",
    metadata,
    _key("account_id"),
    _reference("branch_id", "branch.branch_id"),
    _text("name"),
    _text("kind"),
    _text("email"),
    _text("phone"),
    _number("created_at"),
    _text("address", default=""),
    _text("cycle", default="monthly"),
    _number("anchor_day", default="1"),
    _number("anchor_month", default="1"),
    Index(None, "branch_id", "account_id"),
)
"""Who owes: kind is ``person`` or ``company``; cycle and anchors make its billing periods."""

plan = Table(
    "plan",
    metadata,
    _key("plan_id"),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    _reference("branch_id", "branch.branch_id"),
    _text("name"),
    _text("document"),
    _number("valid_from_at"),
)
"""A rate plan; a version never changes. document is `rating.plans.Plan` as JSON."""

subscriber = Table(
    "subscriber",
    metadata,
    _key("subscriber_id"),
    _reference("branch_id", "branch.branch_id"),
    _reference("account_id", "account.account_id"),
    _text("user_name"),
    _text("name"),
    _text("status"),
    _number("created_at"),
    Index(None, "branch_id", "subscriber_id"),
    Index(None, "account_id"),
    Index(None, "status"),
    UniqueConstraint("branch_id", "user_name"),
)
"""Who uses: status is ``active``, ``suspended`` or ``ended``."""

pool = Table(
    "pool",
    metadata,
    _key("pool_id"),
    _reference("branch_id", "branch.branch_id"),
    _reference("account_id", "account.account_id"),
    _text("name"),
    Index(None, "account_id"),
)
"""Subscribers who share one allowance; the pool is their rating key (`directory_entry`)."""

subscription = Table(
    "subscription",
    metadata,
    _key("subscription_id"),
    _reference("branch_id", "branch.branch_id"),
    _reference("account_id", "account.account_id"),
    _text("rating_key"),
    _text("plan_id"),
    _number("plan_version"),
    _number("starts_at"),
    _maybe("ends_at"),
    Index(None, "account_id"),
    Index(None, "rating_key", "starts_at"),
)
"""A rating key on a plan version in [starts_at, ends_at); ends_at null while it runs."""

_POOLED = text("kind = 'membership' AND target <> match")
directory_entry = Table(
    "directory_entry",
    metadata,
    *_record_columns(DirectoryEntry, ("entry_id", "revision")),
    _reference("branch_id", "branch.branch_id"),
    Index(None, "kind", "match"),
    Index(None, "kind", "target"),
    Index("ix_directory_entry_pooled", "match", sqlite_where=_POOLED, postgresql_where=_POOLED),
)
"""The directory as the office of record; the same rows travel on topic `directory`."""

api_key = Table(
    "api_key",
    metadata,
    _key("key_id"),
    _reference("branch_id", "branch.branch_id"),
    _text("hash"),
    _text("name"),
    _number("created_at"),
    _maybe("revoked_at"),
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
    _key("ledger_account_id"),
    _reference("branch_id", "branch.branch_id"),
    _text("code"),
    _text("kind"),
    _text("name"),
    _reference("account_id", "account.account_id", nullable=True),
    Index(None, "branch_id", "code"),
)
"""The chart of accounts, and one sub-account per customer where the code asks for one."""

ledger_transaction = Table(
    "ledger_transaction",
    metadata,
    _key("transaction_id"),
    _reference("branch_id", "branch.branch_id"),
    _text("source"),
    _text("idempotency_key"),
    _number("occurred_at"),
    _text("description"),
    _number("chain_number"),
    _text("chain_hash"),
    _number("recorded_at"),
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
    _reference("ledger_account_id", "ledger_account.ledger_account_id"),
    _number("amount_minor"),
    _text("currency"),
    Index(None, "ledger_account_id", "currency"),
)
"""One leg: debit positive, credit negative."""

# Invoices and payments -------------------------------------------------------------------------

document_series = Table(
    "document_series",
    metadata,
    Column("branch_id", Text, ForeignKey("branch.branch_id"), primary_key=True),
    _key("series"),
    _number("last_number"),
)
"""The last number given out; it rises only in the transaction that finalizes a document."""

invoice = Table(
    "invoice",
    metadata,
    _key("invoice_id"),
    _reference("branch_id", "branch.branch_id"),
    _reference("account_id", "account.account_id"),
    _text("series"),
    Column("number", Text),
    _text("status"),
    _number("period_start_at"),
    _number("period_end_at"),
    _maybe("issued_at"),
    Column("due_on", Text),
    _text("currency"),
    _number("subtotal_minor"),
    _number("tax_minor"),
    _number("total_minor"),
    _text("hash"),
    _text("document"),
    _number("paid_minor", default="0"),
    _maybe("paid_at"),
    _text("hold_reason", default=""),
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
    _text("kind"),
    _text("description"),
    _text("rating_key"),
    _text("meter_id"),
    _number("quantity"),
    _text("unit"),
    _number("amount_minor"),
    _text("tax_rate"),
    _text("evidence"),
)
"""kind is recurring, usage, adjustment or tax; evidence is JSON (billing.invoices)."""

billed_charge = Table(
    "billed_charge",
    metadata,
    _key("rating_key"),
    Column("period_start_at", BigInteger, primary_key=True, autoincrement=False),
    Column("segment_number", BigInteger, primary_key=True, autoincrement=False),
    _key("meter_id"),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    _reference("invoice_id", "invoice.invoice_id"),
    _number("amount_minor"),
    _number("true_up_minor", default="0"),
    Index(None, "invoice_id"),
)
"""Which revision of which usage charge was billed where: the key makes it once. true_up_minor
is what finalization added to the days' postings so that unbilled revenue comes to zero."""

payment = Table(
    "payment",
    metadata,
    _key("payment_id"),
    _reference("branch_id", "branch.branch_id"),
    _reference("account_id", "account.account_id"),
    _reference("invoice_id", "invoice.invoice_id"),
    _text("method"),
    _text("reference"),
    _number("amount_minor"),
    _text("currency"),
    _number("received_at"),
    _text("recorded_by"),
    UniqueConstraint("branch_id", "method", "reference"),
    Index(None, "invoice_id"),
)
"""Money received; (method, reference) is the provider's key, so a repeat is no second payment."""

# Acting ----------------------------------------------------------------------------------------

command_request = Table(
    "command_request",
    metadata,
    _key("request_id"),
    _reference("branch_id", "branch.branch_id"),
    _text("subscriber_id"),
    _text("action"),
    _text("profile"),
    _text("requested_by"),
    _number("requested_at"),
    CheckConstraint("action IN ('throttle', 'restore', 'disconnect')", name="action"),
    Index(None, "subscriber_id", "requested_at"),
    Index(None, "requested_at"),
)
"""What a clerk asked for; the office makes commands of it."""

_PENDING = text("outcome = 'pending' AND settled_at IS NULL")
command = Table(
    "command",
    metadata,
    _key("command_id"),
    _text("branch_id", default=""),
    _text("subscriber_id"),
    _text("session_id"),
    _text("nas_id", default=""),
    _text("kind"),
    _text("target"),
    _text("previous_target", default=""),
    _text("profile", default=""),
    _number("attempt"),
    _text("vendor_profile"),
    _maybe("identifier"),
    _maybe("error_cause"),
    _text("outcome"),
    _number("requested_at"),
    _maybe("sent_at"),
    _maybe("acknowledged_at"),
    _maybe("verified_at"),
    _text("reason"),
    _text("desired_hash", default=""),
    _maybe("settled_at"),
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
    _key("notification_id"),
    _text("branch_id", default=""),
    _text("kind"),
    _text("subject_key"),
    _text("channel"),
    _text("recipient"),
    _text("subject"),
    _text("body"),
    _text("outcome"),
    _number("attempts"),
    _number("created_at"),
    _maybe("attempted_at"),
    _maybe("settled_at"),
    _text("reason", default=""),
    Index(None, "outcome"),
    Index(None, "created_at"),
)
"""The outbox: outcome is pending, attempting, delivered, failed or unknown. notification_id is
crossing + channel, so one crossing notifies once."""

office_cursor = Table(
    "office_cursor",
    metadata,
    _key("name"),
    _number("position"),
)
"""How far the office has read an append-only table, in that table's `*_at` ms."""
