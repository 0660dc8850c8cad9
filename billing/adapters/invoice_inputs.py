"""Reads what an invoice is made of: closings, subscriptions, charges, late revisions."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, func, or_, select

from billing.accounts import Account, Branch, Subscription
from billing.adapters import tables
from billing.adapters.discounts import granted_discounts
from billing.adapters.holds import read_holds
from billing.adapters.repositories import find, find_plan, subject_names, subscriptions_in
from billing.adapters.tax_rules import read_tax_rules, with_day_amounts
from billing.catalog import Terms, terms_of
from billing.charges import Charge
from billing.invoices import (
    InvoiceInputs,
    LateInput,
    RecurringInput,
    UsageInput,
    invoice_id_of,
)
from rating.rows import UsageCharge

LatePair = tuple[UsageCharge, UsageCharge | None]
"""A late revision of a counter, and the revision that stood before it."""

_CHARGE_COLUMNS = [tables.usage_charge.c[f.name] for f in dataclasses.fields(UsageCharge)]


@dataclasses.dataclass(frozen=True, slots=True)
class DuePeriod:
    """An account's period of which at least one rating key has closed (ms)."""

    account_id: str
    period_start_at: int
    period_end_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class PeriodState:
    """How far the closing of an account's period is.

    missing are rating keys that have not closed; problems says why closed ones are incomplete.
    closed_at is the newest closing's: revisions closed by then belong on this invoice.
    """

    missing: tuple[str, ...]
    problems: tuple[str, ...]
    closed_at: int


def due_periods(connection: Connection, closed_since_at: int) -> list[DuePeriod]:
    """Return periods with closings at or after an instant and no final invoice, oldest first."""
    closing, subscription = tables.period_closing.c, tables.subscription.c
    invoice = tables.invoice.c
    is_final = (
        select(invoice.invoice_id)
        .where(
            invoice.account_id == subscription.account_id,
            invoice.period_end_at == closing.period_end_at,
            invoice.status != "draft",
        )
        .exists()
    )
    query = (
        select(subscription.account_id, closing.period_start_at, closing.period_end_at)
        .distinct()
        .join_from(
            tables.period_closing,
            tables.subscription,
            and_(
                subscription.rating_key == closing.rating_key,
                subscription.starts_at < closing.period_end_at,
                or_(
                    subscription.ends_at.is_(None),
                    subscription.ends_at > closing.period_start_at,
                ),
            ),
        )
        .where(closing.closed_at >= closed_since_at, ~is_final)
        .order_by(closing.period_end_at, subscription.account_id)
    )
    return [DuePeriod(*row) for row in connection.execute(query)]


def is_invoiced(connection: Connection, due: DuePeriod) -> bool:
    """Return whether an account's period has its final invoice or note."""
    invoice = tables.invoice.c
    query = select(invoice.invoice_id).where(
        invoice.account_id == due.account_id,
        invoice.period_end_at == due.period_end_at,
        invoice.status != "draft",
    )
    return connection.execute(query.limit(1)).first() is not None


def newest_closing_at(connection: Connection) -> int | None:
    """Return when the newest closing was written (its closed_at, ms), or None."""
    newest = connection.scalar(select(func.max(tables.period_closing.c.closed_at)))
    return None if newest is None else int(newest)


def period_state(connection: Connection, due: DuePeriod) -> PeriodState:
    """Return whether every rating key of the account has closed the period, and how well."""
    keys = {s.rating_key for s in _subscriptions(connection, due)}
    closing = tables.period_closing.c
    query = select(
        closing.rating_key, closing.closed_at, closing.is_complete, closing.reason
    ).where(closing.rating_key.in_(keys), closing.period_end_at == due.period_end_at)
    rows = connection.execute(query).all()
    # Without a subscription nothing closes: what came late by the period's end stands on it.
    closed_at = max((row.closed_at for row in rows), default=due.period_end_at)
    incomplete = {f"{row.rating_key}: {row.reason}" for row in rows if not row.is_complete}
    return PeriodState(
        missing=tuple(sorted(keys - {row.rating_key for row in rows})),
        problems=tuple(sorted(incomplete | _outages(connection, due, closed_at))),
        closed_at=closed_at,
    )


def _outages(connection: Connection, due: DuePeriod, closed_at: int) -> set[str]:
    """Return a sentence per collector that was given up in the period and not back at its closing.

    Anybody's usage may be missing then: a clerk decides, from what the collector sent once back.
    """
    outage = tables.collector_outage.c
    query = select(outage.producer, func.min(outage.expired_at)).where(
        outage.expired_at.between(due.period_start_at, closed_at),
        or_(outage.returned_at.is_(None), outage.returned_at > closed_at),
    )
    return {
        f"collector {producer} was given up at {_text_of(expired_at)}"
        for producer, expired_at in connection.execute(query.group_by(outage.producer))
    }


