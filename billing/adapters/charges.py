"""Charges in and out of the database: added once, billed once. The caller owns the transaction."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select, update

from billing.adapters.charge_tables import charge as table
from billing.adapters.databases import upsert
from billing.adapters.invoice_inputs import DuePeriod, is_invoiced
from billing.adapters.repositories import find_calendar, runs_on, subscriptions_in
from billing.charges import Charge
from billing.invoices import OutdatedDraftError
from rating.periods import next_period, period_at

_ROWS_PER_STATEMENT = 50  # SQLite's oldest limit is 999 parameters; 17 columns per charge
_COLUMNS = [table.c[field.name] for field in dataclasses.fields(Charge)]


def add_charges(connection: Connection, charges: Sequence[Charge]) -> int:
    """Write those charges whose id is new; return how many were.

    A repeat of an id changes nothing, whatever its amount. sqlalchemy.exc.IntegrityError where
    branch or account do not exist.
    """
    if not charges:
        return 0
    statement = upsert(connection, table).on_conflict_do_nothing().returning(table.c.charge_id)
    rows = [dataclasses.asdict(charge) for charge in charges]
    return len(connection.execute(statement, rows).all())


def find_charge(connection: Connection, charge_id: str) -> Charge | None:
    """Return the charge with this id."""
    row = connection.execute(select(*_COLUMNS).where(table.c.charge_id == charge_id)).first()
    return Charge(*row) if row else None


def waiting_charges(connection: Connection, account_id: str, due_before_at: int) -> list[Charge]:
    """Return an account's charges that no invoice has taken and are due before (ms), by id."""
    bounds = {"account_id": account_id, "due_before_at": due_before_at}
    return [Charge(*row) for row in connection.execute(_waiting_query(), bounds)]


@functools.cache
def _waiting_query() -> Select[Any]:
    """Return the query of `waiting_charges`, built once: building costs more than the answer."""
    return (
        select(*_COLUMNS)
        .where(
            table.c.account_id == bindparam("account_id"),
            table.c.invoice_id.is_(None),
            table.c.due_at < bindparam("due_before_at"),
        )
        .order_by(table.c.charge_id)
    )


def take_charges(connection: Connection, charges: Sequence[Charge], invoice_id: str) -> None:
    """Give charges to the invoice that is being finalized.

    OutdatedDraftError where one was withdrawn or taken meanwhile.
    """
    ids = [charge.charge_id for charge in charges]
    for start in range(0, len(ids), _ROWS_PER_STATEMENT):
        some = ids[start : start + _ROWS_PER_STATEMENT]
        taken = connection.execute(
            update(table)
            .where(table.c.charge_id.in_(some), table.c.invoice_id.is_(None))
            .values(invoice_id=invoice_id)
        )
        if taken.rowcount != len(some):
            raise OutdatedDraftError(
                f"{invoice_id}: a charge was withdrawn or billed meanwhile: {some}"
            )


def over_periods_of_charges(connection: Connection, now_ms: int) -> list[DuePeriod]:
    """Return the periods that are over by now_ms and wait for charges alone, oldest first.

    An account with a subscription gets its invoices when rate closes its periods, and its charges
    stand on them. Who has none running is asked at the end of the period in which a charge is due,
    or of the first one after that has no invoice yet.
    """
    goes_on = runs_on(table.c.account_id, now_ms)
    query = (
        select(table.c.account_id, table.c.due_at)
        .where(table.c.invoice_id.is_(None), table.c.due_at < now_ms, ~goes_on)
        .order_by(table.c.account_id, table.c.due_at)
    )
    waiting: dict[str, list[int]] = {}
    for account_id, due_at in connection.execute(query):
        waiting.setdefault(account_id, []).append(due_at)
    periods = [
        period
        for account_id, due_ats in waiting.items()
        for period in _over_periods(connection, account_id, due_ats, now_ms)
    ]
    return sorted(periods, key=lambda period: (period.period_end_at, period.account_id))


def _over_periods(
    connection: Connection, account_id: str, due_ats: list[int], now_ms: int
) -> list[DuePeriod]:
    """Return an account's over periods that its waiting charges, ascending, come to stand in."""
    calendar = find_calendar(connection, account_id)
    found: list[DuePeriod] = []
    period = period_at(calendar, due_ats[0] // 60_000)
    while period.end_at <= now_ms and due_ats:
        due = DuePeriod(account_id, period.start_at, period.end_at)
        if not is_invoiced(connection, due):
            if subscriptions_in(connection, account_id, period.start_at, period.end_at):
                break  # Its closing brings an invoice, which takes what is due by then.
            if due_ats[0] < period.end_at:
                found.append(due)
                due_ats = [at for at in due_ats if at >= period.end_at]
        period = next_period(calendar, period)
    return found
