"""Reads what acting compares: what sessions should get, and what they were told last."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, exists, or_, select

from billing.acting.commands import Command, Situation
from billing.acting.desired import ACTIVE, CommandRequest, desired_of
from billing.acting.exchange import CoaTarget
from billing.acting.profiles import VENDOR_PROFILES
from billing.adapters import tables
from billing.catalog import terms_of
from rating.directory import MEMBERSHIP, Entry, standing
from rating.rows import DesiredService, LiveSession

FindTarget = Callable[[LiveSession], CoaTarget | None]
"""Returns where a session's NAS takes CoA, or None where the settings do not say."""

_KEYS_PER_QUERY = 400
_REQUEST_WINDOW_MS = 86_400_000
_SESSION = [tables.live_session.c[f.name] for f in dataclasses.fields(LiveSession)]
_COMMAND = [tables.command.c[f.name] for f in dataclasses.fields(Command)]
_REQUEST = [tables.command_request.c[f.name] for f in dataclasses.fields(CommandRequest)]


def read_situations(
    connection: Connection, find_target: FindTarget, now_ms: int
) -> list[Situation]:
    """Return the situations in which something may have to be done, by session id.

    These are the sessions that were commanded, and the live ones of subscribers whom rate or a
    clerk wants elsewhere than active: never all live sessions.
    """
    requests = _standing_requests(connection, now_ms)
    statuses = _statuses_not_active(connection)
    service = tables.desired_service.c
    keys = set(connection.scalars(select(service.rating_key).where(service.target != ACTIVE)))
    acting_on = _members(connection, keys) | set(requests) | set(statuses)
    sessions = [*_current_sessions(connection), *_live_sessions(connection, acting_on)]
    return _situations(connection, sessions, requests, statuses, find_target, now_ms)


def read_decisions(connection: Connection, decided_since_at: int) -> set[tuple[str, str, int]]:
    """Return (rating key, target, decided_at) of what rate has decided since an instant (ms)."""
    service = tables.desired_service.c
    query = select(service.rating_key, service.target, service.decided_at).where(
        service.decided_at >= decided_since_at
    )
    return {(row.rating_key, row.target, row.decided_at) for row in connection.execute(query)}


def read_decided_situations(
    connection: Connection,
    find_target: FindTarget,
    decisions: Iterable[tuple[str, str, int]],
    now_ms: int,
) -> list[Situation]:
    """Return those of `read_situations` that some decisions are about."""
    keys: dict[bool, set[str]] = {True: set(), False: set()}
    for key, target, _ in decisions:
        keys[target == ACTIVE].add(key)
    sessions = _live_sessions(connection, _members(connection, keys[False]))
    sessions += _current_sessions(connection, _members(connection, keys[True]))
    subscribers = {session.subscriber_id for session in sessions}
    requests = _standing_requests(connection, now_ms, subscribers)
    statuses = _statuses_not_active(connection, subscribers)
    return _situations(connection, sessions, requests, statuses, find_target, now_ms)


def _situations(
    connection: Connection,
    found: Iterable[LiveSession],
    requests: Mapping[str, Sequence[CommandRequest]],
    statuses: Mapping[str, str],
    find_target: FindTarget,
    now_ms: int,
) -> list[Situation]:
    sessions = {session.session_id: session for session in found}
    subscribers = {session.subscriber_id for session in sessions.values()} - {""}
    keys = _rating_keys(connection, subscribers, now_ms)
    services = _services(connection, set(keys.values()))
    branches = _branches(connection, subscribers)
    normal = _normal_profiles(connection, set(keys.values()), now_ms)
    latest = {c.session_id: c for c in current_commands(connection, sessions)}
    situations: list[Situation] = []
    for session_id in sorted(sessions):
        session = sessions[session_id]
        key = keys.get(session.subscriber_id, session.subscriber_id)
        target = find_target(session)
        wanted = desired_of(
            session,
            services.get(key),
            requests.get(session.subscriber_id, []),
            status=_status_beside_rate(session.subscriber_id, key, statuses),
        )
        situations.append(
            Situation(
                session,
                branches.get(session.subscriber_id, ""),
                wanted,
                _vendor_profile(target),
                latest.get(session_id),
                normal.get(key, ""),
            )
        )
    return situations


