"""Reads what stands at the end of a day: open receivables, unbilled usage, subscriptions."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl
from sqlalchemy import BigInteger, Connection, Select, and_, cast, func, select, union_all

from billing.adapters import payment_tables, tables
from billing.adapters.invoice_inputs import read_terms
from billing.adapters.report_rows import Reach, days_of, keys_of, read_frame, read_owners
from billing.adapters.repositories import find_plan
from billing.ledger import RECEIVABLE
from billing.reports.recurring import monthly_fee_minor
from rating.plans import decode_plan

_TEXT, _WHOLE = pl.String(), pl.Int64()


def read_open_documents(
    connection: Connection, reach: Reach, aged_by: Literal["due", "period"]
) -> pl.DataFrame:
    """Return a branch's open receivables per document at the end of its days, as `aging` takes."""
    account, invoice = tables.account.c, tables.invoice
    moved = union_all(*_receivable_movements(reach)).subquery()
    open_minor = cast(func.sum(moved.c.amount_minor), BigInteger)  # PostgreSQL sums to decimals
    key = (moved.c.account_id, moved.c.currency, moved.c.invoice_id)
    opened = (
        select(*key, open_minor.label("open_minor"))
        .group_by(*key)
        .having(open_minor != 0)
        .subquery()
    )
    query = (
        select(
            account.branch_id,
            opened.c.account_id,
            account.name,
            opened.c.currency,
            opened.c.invoice_id,
            func.coalesce(invoice.c.number, ""),
            invoice.c.due_on,
            invoice.c.period_end_at,
            opened.c.open_minor,
        )
        .select_from(opened)
        .join(tables.account, account.account_id == opened.c.account_id)
        .outerjoin(invoice, invoice.c.invoice_id == opened.c.invoice_id)
    )
    schema: dict[str, Any] = {
        "branch_id": _TEXT,
        "account_id": _TEXT,
        "account_name": _TEXT,
        "currency": _TEXT,
    }
    schema |= {"invoice_id": _TEXT, "number": _TEXT, "due_on": _TEXT}
    frame = read_frame(connection, query, {**schema, "period_end_at": _WHOLE, "open_minor": _WHOLE})
    if aged_by == "due":
        return frame.with_columns(pl.col("due_on").str.to_date().alias("aged_from"))
    ends = days_of(frame["period_end_at"], reach.branch.timezone, before_ms=1)
    return frame.with_columns(ends.alias("aged_from"))


def _receivable_movements(reach: Reach) -> list[Select[Any]]:
    """Return queries of what moved a branch's receivable: account, currency, invoice, amount.

    A payment's posting may be about several invoices, so it counts by its allocations, a
    write-off by its row; every other posting is about the invoice that its key names, or none.
    """
    transaction, entry = tables.ledger_transaction.c, tables.ledger_entry.c
    owner, own = tables.ledger_account.c, tables.invoice.alias("own")
    allocated, written_off = payment_tables.allocation.c, payment_tables.write_off.c
    posted = (
        select(
            owner.account_id.label("account_id"),
            entry.currency.label("currency"),
            func.coalesce(own.c.invoice_id, "").label("invoice_id"),
            entry.amount_minor.label("amount_minor"),
        )
        .select_from(tables.ledger_entry)
        .join(tables.ledger_transaction)
        .join(tables.ledger_account)
        .outerjoin(own, own.c.invoice_id == transaction.idempotency_key)
        .where(
            transaction.branch_id == reach.branch.branch_id,
            transaction.occurred_at <= reach.end_at,
            transaction.source.not_in(_BY_ROWS),
            owner.code == RECEIVABLE,
        )
    )
    paid = select(
        allocated.account_id,
        allocated.currency,
        allocated.invoice_id,
        allocated.recovered_minor - allocated.amount_minor,
    ).where(allocated.branch_id == reach.branch.branch_id, allocated.allocated_at <= reach.end_at)
    given_up = select(
        written_off.account_id,
        written_off.currency,
        written_off.invoice_id,
        -written_off.amount_minor,
    ).where(
        written_off.branch_id == reach.branch.branch_id,
        written_off.written_off_at <= reach.end_at,
    )
    return [posted, paid, given_up]


_BY_ROWS = ("payment", "payment_reversed", "allocation", "write_off")
"""Sources of postings to the receivable whose invoices are in rows of their own."""


