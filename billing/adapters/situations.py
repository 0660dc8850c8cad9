"""Reads what acting compares: what sessions should get, and what they were told last.

Statements are made once and take their values as one parameter each (`databases.among`).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, literal_column, or_, select

from billing.acting.commands import PENDING, Command, Situation
from billing.acting.desired import (
    ACTIVE,
    BLOCKED,
    PROFILE_PREFIX,
    CommandRequest,
    Desired,
    desired_of,
)
from billing.acting.exchange import CoaTarget
from billing.acting.profiles import VENDOR_PROFILES
from billing.adapters import tables
from billing.adapters.databases import among
from billing.adapters.dunning_tables import dunning_restriction
from billing.catalog import terms_of
from rating.directory import MEMBERSHIP, Entry, standing
from rating.rows import DesiredService, LiveSession

FindTarget = Callable[[LiveSession], CoaTarget | None]
"""Returns where a session's NAS takes CoA, or None where the settings do not say."""

_REQUEST_WINDOW_MS = 86_400_000

_command, _session = tables.command.c, tables.live_session.c
_service, _entry = tables.desired_service.c, tables.directory_entry.c
_subscriber, _request = tables.subscriber.c, tables.command_request.c
_newer = tables.command_request.alias("newer").c
_subscription, _plan = tables.subscription.c, tables.plan.c
_restriction = dunning_restriction.c

COMMAND = [_command[f.name] for f in dataclasses.fields(Command)]
SESSION = [_session[f.name] for f in dataclasses.fields(LiveSession)]

_DECISIONS = select(_service.rating_key, _service.target, _service.decided_at).where(
    _service.decided_at >= bindparam("decided_since_at")
)
_CURRENT_COMMANDS = select(*COMMAND).where(_command.is_current)
# What partial indexes ask for stands in the text: they serve no parameter, which may differ.
_PENDING = (
    select(*COMMAND, *SESSION)
    .join_from(tables.command, tables.live_session, _session.session_id == _command.session_id)
    .where(_command.outcome == literal_column(f"'{PENDING}'"), _command.settled_at.is_(None))
    .order_by(_command.requested_at, _command.command_id)
    .limit(bindparam("limit"))
)
_REQUESTS = select(*(_request[f.name] for f in dataclasses.fields(CommandRequest))).where(
    or_(
        _request.requested_at >= bindparam("recent_since_at"),
        and_(
            _request.action == "throttle",
            ~exists().where(
                _newer.subscriber_id == _request.subscriber_id,
                _newer.action != "disconnect",
                _newer.requested_at > _request.requested_at,
            ),
        ),
    )
)
_MEMBERS = select(_entry.target, _entry.match).where(_entry.kind == MEMBERSHIP)
_NOT_ACTIVE = select(_subscriber.subscriber_id, _subscriber.status).where(
    _subscriber.status.in_(("suspended", "ended")),
    exists().where(
        _session.subscriber_id == _subscriber.subscriber_id, _session.ended_at.is_(None)
    ),
)
_CURRENT_SESSIONS = (
    select(*SESSION)
    .join_from(tables.command, tables.live_session, _session.session_id == _command.session_id)
    .where(_command.is_current)
)
_LIVE_SESSIONS = select(*SESSION).where(_session.ended_at.is_(None))
_MEMBERSHIPS = (
    select(
        _entry.match,
        _entry.entry_id,
        _entry.revision,
        _entry.target,
        _entry.priority,
        _entry.valid_from_at,
        _entry.valid_until_at,
    )
    .where(_entry.kind == MEMBERSHIP)
    .order_by(_entry.entry_id, _entry.revision)
)
_SERVICES = select(*(_service[f.name] for f in dataclasses.fields(DesiredService)))
_SUBSCRIBERS = select(_subscriber.subscriber_id, _subscriber.branch_id, _subscriber.status)
_PLANS = (
    select(_subscription.rating_key, _plan.document)
    .join_from(
        tables.subscription,
        tables.plan,
        and_(_plan.plan_id == _subscription.plan_id, _plan.version == _subscription.plan_version),
    )
    .where(
        _subscription.starts_at <= bindparam("now_ms"),
        or_(_subscription.ends_at.is_(None), _subscription.ends_at > bindparam("now_ms")),
    )
)

