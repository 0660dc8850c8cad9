"""The outbox: one row per crossing and channel; deliveries happen outside any transaction.

An attempt is recorded before it is made. What became of one that was cut off by a crash is
unknown: it is repeated only where the channel takes an idempotency key (DESIGN §8), since two
warnings about one bill are worse than none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from billing.acting.commands import Command
from billing.acting.notices import Notice, alert_notice, failure_notice
from billing.adapters import tables
from rating.rows import Alert

PENDING = "pending"
ATTEMPTING = "attempting"
DELIVERED = "delivered"
FAILED = "failed"
UNKNOWN = "unknown"

LOG = "log"
SMTP = "smtp"
WEBHOOK = "webhook"


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """One row of the outbox that is to be delivered now; attempts counts this one too."""

    notification_id: str
    channel: str
    kind: str
    recipient: str
    subject: str
    body: str
    attempts: int


def enqueue(
    connection: Connection, notices: Sequence[Notice], channels: Sequence[str], now_ms: int
) -> int:
    """Write each notice once per channel; return how many rows were new.

    Mail is left out where the notice has nobody to write to.
    """
    table = tables.notification
    rows = [
        _row(notice, channel, now_ms)
        for notice in notices
        for channel in channels
        if notice.recipient or channel != SMTP
    ]
    fresh = []
    for row in rows:
        known = select(table.c.notification_id).where(
            table.c.notification_id == row["notification_id"]
        )
        if connection.execute(known).first() is None:
            fresh.append(row)
    if fresh:
        connection.execute(insert(table), fresh)
    return len(fresh)


def new_alerts(
    connection: Connection, raised_since_at: int, channels: Sequence[str], limit: int
) -> list[Notice]:
    """Return notices of alerts raised since (ms) that the outbox lacks, oldest first.

    channels[0] is one that takes every notice: its row says that the outbox has it.
    """
    alert, subscription, account = tables.alert.c, tables.subscription.c, tables.account.c
    noticed = tables.notification.c
    is_noticed = (
        select(noticed.notification_id)
        .where(noticed.notification_id == "alert:" + alert.alert_id + ":" + channels[0])
        .exists()
    )
    query = (
        select(
            *(alert[field.name] for field in dataclasses.fields(Alert)),
            account.branch_id,
            account.name,
            account.email,
        )
        .select_from(tables.alert)
        .join(
            tables.subscription,
            and_(
                subscription.rating_key == alert.rating_key,
                subscription.starts_at <= alert.raised_at,
                or_(subscription.ends_at.is_(None), subscription.ends_at > alert.raised_at),
            ),
        )
        .join(tables.account, account.account_id == subscription.account_id)
        .where(alert.raised_at >= raised_since_at, ~is_noticed)
        .order_by(alert.raised_at, alert.alert_id)
        .limit(limit)
    )
    width = len(dataclasses.fields(Alert))
    return [alert_notice(Alert(*row[:width]), *row[width:]) for row in connection.execute(query)]


def newest_alert_at(connection: Connection) -> int | None:
    """Return when the newest alert was raised (ms), or None."""
    newest = connection.scalar(select(func.max(tables.alert.c.raised_at)))
    return None if newest is None else int(newest)


def failure_notices(commands: Sequence[Command], operator_email: str) -> list[Notice]:
    """Return notices to the operator about commands that failed for good."""
    return [
        failure_notice(command, operator_email)
        for command in commands
        if command.outcome == "failed" and command.settled_at is not None
    ]


def count_pending(connection: Connection) -> int:
    """Return how many rows wait for a delivery, due or not."""
    table = tables.notification
    query = select(func.count()).select_from(table).where(table.c.outcome == PENDING)
    return int(connection.scalar(query) or 0)


def take_due(connection: Connection, *, now_ms: int, retry_ms: int, limit: int) -> list[Delivery]:
    """Mark the due rows as attempted and return them; call before the delivery, then commit."""
    table = tables.notification
    is_due = or_(
        table.c.attempted_at.is_(None),
        table.c.attempted_at <= now_ms - retry_ms,
    )
    query = (
        select(table)
        .where(table.c.outcome == PENDING, is_due)
        .order_by(table.c.created_at, table.c.notification_id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    for row in rows:
        connection.execute(
            update(table)
            .where(table.c.notification_id == row.notification_id)
            .values(outcome=ATTEMPTING, attempts=row.attempts + 1, attempted_at=now_ms)
        )
    return [
        Delivery(
            row.notification_id,
            row.channel,
            row.kind,
            row.recipient,
            row.subject,
            row.body,
            row.attempts + 1,
        )
        for row in rows
    ]


def settle(
    connection: Connection,
    delivery: Delivery,
    *,
    outcome: str,
    reason: str,
    now_ms: int,
) -> None:
    """Record what became of a delivery; PENDING means: try again later."""
    table = tables.notification
    settled_at = None if outcome == PENDING else now_ms
    connection.execute(
        update(table)
        .where(table.c.notification_id == delivery.notification_id)
        .values(outcome=outcome, reason=reason, settled_at=settled_at)
    )


def recover(connection: Connection, idempotent_channels: Sequence[str], now_ms: int) -> None:
    """After a restart: repeat cut-off attempts where that is harmless, else mark them unknown."""
    table = tables.notification
    cut_off = update(table).where(table.c.outcome == ATTEMPTING)
    connection.execute(
        cut_off.where(table.c.channel.in_(list(idempotent_channels))).values(outcome=PENDING)
    )
    connection.execute(
        cut_off.where(table.c.channel.not_in(list(idempotent_channels))).values(
            outcome=UNKNOWN,
            settled_at=now_ms,
            reason="the office stopped during the attempt; it is not repeated",
        )
    )


def _row(notice: Notice, channel: str, now_ms: int) -> Mapping[str, Any]:
    """Return the outbox row of a notice on one channel."""
    return {
        "notification_id": f"{notice.kind}:{notice.subject_key}:{channel}",
        "branch_id": notice.branch_id,
        "kind": notice.kind,
        "subject_key": notice.subject_key,
        "channel": channel,
        "recipient": notice.recipient,
        "subject": notice.subject,
        "body": notice.body,
        "outcome": PENDING,
        "attempts": 0,
        "created_at": now_ms,
        "attempted_at": None,
        "settled_at": None,
        "reason": "",
    }
