"""Branches, accounts, plans, subscribers, pools and subscriptions, within a branch's reach."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, or_, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.parties import Account, Branch, Plan, Pool, Subscriber, Subscription
from api.problems import not_found
from api.reads.directory import pool_members, rating_keys
from billing.adapters import tables

_BRANCH = [tables.branch.c[name] for name in Branch.model_fields]
_ACCOUNT = [tables.account.c[name] for name in Account.model_fields]
_PLAN = [tables.plan.c[name] for name in Plan.model_fields]
_SUBSCRIBER_COLUMNS = (
    "subscriber_id", "branch_id", "account_id", "user_name", "name", "status", "created_at"
)  # fmt: skip
_SUBSCRIBER = [tables.subscriber.c[name] for name in _SUBSCRIBER_COLUMNS]
_SUBSCRIPTION = [tables.subscription.c[n] for n in Subscription.model_fields if n != "events"]


def scoped(statement: Select[Any], table: Any, branch_id: str | None) -> Select[Any]:
    """Return the statement confined to one branch's rows; None confines nothing."""
    return statement if branch_id is None else statement.where(table.c.branch_id == branch_id)


def _mapping(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)


def list_branches(connection: Connection, branch_id: str | None, paging: Paging) -> Slice[Branch]:
    """Return the branches in reach, by id."""
    branch = tables.branch.c
    statement = scoped(select(*_BRANCH), tables.branch, branch_id)
    rows = connection.execute(paged(statement, [branch.branch_id], paging, [str]))
    branches = [Branch(**_mapping(row)) for row in rows]
    return slice_of(branches, paging, lambda b: [b.branch_id])


def get_branch(connection: Connection, branch_id: str | None, wanted: str) -> Branch:
    """Return one branch, or raise a 404 Problem."""
    statement = select(*_BRANCH).where(tables.branch.c.branch_id == wanted)
    row = connection.execute(scoped(statement, tables.branch, branch_id)).one_or_none()
    if row is None:
        raise not_found("branch", wanted)
    return Branch(**_mapping(row))


def list_accounts(
    connection: Connection, branch_id: str | None, paging: Paging, search: str | None = None
) -> Slice[Account]:
    """Return accounts by id; `search` is looked for in name, e-mail and phone."""
    account = tables.account.c
    statement = scoped(select(*_ACCOUNT), tables.account, branch_id)
    if search:
        statement = statement.where(_contains(search, account.name, account.email, account.phone))
    rows = connection.execute(paged(statement, [account.account_id], paging, [str]))
    accounts = [Account(**_mapping(row)) for row in rows]
    return slice_of(accounts, paging, lambda a: [a.account_id])


def get_account(connection: Connection, branch_id: str | None, account_id: str) -> Account:
    """Return one account, or raise a 404 Problem."""
    statement = select(*_ACCOUNT).where(tables.account.c.account_id == account_id)
    row = connection.execute(scoped(statement, tables.account, branch_id)).one_or_none()
    if row is None:
        raise not_found("account", account_id)
    return Account(**_mapping(row))


def list_plans(connection: Connection, branch_id: str | None, paging: Paging) -> Slice[Plan]:
    """Return every version of every plan, by id and version."""
    plan = tables.plan.c
    statement = scoped(select(*_PLAN), tables.plan, branch_id)
    rows = connection.execute(paged(statement, [plan.plan_id, plan.version], paging, [str, int]))
    plans = [_plan(row) for row in rows]
    return slice_of(plans, paging, lambda p: [p.plan_id, p.version])