_RESTRICTIONS = select(
    _subscriber.subscriber_id, _restriction.profile, _restriction.reason
).join_from(
    dunning_restriction, tables.subscriber, _subscriber.account_id == _restriction.account_id
)

Decision = tuple[str, str, int]
"""Rating key, target and decided_at (ms) of a row of `DesiredService`."""


def read_decisions(connection: Connection, decided_since_at: int) -> set[Decision]:
    """Return what rate has decided since an instant (ms)."""
    rows = connection.execute(_DECISIONS, {"decided_since_at": decided_since_at})
    return {(key, target, decided_at) for key, target, decided_at in rows}


def read_decided_situations(
    connection: Connection, find_target: FindTarget, decisions: Iterable[Decision], now_ms: int
) -> list[Situation]:
    """Return the situations in which some decisions may ask for something, by session id."""
    keys: dict[bool, set[str]] = {True: set(), False: set()}
    for key, target, _ in decisions:
        keys[target == ACTIVE].add(key)
    sessions = live_sessions(connection, members(connection, keys[False]))
    if keys[True]:
        sessions += current_sessions(connection, members(connection, keys[True]))
    subscribers = {session.subscriber_id for session in sessions}
    requests = standing_requests(connection, now_ms, subscribers)
    return situations_of(connection, sessions, requests, find_target, now_ms)


