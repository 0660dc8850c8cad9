"""Reads which sessions acting has to look at: everything, or what has changed since it last did.

Most of what was commanded stands for weeks. The database answers which sessions have reached a
next step; who wants what is read whole, in few columns, and compared with what was known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from billing.acting.commands import (
    ACKNOWLEDGED,
    COA,
    PENDING,
    SENT,
    VERIFIED,
    Policy,
    Situation,
)
from billing.acting.desired import ACTIVE, CommandRequest, Desired
from billing.adapters import tables
from billing.adapters.databases import among
from billing.adapters.situations import (
    SESSION,
    FindTarget,
    current_sessions,
    live_sessions,
    restrictions,
    situations_of,
    standing_requests,
    statuses_not_active,
)
from rating.directory import MEMBERSHIP
from rating.rows import LiveSession

_command, _session = tables.command.c, tables.live_session.c
_service, _entry = tables.desired_service.c, tables.directory_entry.c

# What partial indexes ask for stands in the text: they serve no parameter, which may differ.
_SERVICES = select(_service.rating_key, _service.target, _service.decided_at).where(
    _service.target != literal_column(f"'{ACTIVE}'")
)
_MEMBERS = select(_entry.target, _entry.match).where(_entry.kind == MEMBERSHIP)
_POOLINGS = (
    select(func.count())
    .select_from(tables.directory_entry)
    .where(_entry.kind == literal_column(f"'{MEMBERSHIP}'"), _entry.target != _entry.match)
)
"""Revisions are only ever added, so their count tells whether anyone joined or left a pool."""
_NOT_FOLLOWED = select(*SESSION).where(
    _session.ended_at.is_(None),
    ~exists().where(_command.session_id == _session.session_id, _command.is_current),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """Whom rate, a clerk or dunning wants elsewhere than active, as it was read.

    services is (target, decided_at) by rating key; members are the subscribers whom each of these
    keys may belong to, read when the directory had so many revisions of memberships in pools
    (poolings); requests, statuses and restrictions are by subscriber.
    """

    services: Mapping[str, tuple[str, int]]
    members: Mapping[str, frozenset[str]]
    poolings: int
    requests: Mapping[str, Sequence[CommandRequest]]
    statuses: Mapping[str, str]
    restrictions: Mapping[str, Desired]

    def subscribers(self) -> set[str]:
        """Return everyone whom they may concern."""
        named = {*self.requests, *self.statuses, *self.restrictions}
        return named.union(*self.members.values())

    def changed_since(self, known: Wishes) -> set[str]:
        """Return the subscribers about whom something else was known."""
        concerned = _changed(self.requests, known.requests)
        concerned |= _changed(self.statuses, known.statuses)
        concerned |= _changed(self.restrictions, known.restrictions)
        for key in _changed(self.services, known.services):
            concerned |= self.members.get(key, known.members.get(key, frozenset()))
        return concerned


def _changed(now: Mapping[str, Any], known: Mapping[str, Any]) -> set[str]:
    """Return the keys that only one of two mappings has, or with another value."""
    return {key for key in now.keys() | known.keys() if now.get(key) != known.get(key)}


def read_wishes(connection: Connection, now_ms: int, known: Wishes | None = None) -> Wishes:
    """Return the wishes that stand.

    Members of keys that known holds are taken from there, unless the directory has grown since.
    """
    services = {
        key: (target, decided_at) for key, target, decided_at in connection.execute(_SERVICES)
    }
    poolings = int(connection.execute(_POOLINGS).scalar_one())
    found: dict[str, frozenset[str]] = {}
    if known is not None and known.poolings == poolings:
        found = {key: those for key, those in known.members.items() if key in services}
    new = services.keys() - found.keys()
    joined: dict[str, set[str]] = {key: {key} for key in new}
    for key, subscriber in among(connection, _MEMBERS, _entry.target, new):
        joined[key].add(subscriber)
    return Wishes(
        services,
        found | {key: frozenset(those) for key, those in joined.items()},
        poolings,
        standing_requests(connection, now_ms),
        statuses_not_active(connection),
        restrictions(connection),
    )


def read_situations(
    connection: Connection, wishes: Wishes, find_target: FindTarget, now_ms: int
) -> list[Situation]:
    """Return all situations in which something may have to be done, by session id.

    These are the sessions that were commanded, and the live ones of subscribers whom rate, a clerk
    or dunning wants elsewhere than active: never all live sessions.
    """
    sessions = [*current_sessions(connection), *live_sessions(connection, wishes.subscribers())]
    return situations_of(connection, sessions, wishes.requests, find_target, now_ms)


def read_changed_situations(
    connection: Connection,
    wishes: Wishes,
    known: Wishes,
    steps: Any,
    find_target: FindTarget,
    now_ms: int,
) -> list[Situation]:
    """Return those of `read_situations` in which something has changed since known was read.

    steps are `due_steps` of the policy. Everything is returned where anyone joined or left a pool.
    What only time changes (a membership or a plan that begins or ends), and the normal speed of
    a plan, are left to the next comparison of everything.
    """
    if wishes.poolings != known.poolings:
        return read_situations(connection, wishes, find_target, now_ms)
    changed = wishes.changed_since(known)
    sessions = [LiveSession(*row) for row in connection.execute(steps, {"now_ms": now_ms})]
    rows = among(connection, _NOT_FOLLOWED, _session.subscriber_id, wishes.subscribers())
    sessions += [LiveSession(*row) for row in rows]
    sessions += current_sessions(connection, changed)
    if not sessions:
        return []
    return situations_of(connection, sessions, wishes.requests, find_target, now_ms)


def due_steps(policy: Policy) -> Any:
    """Return the query of followed sessions whose newest command may have a next step by itself.

    It takes now_ms. It leaves out only those about which `advance` says nothing while their target
    stands: waiting for the exchange or for an interval after the ACK, or settled and kept.
    """
    percent = 100 + policy.tolerance_percent
    limits = {s.name: (s.up_bps * percent, s.down_bps * percent) for s in policy.speeds.values()}
    up = case({name: limit for name, (limit, _) in limits.items()}, value=_command.profile, else_=0)
    down = case(
        {name: limit for name, (_, limit) in limits.items()}, value=_command.profile, else_=0
    )
    is_open = _command.settled_at.is_(None)
    is_answered = _command.outcome.not_in((PENDING, SENT, ACKNOWLEDGED))
    is_decided = and_(
        _command.outcome == ACKNOWLEDGED,
        or_(
            _session.interval_start_at >= _command.acknowledged_at,
            _command.acknowledged_at
            <= bindparam("now_ms", type_=BigInteger) - policy.verify_timeout_ms,
        ),
    )
    is_exceeded = and_(
        _command.outcome == VERIFIED,
        _command.kind == COA,
        _command.target != ACTIVE,
        _session.interval_start_at >= _command.verified_at,
        or_(_session.rate_up_bps * 100 > up, _session.rate_down_bps * 100 > down),
    )
    return (
        select(*SESSION)
        .join_from(tables.command, tables.live_session, _session.session_id == _command.session_id)
        .where(
            _command.is_current,
            or_(
                _session.ended_at.is_not(None),
                and_(is_open, or_(is_answered, is_decided)),
                is_exceeded,
            ),
        )
    )
