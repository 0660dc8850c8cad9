"""Live sessions, counters, balances and what matched nobody."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Connection, Row, func, select

from api import ports
from api.cursors import Paging, Slice, paged, slice_of
from api.instants import MINUTE_MS
from api.models.billing import Balance
from api.models.usage import Counter, FlowQuality, Session, Unattributed, UsageNow
from api.models.values import Money
from billing.adapters import tables

_SESSION = [tables.live_session.c[name] for name in Session.model_fields]


def _in_branch(branch_id: str) -> Any:
    subscriber = tables.subscriber.c
    return select(subscriber.subscriber_id).where(subscriber.branch_id == branch_id)


def keys_in_branch(branch_id: str) -> Any:
    """Return a subquery of the rating keys with a subscription in the branch."""
    subscription = tables.subscription.c
    return select(subscription.rating_key).where(subscription.branch_id == branch_id)


def quality_of(found: ports.FlowQuality) -> FlowQuality:
    """Return a step of flow usage with the share of it that may be missing."""
    whole = found.octets + found.octets_missing
    permille = found.octets_missing * 1000 // whole if whole > 0 else 0
    return FlowQuality(**dataclasses.asdict(found), missing_permille=permille)


def usage_now(
    connection: Connection, branch_id: str | None, at: int, subscriber_id: str | None = None
) -> UsageNow:
    """Return the sum over live sessions, each at the mean rate of its last interval."""
    session = tables.live_session.c
    statement = select(
        func.coalesce(func.sum(session.rate_down_bps), 0),
        func.coalesce(func.sum(session.rate_up_bps), 0),
        func.count(),
        func.count(session.subscriber_id.distinct()),
    ).where(session.ended_at.is_(None))
    if branch_id is not None:
        statement = statement.where(session.subscriber_id.in_(_in_branch(branch_id)))
    if subscriber_id is not None:
        statement = statement.where(session.subscriber_id == subscriber_id)
    down, up, sessions, subscribers = connection.execute(statement).one()
    return UsageNow(
        measured_at=at,
        rate_down_bps=int(down),
        rate_up_bps=int(up),
        sessions=sessions,
        subscribers=subscribers,
    )


def list_sessions(
    connection: Connection,
    branch_id: str | None,
    paging: Paging,
    subscriber_id: str | None = None,
    state: str = "all",
) -> Slice[Session]:
    """Return sessions, the latest started first; state is live, ended or all."""
    session = tables.live_session.c
    statement = select(*_SESSION)
    if branch_id is not None:
        statement = statement.where(session.subscriber_id.in_(_in_branch(branch_id)))
    if subscriber_id is not None:
        statement = statement.where(session.subscriber_id == subscriber_id)
    if state != "all":
        lives = session.ended_at.is_(None)
        statement = statement.where(lives if state == "live" else ~lives)
    columns = [session.started_at, session.session_id]
    rows = connection.execute(paged(statement, columns, paging, [int, str], descending=True))
    sessions = [Session(**row._mapping) for row in rows]
    return slice_of(sessions, paging, lambda s: [s.started_at, s.session_id])


def list_counters(
    connection: Connection,
    branch_id: str | None,
    rating_key: str | None,
    at: int,
    paging: Paging,
) -> Slice[Counter]:
    """Return the counters of the periods that are open at an instant, by key."""
    counter = tables.usage_counter.c
    statement = select(tables.usage_counter).where(
        counter.period_start_at <= at, counter.period_end_at > at
    )
    if branch_id is not None:
        statement = statement.where(counter.rating_key.in_(keys_in_branch(branch_id)))
    if rating_key is not None:
        statement = statement.where(counter.rating_key == rating_key)
    columns = [
        counter.rating_key,
        counter.period_start_at,
        counter.segment_number,
        counter.meter_id,
    ]
    rows = connection.execute(paged(statement, columns, paging, [str, int, int, str]))
    counters = [counter_of(row) for row in rows]
    return slice_of(
        counters,
        paging,
        lambda c: [c.rating_key, c.period_start_at, c.segment_number, c.meter_id],
    )


def counter_of(row: Row[Any]) -> Counter:
    """Return a row of usage_counter with how much of its allowance is used."""
    allowance = row.allowance
    return Counter(
        rating_key=row.rating_key,
        period_start_at=row.period_start_at,
        period_end_at=row.period_end_at,
        segment_number=row.segment_number,
        meter_id=row.meter_id,
        plan_id=row.plan_id,
        plan_version=row.plan_version,
        quantity=row.quantity,
        allowance=allowance,
        used_permille=row.quantity * 1000 // allowance if allowance else None,
        amount=Money.of(row.amount_minor, row.currency),
        updated_at=row.updated_at,
    )


def balances(connection: Connection, rating_key: str) -> list[Balance]:
    """Return a rating key's prepaid balances, one per currency."""
    balance = tables.balance.c
    statement = select(tables.balance).where(balance.rating_key == rating_key)
    rows = connection.execute(statement.order_by(balance.currency))
    return [
        Balance(
            rating_key=row.rating_key,
            amount=Money.of(row.amount_minor, row.currency),
            updated_at=row.updated_at,
        )
        for row in rows
    ]


def list_unattributed(
    connection: Connection, from_at: int, until_at: int, paging: Paging
) -> Slice[Unattributed]:
    """Return what matched nobody in [from_at, until_at), per source and detail."""
    missed = tables.unattributed_minute.c
    grouped = (
        select(
            missed.source,
            missed.detail,
            func.sum(missed.octets_up).label("octets_up"),
            func.sum(missed.octets_down).label("octets_down"),
            func.min(missed.minute).label("first"),
            func.max(missed.minute).label("last"),
            func.count().label("minutes"),
        )
        .where(missed.minute >= from_at // MINUTE_MS, missed.minute < -(-until_at // MINUTE_MS))
        .group_by(missed.source, missed.detail)
        .subquery()
    )
    columns = [grouped.c.source, grouped.c.detail]
    rows = connection.execute(paged(select(grouped), columns, paging, [str, str]))
    items = [
        Unattributed(
            source=row.source,
            detail=row.detail,
            octets_up=int(row.octets_up),
            octets_down=int(row.octets_down),
            first_at=row.first * MINUTE_MS,
            last_at=row.last * MINUTE_MS,
            minutes=row.minutes,
        )
        for row in rows
    ]
    return slice_of(items, paging, lambda u: [u.source, u.detail])