def _text_of(at: int) -> str:
    return datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).isoformat(timespec="seconds")


def read_inputs(
    connection: Connection,
    due: DuePeriod,
    closed_at: int,
    charges: Sequence[Charge],
    owed: Sequence[Charge],
) -> list[InvoiceInputs]:
    """Return the inputs of an account's period, one per currency, by currency code.

    charges and owed are as in `billing.invoices.InvoiceInputs`.
    LookupError where a row names a branch, account or plan that does not exist.
    """
    account = _required(find(connection, Account, due.account_id), due.account_id)
    branch = _required(find(connection, Branch, account.branch_id), account.branch_id)
    subscriptions = _subscriptions(connection, due)
    usages = _charges(connection, due, {s.rating_key for s in subscriptions})
    late = late_charges(connection, due.account_id, due.period_end_at, closed_at)
    plans = {(s.plan_id, s.plan_version) for s in subscriptions}
    plans |= {(c.plan_id, c.plan_version) for c in (*usages, *(c for c, _ in late))}
    terms = read_terms(connection, plans)
    keys = {s.rating_key for s in subscriptions}
    keys |= {c.rating_key for c in usages} | {c.rating_key for c, _ in late}
    names = subject_names(connection, sorted(keys))
    allowances = _allowances(connection, usages)
    holds = read_holds(connection, due.account_id, due.period_start_at)
    recurring = [
        RecurringInput(s, terms[s.plan_id, s.plan_version], names[s.rating_key], holds)
        for s in subscriptions
    ]
    usage = [
        UsageInput(
            c,
            terms[c.plan_id, c.plan_version],
            names[c.rating_key],
            allowances.get((c.rating_key, c.segment_number, c.meter_id)),
        )
        for c in usages
    ]
    corrections = _corrections(connection, account, branch, late, terms, names)
    rules = read_tax_rules(connection, account)
    discounts = granted_discounts(connection, account, branch, due.period_end_at)
    currencies = {item.terms.currency for item in recurring}
    currencies |= {c.currency for c in (*usages, *(c for c, _ in late))}
    currencies |= {charge.currency for charge in (*charges, *owed)}
    found = [
        InvoiceInputs(
            branch,
            account,
            currency,
            due.period_start_at,
            due.period_end_at,
            [item for item in recurring if item.terms.currency == currency],
            [item for item in usage if item.charge.currency == currency],
            [item for item in corrections if item.charge.currency == currency],
            charges=[charge for charge in charges if charge.currency == currency],
            owed=[charge for charge in owed if charge.currency == currency],
            tax_rules=rules,
            discounts=discounts,
        )
        for currency in sorted(currencies)
    ]
    return [with_day_amounts(connection, inputs) for inputs in found]


def read_note_inputs(
    connection: Connection,
    due: DuePeriod,
    late: Sequence[LatePair],
) -> list[InvoiceInputs]:
    """Return the inputs of an account's notes, one per currency, by currency code.

    LookupError as `read_inputs`.
    """
    account = _required(find(connection, Account, due.account_id), due.account_id)
    branch = _required(find(connection, Branch, account.branch_id), account.branch_id)
    terms = read_terms(connection, {(c.plan_id, c.plan_version) for c, _ in late})
    names = subject_names(connection, sorted({c.rating_key for c, _ in late}))
    corrections = _corrections(connection, account, branch, late, terms, names)
    rules = read_tax_rules(connection, account)
    return [
        InvoiceInputs(
            branch,
            account,
            currency,
            due.period_start_at,
            due.period_end_at,
            [],
            [],
            [item for item in corrections if item.charge.currency == currency],
            is_note=True,
            tax_rules=rules,
        )
        for currency in sorted({item.charge.currency for item in corrections})
    ]


def _corrections(
    connection: Connection,
    account: Account,
    branch: Branch,
    late: Sequence[LatePair],
    terms: Mapping[tuple[str, int], Terms],
    names: Mapping[str, str],
) -> list[LateInput]:
    """Return late revisions, each with the invoice that it corrects and whether that is void."""
    if not late:
        return []
    void = set(connection.scalars(_void_query(), {"account_id": account.account_id}))
    found: list[LateInput] = []
    for charge, before in late:
        corrects = invoice_id_of(
            account.account_id, charge.period_start_at, branch.timezone, charge.currency
        )
        plan = terms[charge.plan_id, charge.plan_version]
        name = names[charge.rating_key]
        found.append(LateInput(charge, before, plan, name, corrects, corrects in void))
    return found