def get_plan(
    connection: Connection, branch_id: str | None, plan_id: str, version: int | None = None
) -> Plan:
    """Return one version of a plan, the newest where none is named, or raise a 404 Problem."""
    plan = tables.plan.c
    statement = select(*_PLAN).where(plan.plan_id == plan_id)
    if version is not None:
        statement = statement.where(plan.version == version)
    statement = scoped(statement, tables.plan, branch_id).order_by(plan.version.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise not_found("plan", plan_id if version is None else f"{plan_id} version {version}")
    return _plan(row)


def _plan(row: Row[Any]) -> Plan:
    values = _mapping(row)
    return Plan(**{**values, "document": json.loads(values["document"])})


def list_subscribers(
    connection: Connection,
    branch_id: str | None,
    paging: Paging,
    at: int,
    filters: dict[str, str] | None = None,
) -> Slice[Subscriber]:
    """Return subscribers by id; filters are `search`, `status` and `account_id`.

    `search` is looked for in name, user name, id and the addresses of live sessions.
    """
    subscriber = tables.subscriber.c
    statement = scoped(select(*_SUBSCRIBER), tables.subscriber, branch_id)
    for name, value in (filters or {}).items():
        if name == "search":
            statement = statement.where(_is_sought(value))
        else:
            statement = statement.where(subscriber[name] == value)
    rows = connection.execute(paged(statement, [subscriber.subscriber_id], paging, [str]))
    cut = slice_of(rows.all(), paging, lambda row: [row.subscriber_id])
    return Slice(_subscribers(connection, cut.items, at), cut.next_cursor)


def _is_sought(search: str) -> Any:
    subscriber, session = tables.subscriber.c, tables.live_session.c
    by_address = select(session.subscriber_id).where(
        session.framed_address == search, session.ended_at.is_(None)
    )
    words = _contains(search, subscriber.name, subscriber.user_name, subscriber.subscriber_id)
    return or_(words, subscriber.subscriber_id.in_(by_address))


def _contains(search: str, *columns: Any) -> Any:
    return or_(*(func.lower(c).contains(search.lower(), autoescape=True) for c in columns))


def get_subscriber(
    connection: Connection, branch_id: str | None, subscriber_id: str, at: int
) -> Subscriber:
    """Return one subscriber, or raise a 404 Problem."""
    statement = select(*_SUBSCRIBER).where(tables.subscriber.c.subscriber_id == subscriber_id)
    row = connection.execute(scoped(statement, tables.subscriber, branch_id)).one_or_none()
    if row is None:
        raise not_found("subscriber", subscriber_id)
    return _subscribers(connection, [row], at)[0]


def _subscribers(connection: Connection, rows: Sequence[Any], at: int) -> list[Subscriber]:
    ids = [row.subscriber_id for row in rows]
    keys = rating_keys(connection, ids, at)
    plans = _running_plans(connection, set(keys.values()), at)
    services = _desired_services(connection, set(keys.values()))
    subscribers = []
    for row in rows:
        key = keys[row.subscriber_id]
        plan_id, plan_name = plans.get(key, (None, None))
        subscribers.append(
            Subscriber(
                **_mapping(row),
                rating_key=key,
                pool_id=key if key != row.subscriber_id else None,
                plan_id=plan_id,
                plan_name=plan_name,
                service=services.get(key, "active"),
            )
        )
    return subscribers


def _running_plans(connection: Connection, keys: set[str], at: int) -> dict[str, tuple[str, str]]:
    subscription, plan = tables.subscription.c, tables.plan.c
    of_plan = (plan.plan_id == subscription.plan_id) & (plan.version == subscription.plan_version)
    statement = (
        select(subscription.rating_key, plan.plan_id, plan.name)
        .join_from(tables.subscription, tables.plan, of_plan)
        .where(
            subscription.rating_key.in_(keys),
            or_(subscription.ends_at.is_(None), subscription.ends_at > at),
        )
        .order_by(subscription.starts_at.desc())
    )
    return {row.rating_key: (row.plan_id, row.name) for row in connection.execute(statement)}


def _desired_services(connection: Connection, keys: set[str]) -> dict[str, str]:
    desired = tables.desired_service.c
    statement = select(desired.rating_key, desired.target).where(desired.rating_key.in_(keys))
    return {row.rating_key: row.target for row in connection.execute(statement)}


def list_pools(
    connection: Connection, branch_id: str | None, paging: Paging, at: int
) -> Slice[Pool]:
    """Return the pools with their members at an instant, by id."""
    pool = tables.pool.c
    statement = scoped(select(tables.pool), tables.pool, branch_id)
    rows = connection.execute(paged(statement, [pool.pool_id], paging, [str])).all()
    cut = slice_of(rows, paging, lambda row: [row.pool_id])
    return Slice([_pool(connection, row, at) for row in cut.items], cut.next_cursor)


def get_pool(connection: Connection, branch_id: str | None, pool_id: str, at: int) -> Pool:
    """Return one pool with its members at an instant, or raise a 404 Problem."""
    statement = select(tables.pool).where(tables.pool.c.pool_id == pool_id)
    row = connection.execute(scoped(statement, tables.pool, branch_id)).one_or_none()
    if row is None:
        raise not_found("pool", pool_id)
    return _pool(connection, row, at)


def _pool(connection: Connection, row: Row[Any], at: int) -> Pool:
    return Pool(**_mapping(row), members=pool_members(connection, row.pool_id, at))


def list_subscriptions(
    connection: Connection,
    branch_id: str | None,
    paging: Paging,
    filters: dict[str, str] | None = None,
) -> Slice[Subscription]:
    """Return subscriptions by id; filters are `account_id` and `rating_key`."""
    subscription = tables.subscription.c
    statement = scoped(select(*_SUBSCRIPTION), tables.subscription, branch_id)
    for name, value in (filters or {}).items():
        statement = statement.where(subscription[name] == value)
    rows = connection.execute(paged(statement, [subscription.subscription_id], paging, [str]))
    subscriptions = [Subscription(**_mapping(row)) for row in rows]
    return slice_of(subscriptions, paging, lambda s: [s.subscription_id])


def get_subscription(
    connection: Connection, branch_id: str | None, subscription_id: str
) -> Subscription:
    """Return one subscription, or raise a 404 Problem."""
    subscription = tables.subscription.c
    statement = select(*_SUBSCRIPTION).where(subscription.subscription_id == subscription_id)
    row = connection.execute(scoped(statement, tables.subscription, branch_id)).one_or_none()
    if row is None:
        raise not_found("subscription", subscription_id)
    return Subscription(**_mapping(row))


def rating_key_branch(connection: Connection, branch_id: str | None, rating_key: str) -> str:
    """Return the branch of a subscriber or pool by its rating key, or raise a 404 Problem."""
    for table, key in ((tables.subscriber, "subscriber_id"), (tables.pool, "pool_id")):
        statement = select(table.c.branch_id).where(table.c[key] == rating_key)
        found: str | None = connection.scalar(scoped(statement, table, branch_id))
        if found is not None:
            return found
    raise not_found("rating key", rating_key)


def rating_key_account(connection: Connection, rating_key: str) -> str:
    """Return the account that owes for a rating key; it exists (`rating_key_branch`)."""
    for table, key in ((tables.subscriber, "subscriber_id"), (tables.pool, "pool_id")):
        found: str | None = connection.scalar(
            select(table.c.account_id).where(table.c[key] == rating_key)
        )
        if found is not None:
            return found
    raise not_found("rating key", rating_key)


def subscriber_ids(connection: Connection, branch_id: str | None) -> list[str] | None:
    """Return a branch's subscribers for the warehouse, which has no branches; None for all."""
    if branch_id is None:
        return None
    subscriber = tables.subscriber.c
    statement = select(subscriber.subscriber_id).where(subscriber.branch_id == branch_id)
    return list(connection.scalars(statement))
