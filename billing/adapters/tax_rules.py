"""Reads what decides an account's taxes."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from billing.accounts import Account
from billing.adapters import tables, tax_tables
from billing.invoices import InvoiceInputs
from billing.proration import local_day
from billing.tax_rules import NO_RULES, TaxRate, TaxRules, TaxStatus

_RATE = [tax_tables.tax_rate.c[field.name] for field in dataclasses.fields(TaxRate)]
_STATUS = [tax_tables.tax_status.c[field.name] for field in dataclasses.fields(TaxStatus)]


def read_tax_rules(connection: Connection, account: Account) -> TaxRules:
    """Return an account's tax rules: its branch's rates, its place and certificates."""
    rates = connection.execute(_rates_query(), {"branch_id": account.branch_id})
    key = {"account_id": account.account_id}
    statuses = connection.execute(_statuses_query(), key)
    party = connection.execute(_party_query(), key).first()
    rules = TaxRules(
        party.place if party else "",
        party.tax_number if party else "",
        tuple(TaxRate(*row) for row in rates),
        tuple(TaxStatus(*row) for row in statuses),
    )
    return NO_RULES if rules == NO_RULES else rules


def with_day_amounts(connection: Connection, inputs: InvoiceInputs) -> InvoiceInputs:
    """Return inputs whose usage knows its days' amounts, where a tax may change in the period."""
    zone = inputs.branch.timezone
    first = local_day(inputs.period_start_at, zone).isoformat()
    last = local_day(inputs.period_end_at - 1, zone).isoformat()
    days = {rate.valid_from_on for rate in inputs.tax_rules.rates}
    for status in inputs.tax_rules.statuses:
        days |= {status.valid_from_on, status.valid_until_on}
    if not inputs.usage or not any(first <= day <= last for day in days):
        return inputs
    usage = [
        dataclasses.replace(item, day_amounts=_day_amounts(connection, item.charge))
        for item in inputs.usage
    ]
    return dataclasses.replace(inputs, usage=usage)


def _day_amounts(connection: Connection, charge: Any) -> tuple[tuple[str, int], ...]:
    """Return (local day, minor units) of a counter as it stood at closing."""
    day = tables.usage_day.c
    query = (
        select(day.day_on, func.sum(day.amount_minor))
        .where(
            day.rating_key == charge.rating_key,
            day.period_start_at == charge.period_start_at,
            day.segment_number == charge.segment_number,
            day.meter_id == charge.meter_id,
            day.revision == 0,
        )
        .group_by(day.day_on)
        .order_by(day.day_on)
    )
    return tuple((on, int(amount)) for on, amount in connection.execute(query))


@functools.cache
def _rates_query() -> Select[Any]:
    """Return the query of a branch's rates, built once: building costs more than the answer."""
    rate = tax_tables.tax_rate.c
    return (
        select(*_RATE)
        .where(rate.branch_id == bindparam("branch_id"))
        .order_by(rate.tax_code, rate.tax_id, rate.place, rate.valid_from_on)
    )


@functools.cache
def _statuses_query() -> Select[Any]:
    """Return the query of an account's certificates."""
    status = tax_tables.tax_status.c
    return (
        select(*_STATUS)
        .where(status.account_id == bindparam("account_id"))
        .order_by(status.status_id)
    )


@functools.cache
def _party_query() -> Select[Any]:
    """Return the query of where an account is."""
    party = tax_tables.tax_party.c
    return select(party.place, party.tax_number).where(party.account_id == bindparam("account_id"))