@functools.cache
def _void_query() -> Select[Any]:
    """Return the query of an account's void invoices."""
    invoice = tables.invoice.c
    return select(invoice.invoice_id).where(
        invoice.account_id == bindparam("account_id"), invoice.status == "void"
    )


def read_terms(
    connection: Connection, plans: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], Terms]:
    """Return the billing side of plan versions. LookupError where one does not exist."""
    found: dict[tuple[str, int], Terms] = {}
    for plan_id, version in set(plans):
        plan = _required(find_plan(connection, plan_id, version), f"{plan_id} {version}")
        found[plan_id, version] = terms_of(plan.document)
    return found


def _subscriptions(connection: Connection, due: DuePeriod) -> list[Subscription]:
    """Return the account's subscriptions that touch the period."""
    return subscriptions_in(connection, due.account_id, due.period_start_at, due.period_end_at)


def _charges(connection: Connection, due: DuePeriod, keys: set[str]) -> list[UsageCharge]:
    """Return the totals at closing of an account's period."""
    charge = tables.usage_charge.c
    query = select(*_CHARGE_COLUMNS).where(
        charge.rating_key.in_(sorted(keys)),
        charge.period_start_at == due.period_start_at,
        charge.revision == 0,
    )
    return [UsageCharge(*row) for row in connection.execute(query)]


def late_charges(
    connection: Connection, account_id: str, period_end_at: int, closed_at: int
) -> list[LatePair]:
    """Return unbilled revisions of an account's invoiced periods, with what stood before each.

    Of periods that ended before period_end_at, written by closed_at (ms). A revision of a
    period whose invoice is still a draft waits: its total at closing comes first.
    """
    bounds = {"account_id": account_id, "period_end_at": period_end_at, "closed_at": closed_at}
    pairs: list[LatePair] = []
    for row in connection.execute(_late_query(), bounds).all():
        late = UsageCharge(*row)
        before = connection.execute(_before_query(), dataclasses.asdict(late)).first()
        pairs.append((late, UsageCharge(*before) if before else None))
    return pairs


_COUNTER_KEY = ("rating_key", "period_start_at", "segment_number", "meter_id")


@functools.cache
def _late_query() -> Select[Any]:
    """Return the query of unbilled revisions, built once: building costs more than the answer."""
    charge, billed, invoice = tables.usage_charge.c, tables.billed_charge.c, tables.invoice.c
    subscription = tables.subscription.c
    is_billed = (
        select(billed.invoice_id)
        .where(*(billed[name] == charge[name] for name in (*_COUNTER_KEY, "revision")))
        .exists()
    )
    is_invoiced = (
        select(invoice.invoice_id)
        .where(
            invoice.account_id == bindparam("account_id"),
            invoice.period_end_at == charge.period_end_at,
            invoice.status != "draft",
        )
        .exists()
    )
    keys = select(subscription.rating_key).where(subscription.account_id == bindparam("account_id"))
    return select(*_CHARGE_COLUMNS).where(
        charge.rating_key.in_(keys),
        charge.period_end_at < bindparam("period_end_at"),
        charge.closed_at <= bindparam("closed_at"),
        ~is_billed,
        is_invoiced,
    )


@functools.cache
def _before_query() -> Select[Any]:
    """Return the query of the revision that stood before another of the same counter."""
    charge = tables.usage_charge.c
    return (
        select(*_CHARGE_COLUMNS)
        .where(*(charge[name] == bindparam(name) for name in _COUNTER_KEY))
        .where(charge.revision < bindparam("revision"))
        .order_by(charge.revision.desc())
        .limit(1)
    )


def _allowances(
    connection: Connection, charges: Sequence[UsageCharge]
) -> Mapping[tuple[str, int, str], int]:
    """Return the allowance per (rating key, segment, meter) of these charges' period."""
    if not charges:
        return {}
    counter = tables.usage_counter.c
    query = select(
        counter.rating_key, counter.segment_number, counter.meter_id, counter.allowance
    ).where(
        counter.rating_key.in_(sorted({c.rating_key for c in charges})),
        counter.period_start_at == charges[0].period_start_at,
        counter.allowance.is_not(None),
    )
    return {(key, segment, meter): n for key, segment, meter, n in connection.execute(query)}


def _required(found: Any, name: str) -> Any:
    """Return what was found. LookupError where nothing was."""
    if found is None:
        raise LookupError(f"{name} does not exist")
    return found
