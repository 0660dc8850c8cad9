"""Whom we serve, in and out of the database: free functions over a connection.

The caller owns the transaction. A `create_` raises sqlalchemy.exc.IntegrityError where the key
exists or a reference does not; a `find_` returns None where nothing is found; a `list_` returns
at most `limit` records with key > after, ascending, so the last key is the next page's `after`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    insert,
    or_,
    select,
    update,
)

from billing.accounts import (
    Account,
    Branch,
    PlanVersion,
    Pool,
    Subscriber,
    Subscription,
    calendar_of,
)
from billing.adapters import tables
from rating.periods import Calendar
from rating.records import DirectoryEntry

Record = TypeVar("Record")

_TABLES: Mapping[type, Table] = {
    Branch: tables.branch,
    Account: tables.account,
    PlanVersion: tables.plan,
    Subscriber: tables.subscriber,
    Pool: tables.pool,
    Subscription: tables.subscription,
}


def create(connection: Connection, record: Any) -> None:
    """Insert a branch, account, plan version, subscriber, pool or subscription."""
    connection.execute(insert(_TABLES[type(record)]), [dataclasses.asdict(record)])


def find(connection: Connection, record: type[Record], key: str) -> Record | None:
    """Return the record with this id (a plan has its own `find_plan`)."""
    query = _find_query(_TABLES[record].name)
    row = connection.execute(query, {"key": key}).first()
    return _record(record, row) if row else None


@functools.cache
def _find_query(name: str) -> Select[Any]:
    """Return the query of `find` on a table, built once: building costs more than the answer."""
    record = next(record for record, table in _TABLES.items() if table.name == name)
    column = next(iter(_TABLES[record].primary_key.columns))
    return select(*_columns(record)).where(column == bindparam("key"))


def list_of(
    connection: Connection,
    record: type[Record],
    *,
    branch_id: str | None = None,
    after: str = "",
    limit: int = 100,
) -> list[Record]:
    """Return a page of records by ascending id, of one branch or (None) of all."""
    table = _TABLES[record]
    key = next(iter(table.primary_key.columns))
    query = select(*_columns(record)).where(key > after).order_by(key).limit(limit)
    if branch_id is not None:
        query = query.where(table.c.branch_id == branch_id)
    return [_record(record, row) for row in connection.execute(query)]


def find_plan(connection: Connection, plan_id: str, version: int) -> PlanVersion | None:
    """Return one version of a plan."""
    plan = tables.plan.c
    query = select(*_columns(PlanVersion)).where(plan.plan_id == plan_id, plan.version == version)
    row = connection.execute(query).first()
    return _record(PlanVersion, row) if row else None


def find_calendar(connection: Connection, account_id: str) -> Calendar:
    """Return the calendar of an account. LookupError where there is no such account."""
    account = find(connection, Account, account_id)
    branch = find(connection, Branch, account.branch_id) if account else None
    if account is None or branch is None:
        raise LookupError(f"{account_id} does not exist")
    return calendar_of(account, branch)


def end_subscription(connection: Connection, subscription_id: str, ends_at: int) -> None:
    """Set when a running subscription ends (ms); one that has ended stays as it is."""
    table = tables.subscription
    connection.execute(
        update(table)
        .where(table.c.subscription_id == subscription_id, table.c.ends_at.is_(None))
        .values(ends_at=ends_at)
    )


def subscriptions_in(
    connection: Connection, account_id: str, start_at: int, end_at: int
) -> list[Subscription]:
    """Return an account's subscriptions that touch [start_at, end_at) ms, by id."""
    bounds = {"account_id": account_id, "start_at": start_at, "end_at": end_at}
    rows = connection.execute(_touching_query(), bounds)
    return [_record(Subscription, row) for row in rows]


@functools.cache
def _touching_query() -> Select[Any]:
    """Return the query of `subscriptions_in`."""
    table = tables.subscription.c
    return (
        select(*_columns(Subscription))
        .where(
            table.account_id == bindparam("account_id"),
            table.starts_at < bindparam("end_at"),
            or_(table.ends_at.is_(None), table.ends_at > bindparam("start_at")),
        )
        .order_by(table.subscription_id)
    )


def runs_on(account_id: Any, now_ms: int) -> ColumnElement[bool]:
    """Return whether an account (a column) has a subscription that ends after now_ms, or never."""
    other = tables.subscription.alias().c
    goes_on = or_(other.ends_at.is_(None), other.ends_at > now_ms)
    return select(other.subscription_id).where(other.account_id == account_id, goes_on).exists()


def create_directory_entry(connection: Connection, branch_id: str, entry: DirectoryEntry) -> None:
    """Insert one revision of a directory entry; the topic row is the caller's."""
    values = dataclasses.asdict(entry) | {"branch_id": branch_id}
    connection.execute(insert(tables.directory_entry), [values])


def subject_names(connection: Connection, rating_keys: Sequence[str]) -> dict[str, str]:
    """Return what to print for rating keys: a pool's or subscriber's name, else the key itself."""
    names = {key: key for key in rating_keys}
    if not names:
        return names
    for table, key in (
        (tables.subscriber, tables.subscriber.c.subscriber_id),
        (tables.pool, tables.pool.c.pool_id),
    ):
        query = select(key, table.c.name).where(key.in_(list(names)))
        names |= {found: name for found, name in connection.execute(query) if name}
    return names


def _columns(record: type) -> list[Any]:
    """Return the columns of a record's table, in the order of its fields."""
    table = _TABLES[record]
    return [table.c[field.name] for field in dataclasses.fields(record)]


def _record(record: type[Record], row: Row[Any]) -> Record:
    """Return a record from a row of `_columns`."""
    make: Callable[..., Record] = record
    return make(*row)