def read_usage_days(connection: Connection, reach: Reach) -> pl.DataFrame:
    """Return what postpaid usage cost per counter through a branch's days, as `unbilled` takes."""
    day, counter = tables.usage_day.c, tables.usage_counter.c
    amount = cast(func.sum(day.amount_minor), BigInteger)
    key = ("rating_key", "period_start_at", "segment_number", "meter_id")
    query = (
        select(
            day.rating_key,
            day.period_start_at,
            day.currency,
            counter.plan_id,
            counter.plan_version,
            amount,
        )
        .join_from(
            tables.usage_day,
            tables.usage_counter,
            and_(*(day[name] == counter[name] for name in key)),
        )
        .where(
            day.day_on <= reach.last_on.isoformat(),
            day.amount_minor != 0,
            day.rating_key.in_(keys_of(reach)),
        )
        .group_by(*(day[name] for name in key), day.currency, counter.plan_id, counter.plan_version)
        .having(amount != 0)
    )
    return _postpaid(connection, query)


def read_billed(connection: Connection, reach: Reach) -> pl.DataFrame:
    """Return what invoices of periods that ended by then billed of usage, without true-ups."""
    billed, charge, invoice = tables.billed_charge.c, tables.usage_charge.c, tables.invoice.c
    key = ("rating_key", "period_start_at", "segment_number", "meter_id", "revision")
    query = (
        select(
            billed.rating_key,
            billed.period_start_at,
            charge.currency,
            charge.plan_id,
            charge.plan_version,
            billed.amount_minor - billed.true_up_minor,
        )
        .select_from(tables.billed_charge)
        .join(tables.invoice)
        .join(tables.usage_charge, and_(*(billed[name] == charge[name] for name in key)))
        .where(invoice.branch_id == reach.branch.branch_id, invoice.period_end_at <= reach.end_at)
    )
    return _postpaid(connection, query)


def _postpaid(connection: Connection, query: Select[Any]) -> pl.DataFrame:
    """Return a query's amounts per period and plan, of plans settled by invoice, not a balance."""
    columns: dict[str, Any] = {"rating_key": _TEXT, "period_start_at": _WHOLE, "currency": _TEXT}
    columns |= {"plan_id": _TEXT, "plan_version": _WHOLE, "amount_minor": _WHOLE}
    frame = read_frame(connection, query, columns)
    plans = set(frame.select("plan_id", "plan_version").unique().iter_rows())
    prepaid = [plan for plan, terms in read_terms(connection, plans).items() if terms.is_prepaid]
    schema: dict[str, Any] = {"plan_id": _TEXT, "plan_version": _WHOLE}
    excluded = pl.DataFrame(prepaid, schema=schema, orient="row")
    return frame.join(excluded, on=["plan_id", "plan_version"], how="anti")


def read_periods_owned(connection: Connection, reach: Reach, starts: pl.Series) -> pl.DataFrame:
    """Return a branch's rating keys times period starts (ms) with the first local day of each."""
    periods = starts.unique().cast(_WHOLE).alias("period_start_at").to_frame()
    first = days_of(periods["period_start_at"], reach.branch.timezone)
    periods = periods.with_columns(first.alias("period_from"))
    return read_owners(connection, reach.branch).join(periods, how="cross")


def read_subscriptions(connection: Connection, reach: Reach) -> pl.DataFrame:
    """Return a branch's subscriptions with what each asks for per month, as `recurring` takes.

    LookupError where a plan does not exist.
    """
    subscription, account = tables.subscription.c, tables.account.c
    query = (
        select(
            account.branch_id,
            account.account_id,
            account.name,
            account.cycle,
            subscription.rating_key,
            subscription.plan_id,
            subscription.plan_version,
            subscription.starts_at,
            subscription.ends_at,
        )
        .join_from(
            tables.subscription, tables.account, account.account_id == subscription.account_id
        )
        .where(account.branch_id == reach.branch.branch_id)
    )
    schema: dict[str, Any] = {
        "branch_id": _TEXT,
        "account_id": _TEXT,
        "account_name": _TEXT,
        "cycle": _TEXT,
    }
    schema |= {"rating_key": _TEXT, "plan_id": _TEXT, "plan_version": _WHOLE}
    frame = read_frame(connection, query, {**schema, "starts_at": _WHOLE, "ends_at": _WHOLE})
    keys = ["plan_id", "plan_version", "cycle"]
    fees = [(*key, *_fee(connection, *key)) for key in frame.select(keys).unique().iter_rows()]
    priced: dict[str, Any] = {"plan_id": _TEXT, "plan_version": _WHOLE, "cycle": _TEXT}
    priced |= {"currency": _TEXT, "fee_minor": _WHOLE}
    return frame.join(pl.DataFrame(fees, schema=priced, orient="row"), on=keys, how="inner")


def _fee(connection: Connection, plan_id: str, version: int, cycle: str) -> tuple[str, int]:
    """Return currency and monthly fee of a plan version for accounts of a cycle."""
    stored = find_plan(connection, plan_id, version)
    if stored is None:
        raise LookupError(f"{plan_id} {version} does not exist")
    plan = decode_plan(stored.document)
    return plan.currency, monthly_fee_minor(plan, "monthly" if cycle == "month" else cycle)
