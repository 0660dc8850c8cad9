"""Alerts, commands, account events' results, and how the installation is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.acting import Alert, Command, Process, Status, Watermark
from api.models.values import EventStatus, status_url
from api.ports import Services
from api.problems import not_found
from api.reads.parties import scoped
from api.reads.usage import keys_in_branch
from api.tables import account_event_sent
from billing.adapters import tables


def list_alerts(
    connection: Connection,
    branch_id: str | None,
    paging: Paging,
    rating_keys: Sequence[str] | None = None,
) -> Slice[Alert]:
    """Return alerts, the newest first; rating_keys None means everyone's."""
    alert, subscriber, pool = tables.alert, tables.subscriber, tables.pool
    name = func.coalesce(subscriber.c.name, pool.c.name, alert.c.rating_key)
    statement = (
        select(alert, name.label("name"), subscriber.c.subscriber_id)
        .outerjoin_from(alert, subscriber, subscriber.c.subscriber_id == alert.c.rating_key)
        .outerjoin(pool, pool.c.pool_id == alert.c.rating_key)
    )
    if branch_id is not None:
        statement = statement.where(alert.c.rating_key.in_(keys_in_branch(branch_id)))
    if rating_keys is not None:
        statement = statement.where(alert.c.rating_key.in_(rating_keys))
    columns = [alert.c.raised_at, alert.c.alert_id]
    rows = connection.execute(paged(statement, columns, paging, [int, str], descending=True))
    alerts = [Alert(**row._mapping) for row in rows]
    return slice_of(alerts, paging, lambda a: [a.raised_at, a.alert_id])


_COMMAND = [tables.command.c[name] for name in Command.model_fields if name != "subscriber_name"]


def list_commands(
    connection: Connection,
    branch_id: str | None,
    paging: Paging,
    filters: dict[str, str] | None = None,
) -> Slice[Command]:
    """Return commands, the newest first; filters are `subscriber_id` and `outcome`."""
    command, subscriber = tables.command, tables.subscriber
    name = func.coalesce(subscriber.c.name, command.c.subscriber_id)
    statement = select(*_COMMAND, name.label("subscriber_name")).outerjoin_from(
        command, subscriber, subscriber.c.subscriber_id == command.c.subscriber_id
    )
    if branch_id is not None:
        statement = statement.where(subscriber.c.branch_id == branch_id)
    for column, value in (filters or {}).items():
        statement = statement.where(command.c[column] == value)
    columns = [command.c.requested_at, command.c.command_id]
    rows = connection.execute(paged(statement, columns, paging, [int, str], descending=True))
    commands = [Command(**row._mapping) for row in rows]
    return slice_of(commands, paging, lambda c: [c.requested_at, c.command_id])


def find_event_status(connection: Connection, branch_id: str | None, event_id: str) -> EventStatus:
    """Return an account event's status, or raise a 404 Problem for one that nobody here sent."""
    sent = account_event_sent
    known = scoped(select(sent.c.event_id).where(sent.c.event_id == event_id), sent, branch_id)
    if connection.execute(known).first() is None:
        raise not_found("account event", event_id)
    return event_status(connection, event_id)


def event_status(connection: Connection, event_id: str) -> EventStatus:
    """Return what rate answered to an account event that was sent; pending until it has."""
    result = tables.account_event_result
    row = connection.execute(select(result).where(result.c.event_id == event_id)).one_or_none()
    if row is None:
        return EventStatus.pending(event_id)
    return EventStatus(**row._mapping, status_url=status_url(event_id))


def installation_status(services: Services) -> Status:
    """Return the processes and watermarks as the supervisor and the engine wrote them."""
    now = services.now_ms()
    document = services.read_processes()
    processes = _processes(document or {}, now)
    watermarks = [
        _watermark(stage, at, now, services.config.process_stale_seconds)
        for stage, at in sorted(services.read_watermarks().items())
    ]
    down = any(process.state != "running" for process in processes)
    stalled = any(watermark.stalled for watermark in watermarks)
    return Status(
        now=now,
        healthy=not down and not stalled,
        mode="cluster" if services.is_cluster else "embedded",
        supervised=document is not None,
        processes=processes,
        watermarks=watermarks,
    )


def _processes(document: Mapping[str, Any], now: int) -> list[Process]:
    """Read supervisor.json: ``{"processes": [{name, state, started_at, restarts, last_exit}]}``."""
    processes = []
    for entry in document.get("processes", []):
        restarts = int(entry.get("restarts", 0))
        started_at = entry.get("started_at")
        again = restarts > 0 and started_at is not None
        processes.append(
            Process(
                name=str(entry["name"]),
                state=str(entry.get("state", "unknown")),
                started_at=started_at,
                restarts=restarts,
                restarted_seconds_ago=max(0, now - started_at) // 1000 if again else None,
                reason=str(entry.get("last_exit", "")),
            )
        )
    return processes


def _watermark(stage: str, at: int, now: int, stale_seconds: int) -> Watermark:
    behind = max(0, now - at) // 1000
    return Watermark(stage=stage, at=at, behind_seconds=behind, stalled=behind > stale_seconds)