def situations_of(
    connection: Connection,
    found: Iterable[LiveSession],
    requests: Mapping[str, Sequence[CommandRequest]],
    find_target: FindTarget,
    now_ms: int,
) -> list[Situation]:
    """Return the situations of sessions, by session id.

    requests are those of `standing_requests`, of the sessions' subscribers at least.
    """
    sessions = {session.session_id: session for session in found}
    subscribers = {session.subscriber_id for session in sessions.values()} - {""}
    keys = _rating_keys(connection, subscribers, now_ms)
    services = _services(connection, set(keys.values()))
    rows = among(connection, _SUBSCRIBERS, _subscriber.subscriber_id, subscribers)
    known = {subscriber: (branch_id, status) for subscriber, branch_id, status in rows}
    normal = _normal_profiles(connection, set(keys.values()), now_ms)
    latest = {c.session_id: c for c in current_commands(connection, sessions)}
    restricted = restrictions(connection, subscribers)
    situations: list[Situation] = []
    for session_id in sorted(sessions):
        session = sessions[session_id]
        key = keys.get(session.subscriber_id, session.subscriber_id)
        target = find_target(session)
        branch_id, status = known.get(session.subscriber_id, ("", "active"))
        # The status of a line that is its own rating key reached rate as an event, with its own
        # time. Acting itself looks at that of a pool's member.
        wanted = desired_of(
            session,
            services.get(key),
            requests.get(session.subscriber_id, []),
            status="active" if key == session.subscriber_id else status,
        )
        situations.append(
            Situation(
                session,
                branch_id,
                wanted,
                _vendor_profile(target),
                latest.get(session_id),
                normal.get(key, ""),
                restricted.get(session.subscriber_id),
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
    if session_ids is None:
        return [Command(*row) for row in connection.execute(_CURRENT_COMMANDS)]
    rows = among(connection, _CURRENT_COMMANDS, _command.session_id, session_ids)
    return [Command(*row) for row in rows]


def pending_commands(connection: Connection, limit: int) -> list[tuple[Command, LiveSession]]:
    """Return commands that were decided and not sent, oldest first, with their sessions."""
    width = len(COMMAND)
    rows = connection.execute(_PENDING, {"limit": limit})
    return [(Command(*row[:width]), LiveSession(*row[width:])) for row in rows]


def standing_requests(
    connection: Connection, now_ms: int, subscribers: Collection[str] | None = None
) -> dict[str, list[CommandRequest]]:
    """Return the clerks' requests per subscriber, of all or of some, that may still matter.

    That is the newest throttle or restore where it is a throttle, and everything of a day.
    """
    since = {"recent_since_at": now_ms - _REQUEST_WINDOW_MS}
    rows: Iterable[Any] = (
        connection.execute(_REQUESTS, since)
        if subscribers is None
        else among(connection, _REQUESTS, _request.subscriber_id, subscribers, **since)
    )
    found: dict[str, list[CommandRequest]] = defaultdict(list)
    for row in rows:
        request = CommandRequest(*row)
        found[request.subscriber_id].append(request)
    return found


def restrictions(
    connection: Connection, subscribers: Collection[str] | None = None
) -> dict[str, Desired]:
    """Return what dunning holds subscribers to, of all or of some, by subscriber."""
    rows: Iterable[Any] = (
        connection.execute(_RESTRICTIONS)
        if subscribers is None
        else among(connection, _RESTRICTIONS, _subscriber.subscriber_id, subscribers)
    )
    return {
        subscriber: Desired(PROFILE_PREFIX + profile if profile else BLOCKED, reason)
        for subscriber, profile, reason in rows
    }


def members(connection: Connection, keys: Collection[str]) -> set[str]:
    """Return the subscribers whom rating keys, alone or shared, may belong to."""
    return {*keys, *(row.match for row in among(connection, _MEMBERS, _entry.target, keys))}


def statuses_not_active(connection: Connection) -> dict[str, str]:
    """Return the status of subscribers who are suspended or ended and live."""
    return dict(map(tuple, connection.execute(_NOT_ACTIVE)))


def current_sessions(
    connection: Connection, subscribers: Collection[str] | None = None
) -> list[LiveSession]:
    """Return the sessions, live or ended, whose newest command the office follows.

    Of all subscribers, or of some.
    """
    if subscribers is None:
        return [LiveSession(*row) for row in connection.execute(_CURRENT_SESSIONS)]
    rows = among(connection, _CURRENT_SESSIONS, _session.subscriber_id, subscribers)
    return [LiveSession(*row) for row in rows]


def live_sessions(connection: Connection, subscribers: Collection[str]) -> list[LiveSession]:
    """Return the live sessions of subscribers."""
    rows = among(connection, _LIVE_SESSIONS, _session.subscriber_id, subscribers)
    return [LiveSession(*row) for row in rows]


def _rating_keys(connection: Connection, subscribers: set[str], now_ms: int) -> Mapping[str, str]:
    """Return the rating key of each subscriber: its membership's now, else its own id."""
    entries: dict[str, dict[str, Entry]] = defaultdict(dict)
    for match, *values in among(connection, _MEMBERSHIPS, _entry.match, subscribers):
        entry = Entry(*values)
        entries[match][entry.entry_id] = entry  # the greatest revision comes last
    return {
        subscriber: standing(entries[subscriber].values(), now_ms) or subscriber
        for subscriber in subscribers
    }


def _services(connection: Connection, keys: set[str]) -> Mapping[str, DesiredService]:
    """Return rate's newest decision per rating key."""
    rows = among(connection, _SERVICES, _service.rating_key, keys)
    return {row[0]: DesiredService(*row) for row in rows}


def _normal_profiles(connection: Connection, keys: set[str], now_ms: int) -> Mapping[str, str]:
    """Return the normal speed profile of each rating key's plan, where the plan names one."""
    rows = among(connection, _PLANS, _subscription.rating_key, keys, now_ms=now_ms)
    return {key: terms_of(text).speed_profile for key, text in rows}