def _vendor_profile(target: CoaTarget | None) -> str | None:
    """Return a target's vendor profile; None where there is no target or we lack its profile."""
    return target.vendor_profile if target and target.vendor_profile in VENDOR_PROFILES else None


def current_commands(
    connection: Connection, session_ids: Collection[str] | None = None
) -> list[Command]:
    """Return the newest command of each session that the office follows, or of some of them."""
    query = select(*_COMMAND).where(tables.command.c.is_current)
    rows = _rows_in(connection, query, tables.command.c.session_id, session_ids)
    return [Command(*row) for row in rows]


def pending_commands(connection: Connection, limit: int) -> list[tuple[Command, LiveSession]]:
    """Return commands that were decided and not sent, oldest first, with their sessions."""
    command = tables.command.c
    query = (
        select(*_COMMAND, *_SESSION)
        .join_from(
            tables.command,
            tables.live_session,
            tables.live_session.c.session_id == command.session_id,
        )
        .where(command.outcome == "pending", command.settled_at.is_(None))
        .order_by(command.requested_at, command.command_id)
        .limit(limit)
    )
    width = len(_COMMAND)
    return [(Command(*row[:width]), LiveSession(*row[width:])) for row in connection.execute(query)]


def _rows_in(
    connection: Connection, query: Any, column: Any, values: Iterable[str] | None
) -> Iterator[Any]:
    """Yield a query's rows whose column has one of the values, whatever it has where None."""
    if values is None:
        yield from connection.execute(query)
        return
    ordered = sorted(values)
    for start in range(0, len(ordered), _KEYS_PER_QUERY):
        some = ordered[start : start + _KEYS_PER_QUERY]
        yield from connection.execute(query.where(column.in_(some)))


def _standing_requests(
    connection: Connection, now_ms: int, subscribers: Collection[str] | None = None
) -> Mapping[str, Sequence[CommandRequest]]:
    """Return the clerks' requests per subscriber, of all or of some, that may still matter.

    That is the newest throttle or restore where it is a throttle, and everything of a day.
    """
    request, newer = tables.command_request.c, tables.command_request.alias("newer").c
    is_standing_throttle = and_(
        request.action == "throttle",
        ~exists().where(
            newer.subscriber_id == request.subscriber_id,
            newer.action != "disconnect",
            newer.requested_at > request.requested_at,
        ),
    )
    is_recent = request.requested_at >= now_ms - _REQUEST_WINDOW_MS
    found: dict[str, list[CommandRequest]] = defaultdict(list)
    query = select(*_REQUEST).where(or_(is_standing_throttle, is_recent))
    for row in _rows_in(connection, query, request.subscriber_id, subscribers):
        found[row.subscriber_id].append(CommandRequest(*row))
    return found


def _members(connection: Connection, keys: set[str]) -> set[str]:
    """Return the subscribers whom rating keys, alone or shared, may belong to."""
    entry = tables.directory_entry.c
    query = select(entry.match).where(entry.kind == MEMBERSHIP)
    return keys | {row.match for row in _rows_in(connection, query, entry.target, keys)}


def _statuses_not_active(
    connection: Connection, subscribers: Collection[str] | None = None
) -> Mapping[str, str]:
    """Return the status of subscribers, of all or of some, who are suspended or ended and live."""
    subscriber, session = tables.subscriber.c, tables.live_session.c
    lives = exists().where(
        session.subscriber_id == subscriber.subscriber_id, session.ended_at.is_(None)
    )
    query = select(subscriber.subscriber_id, subscriber.status).where(
        subscriber.status.in_(("suspended", "ended")), lives
    )
    rows = _rows_in(connection, query, subscriber.subscriber_id, subscribers)
    return {row.subscriber_id: row.status for row in rows}


