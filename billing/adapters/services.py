"""Reads what the services of an account owe on an invoice. The caller owns the transaction."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, or_, select

from billing.adapters import charge_tables, service_tables, tables
from billing.adapters.holds import read_holds
from billing.adapters.invoice_inputs import DuePeriod, is_invoiced
from billing.adapters.repositories import find_calendar, runs_on, subject_names, subscriptions_in
from billing.charges import Charge
from billing.services import (
    Billed,
    Horizon,
    Product,
    Service,
    ServiceInput,
    due_charges,
    service_calendar,
)
from rating.periods import next_period, period_at

_DAY_MS = 86_400_000
_SERVICE = [service_tables.service.c[field.name] for field in dataclasses.fields(Service)]
_PRODUCT = [service_tables.product.c[field.name] for field in dataclasses.fields(Product)]


def service_charges(connection: Connection, due: DuePeriod, corrections_days: int) -> list[Charge]:
    """Return what an account's services owe on the invoice of a period, less what was billed.

    Service periods that ended more than corrections_days before the invoice's begins stay as they
    were billed. The charges are not written yet.
    """
    since_at = due.period_start_at - corrections_days * _DAY_MS
    rows = connection.execute(
        _services_query(), {"account_id": due.account_id, "since_at": since_at}
    ).all()
    if not rows:
        return []
    calendar = find_calendar(connection, due.account_id)
    following = period_at(calendar, due.period_end_at // 60_000)
    horizon = Horizon(since_at, due.period_end_at, following.end_at)
    holds = read_holds(connection, due.account_id, since_at)
    billed = _billed(connection, due.account_id, since_at)
    items = [_split(row) for row in rows]
    names = subject_names(connection, sorted({s.subscriber_id for s, _ in items} - {""}))
    return [
        charge
        for service, product in items
        for charge in due_charges(
            ServiceInput(
                service,
                product,
                service_calendar(product, service, calendar),
                names.get(service.subscriber_id, ""),
                holds,
                billed.get(service.service_id, {}),
            ),
            horizon,
        )
    ]


def over_periods_of_services(connection: Connection, now_ms: int) -> list[DuePeriod]:
    """Return the periods over by now_ms of accounts that have services and no rate plan.

    Where a subscription touches a period, rate's closing makes its invoice.
    """
    service, invoice = service_tables.service.c, tables.invoice.c
    invoiced_until = (
        select(func.max(invoice.period_end_at))
        .where(invoice.account_id == service.account_id, invoice.status != "draft")
        .scalar_subquery()
    )
    first_at = func.min(service.starts_at)
    query = (
        select(service.account_id, first_at, func.max(invoiced_until))
        .where(
            service.starts_at < now_ms,
            or_(
                service.ends_at.is_(None),
                invoiced_until.is_(None),
                service.ends_at > invoiced_until,
            ),
            ~runs_on(service.account_id, now_ms),
        )
        .group_by(service.account_id)
    )
    found: list[DuePeriod] = []
    for account_id, starts_at, until_at in connection.execute(query).all():
        calendar = find_calendar(connection, account_id)
        period = period_at(calendar, max(starts_at, until_at or 0) // 60_000)
        while period.end_at <= now_ms:
            due = DuePeriod(account_id, period.start_at, period.end_at)
            if not is_invoiced(connection, due) and not subscriptions_in(
                connection, account_id, period.start_at, period.end_at
            ):
                found.append(due)
            period = next_period(calendar, period)
    return sorted(found, key=lambda due: (due.period_end_at, due.account_id))


@functools.cache
def _services_query() -> Select[Any]:
    """Return the query of an account's services with their products, built once."""
    service, product = service_tables.service.c, service_tables.product.c
    return (
        select(*_SERVICE, *_PRODUCT)
        .join_from(service_tables.service, service_tables.product)
        .where(
            service.account_id == bindparam("account_id"),
            or_(service.ends_at.is_(None), service.ends_at > bindparam("since_at")),
            product.charging != "one_off",
        )
        .order_by(service.service_id)
    )


def _split(row: Any) -> tuple[Service, Product]:
    """Return service and product of a row of `_services_query`."""
    return Service(*row[: len(_SERVICE)]), Product(*row[len(_SERVICE) :])


def _billed(
    connection: Connection, account_id: str, since_at: int
) -> Mapping[str, Mapping[int, Billed]]:
    """Return what was asked so far, per service and start of its period."""
    bounds = {"account_id": account_id, "since_at": since_at}
    billed: dict[str, dict[int, Billed]] = {}
    for service_id, from_at, amount, count in connection.execute(_billed_query(), bounds):
        billed.setdefault(service_id, {})[from_at] = Billed(int(amount), count)
    return billed


@functools.cache
def _billed_query() -> Select[Any]:
    """Return the query of `_billed`, built once."""
    charge = charge_tables.charge.c
    return (
        select(
            charge.service_id, charge.covers_from_at, func.sum(charge.amount_minor), func.count()
        )
        .where(
            charge.account_id == bindparam("account_id"),
            charge.service_id != "",
            charge.covers_until_at > bindparam("since_at"),
        )
        .group_by(charge.service_id, charge.covers_from_at)
    )
