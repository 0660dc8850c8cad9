"""Posts each meter's local day to the ledger once (DESIGN §7)."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    func,
    select,
)

from billing.accounts import Account, Branch
from billing.adapters import ledger, tables
from billing.adapters.invoice_inputs import read_terms
from billing.adapters.repositories import find
from billing.ledger import Transaction
from billing.postings import usage_day_transaction
from rating.periods import day_end_at
from rating.rows import UsageDay

_DAY_COLUMNS = [tables.usage_day.c[f.name] for f in dataclasses.fields(UsageDay)]
_KEY_PARTS = ("rating_key", "meter_id", "period_start_at", "segment_number", "day_on", "revision")


def unposted_days(connection: Connection, *, posted_since_at: int, limit: int) -> list[UsageDay]:
    """Return days with a cost that the ledger lacks, among rows written since (ms), by time."""
    day = tables.usage_day.c
    query = (
        select(*_DAY_COLUMNS)
        .where(day.posted_at >= posted_since_at, day.amount_minor != 0, ~_is_posted())
        .order_by(day.posted_at, day.rating_key, day.meter_id, day.day_on, day.revision)
        .limit(limit)
    )
    return [UsageDay(*row) for row in connection.execute(query)]


def unposted_days_of(
    connection: Connection, rating_key: str, period_start_at: int
) -> list[UsageDay]:
    """Return a period's days with a cost that the ledger lacks."""
    key = {"rating_key": rating_key, "period_start_at": period_start_at}
    return [UsageDay(*row) for row in connection.execute(_unposted_query(), key)]


@functools.cache
def _unposted_query() -> Select[Any]:
    """Return the query of `unposted_days_of`."""
    day = tables.usage_day.c
    return (
        select(*_DAY_COLUMNS)
        .where(
            day.rating_key == bindparam("rating_key"),
            day.period_start_at == bindparam("period_start_at"),
            day.amount_minor != 0,
            ~_is_posted(),
        )
        .order_by(day.day_on, day.meter_id, day.segment_number, day.revision)
    )


def newest_day_at(connection: Connection) -> int | None:
    """Return when the newest usage_day row was written (posted_at, ms), or None."""
    newest = connection.scalar(select(func.max(tables.usage_day.c.posted_at)))
    return None if newest is None else int(newest)


def post_days(connection: Connection, days: Sequence[UsageDay], recorded_at: int) -> int:
    """Post days to the ledger; return how many were new.

    A day whose rating key has no subscription is left for later: the engine may be ahead of a
    subscription's row only if someone deleted it, and then the trial balance should not hide it.
    """
    if not days:
        return 0
    owners = find_owners(connection, {day.rating_key for day in days})
    prepaid = _prepaid_segments(connection, days)
    transactions: list[Transaction] = []
    for day in days:
        owner = owners.get(day.rating_key)
        if owner is None:
            continue
        account, branch = owner
        posting = usage_day_transaction(
            day,
            account,
            occurred_at=day_end_at(branch.timezone, datetime.date.fromisoformat(day.day_on)),
            is_prepaid=prepaid.get(_segment(day), False),
        )
        if posting:
            transactions.append(posting)
    return ledger.post(connection, transactions, recorded_at)


def _is_posted() -> ColumnElement[bool]:
    """Return the condition that the ledger holds a usage_day row's business key."""
    day, posted = tables.usage_day.c, tables.ledger_transaction.c
    key: ColumnElement[str] = cast(day[_KEY_PARTS[0]], Text)
    for name in _KEY_PARTS[1:]:
        key = key.op("||")("/").op("||")(cast(day[name], Text))
    return (
        select(posted.transaction_id)
        .where(posted.source == "usage_day", posted.idempotency_key == key)
        .exists()
    )


def _segment(day: UsageDay) -> tuple[str, int, int, str]:
    """Return the key of the counter that a day's amount came from."""
    return day.rating_key, day.period_start_at, day.segment_number, day.meter_id


def find_owners(connection: Connection, keys: set[str]) -> Mapping[str, tuple[Account, Branch]]:
    """Return account and branch per rating key, from its subscriptions."""
    subscription = tables.subscription.c
    query = (
        select(subscription.rating_key, subscription.account_id)
        .where(subscription.rating_key.in_(sorted(keys)))
        .order_by(subscription.starts_at)
    )
    owners: dict[str, tuple[Account, Branch]] = {}
    for rating_key, account_id in connection.execute(query).all():
        account = find(connection, Account, account_id)
        branch = find(connection, Branch, account.branch_id) if account else None
        if account and branch:
            owners[rating_key] = (account, branch)
    return owners


def _prepaid_segments(
    connection: Connection, days: Sequence[UsageDay]
) -> Mapping[tuple[str, int, int, str], bool]:
    """Return whether each day's segment is on a prepaid plan; absent where no counter says so."""
    counter = tables.usage_counter.c
    wanted = {_segment(day) for day in days}
    query = select(
        counter.rating_key,
        counter.period_start_at,
        counter.segment_number,
        counter.meter_id,
        counter.plan_id,
        counter.plan_version,
    ).where(
        and_(
            counter.rating_key.in_(sorted({key for key, *_ in wanted})),
            counter.period_start_at.in_(sorted({start for _, start, *_ in wanted})),
        )
    )
    rows = [row for row in connection.execute(query).all() if tuple(row[:4]) in wanted]
    terms = read_terms(connection, {(row.plan_id, row.plan_version) for row in rows})
    return {tuple(row[:4]): terms[row.plan_id, row.plan_version].is_prepaid for row in rows}