def _status_beside_rate(subscriber_id: str, rating_key: str, statuses: Mapping[str, str]) -> str:
    """Return the status that acting itself looks at: a pool member's.

    The status of a line that is its own rating key reached rate as an event, with its own time.
    """
    return "active" if subscriber_id == rating_key else statuses.get(subscriber_id, "active")


def _current_sessions(
    connection: Connection, subscribers: set[str] | None = None
) -> list[LiveSession]:
    """Return the sessions, live or ended, whose newest command the office follows.

    Of all subscribers, or of some.
    """
    session, command = tables.live_session.c, tables.command.c
    query = (
        select(*_SESSION)
        .join_from(tables.command, tables.live_session, session.session_id == command.session_id)
        .where(command.is_current)
    )
    rows = _rows_in(connection, query, session.subscriber_id, subscribers)
    return [LiveSession(*row) for row in rows]


def _live_sessions(connection: Connection, subscribers: set[str]) -> list[LiveSession]:
    """Return the live sessions of subscribers."""
    session = tables.live_session.c
    query = select(*_SESSION).where(session.ended_at.is_(None))
    rows = _rows_in(connection, query, session.subscriber_id, subscribers)
    return [LiveSession(*row) for row in rows]


def _rating_keys(connection: Connection, subscribers: set[str], now_ms: int) -> Mapping[str, str]:
    """Return the rating key of each subscriber: its membership's now, else its own id."""
    columns = tables.directory_entry.c
    entries: dict[str, dict[str, Entry]] = defaultdict(dict)
    query = (
        select(
            columns.match,
            columns.entry_id,
            columns.revision,
            columns.target,
            columns.priority,
            columns.valid_from_at,
            columns.valid_until_at,
        )
        .where(columns.kind == MEMBERSHIP)
        .order_by(columns.entry_id, columns.revision)
    )
    for match, *values in _rows_in(connection, query, columns.match, subscribers):
        entry = Entry(*values)
        entries[match][entry.entry_id] = entry  # the greatest revision comes last
    return {
        subscriber: standing(entries[subscriber].values(), now_ms) or subscriber
        for subscriber in subscribers
    }


def _services(connection: Connection, keys: set[str]) -> Mapping[str, DesiredService]:
    """Return rate's newest decision per rating key."""
    service = tables.desired_service.c
    query = select(*(service[f.name] for f in dataclasses.fields(DesiredService)))
    rows = _rows_in(connection, query, service.rating_key, keys)
    return {row.rating_key: DesiredService(*row) for row in rows}


def _branches(connection: Connection, subscribers: set[str]) -> Mapping[str, str]:
    """Return the branch of each subscriber."""
    table = tables.subscriber.c
    query = select(table.subscriber_id, table.branch_id)
    rows = _rows_in(connection, query, table.subscriber_id, subscribers)
    return {row.subscriber_id: row.branch_id for row in rows}


def _normal_profiles(connection: Connection, keys: set[str], now_ms: int) -> Mapping[str, str]:
    """Return the normal speed profile of each rating key's plan, where the plan names one."""
    subscription, plan = tables.subscription.c, tables.plan.c
    query = (
        select(subscription.rating_key, plan.document)
        .join_from(
            tables.subscription,
            tables.plan,
            and_(plan.plan_id == subscription.plan_id, plan.version == subscription.plan_version),
        )
        .where(
            subscription.starts_at <= now_ms,
            or_(subscription.ends_at.is_(None), subscription.ends_at > now_ms),
        )
    )
    rows = _rows_in(connection, query, subscription.rating_key, keys)
    return {key: terms_of(text).speed_profile for key, text in rows}
