"""Reads closed counters for re-rating; their corrections are written as charges."""

from __future__ import annotations

import dataclasses
import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from billing.accounts import Account, Branch, PlanVersion, calendar_of
from billing.adapters import tables
from billing.adapters.charge_tables import charge as charge_table
from billing.adapters.databases import among
from billing.adapters.repositories import find, find_plan, subject_names
from billing.charges import TARIFF_CORRECTION
from billing.rerating import Counted
from rating.periods import day_end_at, day_start_at, period_at
from rating.rows import UsageCharge

_CHARGE_COLUMNS = [tables.usage_charge.c[f.name] for f in dataclasses.fields(UsageCharge)]

_Stretch = tuple[int, int | None]
_Owned = Mapping[str, tuple[str, list[_Stretch]]]
"""Per rating key its newest account, and its subscriptions as [start, end) by time."""


class Stretch(NamedTuple):
    """What is re-rated: closed periods that lie whole within these local days, both included."""

    plan_id: str
    version: int
    first_on: datetime.date
    last_on: datetime.date


def wrong_plan(connection: Connection, plan_id: str, version: int) -> PlanVersion:
    """Return the plan version that was wrong. LookupError where there is none."""
    found = find_plan(connection, plan_id, version)
    if found is None:
        raise LookupError(f"plan {plan_id!r} has no version {version}")
    return found


def read_counted(connection: Connection, stretch: Stretch, plan: PlanVersion) -> list[Counted]:
    """Return the closed counters of a plan version in some days, by business key.

    LookupError where a row names an account or branch that does not exist.
    """
    branch = find(connection, Branch, plan.branch_id)
    if branch is None:
        raise LookupError(f"branch {plan.branch_id!r} does not exist")
    charges = _newest(connection, stretch, branch)
    keys = sorted({charge.rating_key for charge in charges})
    owned = _owners(connection, keys)
    accounts = {
        account_id: find(connection, Account, account_id) for account_id, _ in owned.values()
    }
    names = subject_names(connection, keys)
    days = _day_quantities(connection, charges, keys)
    corrected = _corrected(connection, stretch.plan_id)
    found: list[Counted] = []
    for charge in charges:
        account_id, subscriptions = owned.get(charge.rating_key, ("", []))
        account = accounts.get(account_id)
        if account is None:
            continue  # Nobody was billed for it.
        counted = Counted(
            charge,
            branch.branch_id,
            account_id,
            names[charge.rating_key],
            branch.timezone,
            period_at(calendar_of(account, branch), charge.period_start_at // 60_000),
            _segment(charge, subscriptions),
            tuple(days.get(_counter(charge), ())),
        )
        total, count = corrected.get(counted.counter, (0, 0))
        found.append(dataclasses.replace(counted, corrected_minor=total, corrections=count))
    return found


def _counter(charge: UsageCharge) -> tuple[str, int, int, str]:
    return charge.rating_key, charge.period_start_at, charge.segment_number, charge.meter_id


def _newest(connection: Connection, stretch: Stretch, branch: Branch) -> list[UsageCharge]:
    """Return the newest revision of each counter that closed."""
    charge = tables.usage_charge.c
    zone = branch.timezone
    query = (
        select(*_CHARGE_COLUMNS)
        .where(
            charge.plan_id == stretch.plan_id,
            charge.plan_version == stretch.version,
            charge.period_start_at >= day_start_at(zone, stretch.first_on),
            charge.period_end_at <= day_end_at(zone, stretch.last_on),
        )
        .order_by(
            charge.rating_key,
            charge.period_start_at,
            charge.segment_number,
            charge.meter_id,
            charge.revision,
        )
    )
    found = [UsageCharge(*row) for row in connection.execute(query)]
    newest = {_counter(charge): charge for charge in found}
    return list(newest.values())


def _owners(connection: Connection, keys: Sequence[str]) -> _Owned:
    subscription = tables.subscription.c
    query = select(
        subscription.rating_key,
        subscription.account_id,
        subscription.starts_at,
        subscription.ends_at,
    ).order_by(subscription.starts_at, subscription.subscription_id)
    owned: dict[str, tuple[str, list[_Stretch]]] = {}
    for key, account_id, starts_at, ends_at in among(
        connection, query, subscription.rating_key, keys
    ):
        _, stretches = owned.get(key, ("", []))
        owned[key] = (account_id, [*stretches, (starts_at, ends_at)])
    return owned


def _segment(charge: UsageCharge, subscriptions: Sequence[_Stretch]) -> tuple[int, int] | None:
    """Return the stretch of its period that a counter's segment number names, None for no such."""
    stretches = [
        (
            max(starts_at, charge.period_start_at),
            min(charge.period_end_at if ends_at is None else ends_at, charge.period_end_at),
        )
        for starts_at, ends_at in subscriptions
    ]
    known = [stretch for stretch in stretches if stretch[0] < stretch[1]]
    return known[charge.segment_number] if charge.segment_number < len(known) else None


def _day_quantities(
    connection: Connection, charges: Sequence[UsageCharge], keys: Sequence[str]
) -> Mapping[tuple[str, int, int, str], list[int]]:
    """Return each counter's newest quantities per local day."""
    day = tables.usage_day.c
    starts = sorted({charge.period_start_at for charge in charges})
    if not starts:
        return {}
    query = (
        select(
            day.rating_key,
            day.period_start_at,
            day.segment_number,
            day.meter_id,
            day.day_on,
            day.quantity,
        )
        .where(day.period_start_at >= starts[0], day.period_start_at <= starts[-1])
        .order_by(day.revision)
    )
    newest: dict[tuple[str, int, int, str], dict[str, int]] = defaultdict(dict)
    for *counter, day_on, quantity in among(connection, query, day.rating_key, keys):
        newest[tuple(counter)][day_on] = quantity
    return {counter: list(by_day.values()) for counter, by_day in newest.items()}


def _corrected(connection: Connection, plan_id: str) -> Mapping[str, tuple[int, int]]:
    """Return the sum and the count of earlier corrections per counter of a plan."""
    charge = charge_table.c
    query = (
        select(charge.service_id, func.sum(charge.amount_minor), func.count())
        .where(charge.kind == TARIFF_CORRECTION, charge.product_id == plan_id)
        .group_by(charge.service_id)
    )
    return {counter: (int(total), count) for counter, total, count in connection.execute(query)}
