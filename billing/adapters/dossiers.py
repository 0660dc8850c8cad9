"""Reads what an account's dunning follows from: items, steps taken, pauses, payments, schedules."""

from __future__ import annotations

import dataclasses
import datetime
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, literal_column, or_, select

from billing.adapters import tables
from billing.adapters.databases import among
from billing.adapters.dunning_tables import (
    branch_holiday,
    dunning_pause,
    dunning_restriction,
    dunning_schedule,
    dunning_step,
)
from billing.adapters.instalment_tables import instalment, instalment_plan
from billing.adapters.terms import terms_of
from billing.dunning import (
    PROMISE,
    Dossier,
    InFlight,
    Moment,
    OpenItem,
    Pause,
    Received,
    TakenStep,
    version_for,
)
from billing.dunning_notices import Party
from billing.dunning_schedule import Schedule, decode_schedule
from billing.instalments import Instalment, OpenInstalment, open_parts
from billing.payments import PENDING, SETTLED
from billing.proration import local_day
from rating.periods import zone

_invoice, _step, _pause = tables.invoice.c, dunning_step.c, dunning_pause.c
_account, _branch, _payment = tables.account.c, tables.branch.c, tables.payment.c

_PARTIES = select(
    _account.account_id,
    _account.name,
    _account.email,
    _branch.branch_id,
    _branch.name,
    _branch.phone,
    _branch.language,
    _branch.timezone,
).join_from(tables.account, tables.branch, _branch.branch_id == _account.branch_id)
OPEN_MINOR = _invoice.total_minor - _invoice.paid_minor - _invoice.written_off_minor
"""What an invoice still asks for, as SQL."""
_IS_OPEN = and_(_invoice.status == "finalized", OPEN_MINOR > 0)
_OPEN = select(
    _invoice.account_id,
    _invoice.invoice_id,
    _invoice.number,
    _invoice.due_on,
    OPEN_MINOR.label("open_minor"),
    _invoice.currency,
    _invoice.issued_at,
).where(_IS_OPEN)
_TAKEN = (
    select(
        _step.account_id, _step.item_id, _step.step_id, _step.action, _step.profile, _step.taken_on
    )
    .join_from(dunning_step, tables.invoice, _invoice.invoice_id == _step.invoice_id)
    .where(_invoice.status == "finalized")
)
_PAUSES = select(
    _pause.account_id,
    _pause.pause_id,
    _pause.kind,
    _pause.invoice_id,
    _pause.from_on,
    _pause.until_on,
    _pause.restores,
    _pause.made_at,
    _pause.ended_on,
    _pause.amount_minor,
    _pause.currency,
    _pause.outcome,
)
_RECEIVED = select(
    _payment.account_id, _payment.amount_minor, _payment.currency, _payment.received_at
).where(_payment.status == SETTLED)
_PLANNED = (
    select(
        instalment_plan.c.invoice_id,
        instalment_plan.c.paid_before_minor,
        _invoice.paid_minor,
        instalment.c.number,
        instalment.c.due_on,
        instalment.c.amount_minor,
    )
    .join_from(instalment_plan, instalment, instalment.c.plan_id == instalment_plan.c.plan_id)
    .join(tables.invoice, _invoice.invoice_id == instalment_plan.c.invoice_id)
    .where(~instalment_plan.c.is_cancelled)
)
# What the partial index asks for stands in the text: it serves no parameter, which may differ.
_IN_FLIGHT = select(
    _payment.account_id, _payment.amount_minor, _payment.currency, _payment.invoice_id
).where(_payment.status == literal_column(f"'{PENDING}'"))


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """An account's dunning: who it is, its schedules by item, and what everything follows from."""

    party: Party
    schedules: Mapping[str, Schedule]
    dossier: Dossier
    moment: Moment


def accounts_to_look_at(
    connection: Connection, branch_id: str, after: str, limit: int
) -> list[str]:
    """Return a branch's accounts of which dunning may have to do something, by ascending id.

    They owe something, are restricted, or have promised and not been judged.
    """
    restricted = select(dunning_restriction.c.account_id)
    promised = select(_pause.account_id).where(_pause.kind == PROMISE, _pause.outcome == "")
    owing = select(_invoice.account_id).where(_IS_OPEN, _invoice.due_on.is_not(None))
    query = (
        select(_account.account_id)
        .where(
            _account.branch_id == branch_id,
            _account.account_id > after,
            or_(*(_account.account_id.in_(some) for some in (owing, restricted, promised))),
        )
        .order_by(_account.account_id)
        .limit(limit)
    )
    return list(connection.scalars(query))


def read_cases(connection: Connection, account_ids: Collection[str], now_ms: int) -> list[Case]:
    """Return the cases of accounts, by account id, as they are at an instant (ms)."""
    rows = among(connection, _PARTIES, _account.account_id, account_ids)
    parties = {row[0]: Party(*row) for row in rows}
    items = _open_items(connection, account_ids)
    taken = _grouped(
        (row[0], TakenStep(row.item_id, row.step_id, row.action, row.profile, _day(row.taken_on)))
        for row in among(connection, _TAKEN, _step.account_id, account_ids)
    )
    pauses = _grouped(
        (row[0], _pause_of(row))
        for row in among(connection, _PAUSES, _pause.account_id, account_ids)
    )
    received = _received(connection, parties, pauses)
    in_flight = _grouped(payments_in_flight(connection, account_ids))
    holidays = _holidays(connection, {party.branch_id for party in parties.values()})
    terms = terms_of(connection, account_ids)
    versions = _versions(connection, {one.schedule_id for one in terms.values()})
    cases: list[Case] = []
    for account_id in sorted(parties):
        party, schedule_id = parties[account_id], terms[account_id].schedule_id
        known = versions.get(schedule_id, [])
        owed = items.get(account_id, [])
        schedules = {
            item.item_id: version_for(known, issued_at) for item, issued_at in owed if known
        }
        dossier = Dossier(
            [item for item, _ in owed],
            taken.get(account_id, []),
            pauses.get(account_id, []),
            received.get(account_id, []),
            in_flight.get(account_id, []),
            holidays.get(party.branch_id, frozenset()),
            terms[account_id].grace_days,
        )
        cases.append(Case(party, schedules, dossier, moment_at(party.timezone, now_ms)))
    return cases


def newest_schedule(connection: Connection, account_id: str) -> Schedule | None:
    """Return the newest version of an account's schedule, or None where it is not dunned."""
    schedule_id = terms_of(connection, [account_id])[account_id].schedule_id
    versions = _versions(connection, {schedule_id} - {""}).get(schedule_id, [])
    return max((one for _, one in versions), key=lambda one: one.version, default=None)


def moment_at(timezone: str, now_ms: int) -> Moment:
    """Return the local day and hour of an instant (ms)."""
    local = datetime.datetime.fromtimestamp(now_ms / 1000, zone(timezone))
    return Moment(local.date(), local.hour)


def payments_in_flight(
    connection: Connection, account_ids: Collection[str]
) -> Iterable[tuple[str, InFlight]]:
    """Yield (account id, payment) of the payments that have begun and neither come nor failed."""
    for row in among(connection, _IN_FLIGHT, _payment.account_id, account_ids):
        yield row.account_id, InFlight(row.amount_minor, row.currency, row.invoice_id or "")


def _open_items(
    connection: Connection, account_ids: Collection[str]
) -> dict[str, list[tuple[OpenItem, int]]]:
    """Return (item, issued at) of what accounts owe by a day.

    The open parts of an instalment plan stand in place of their invoice.
    """
    plans = _running_plans(connection, account_ids)
    return _grouped(
        (row.account_id, (item, row.issued_at))
        for row in among(connection, _OPEN, _invoice.account_id, account_ids)
        if row.due_on
        for item in _items_of(row, plans.get(row.invoice_id, ()))
    )


def _items_of(row: Any, parts: Sequence[OpenInstalment]) -> list[OpenItem]:
    """Return what an invoice asks for: itself, or the parts that were agreed."""
    if not parts:
        due_on = _day(row.due_on)
        return [
            OpenItem(
                row.invoice_id, row.invoice_id, row.number, due_on, row.open_minor, row.currency
            )
        ]
    return [
        OpenItem(
            f"{row.invoice_id}/{part.instalment.number}",
            row.invoice_id,
            f"{row.number}/{part.instalment.number}",
            part.instalment.due_on,
            part.open_minor,
            row.currency,
        )
        for part in parts
    ]


def _running_plans(
    connection: Connection, account_ids: Collection[str]
) -> dict[str, list[OpenInstalment]]:
    """Return the open parts of accounts' instalment plans, by invoice."""
    paid: dict[str, int] = {}
    parts: dict[str, list[Instalment]] = defaultdict(list)
    for row in among(connection, _PLANNED, instalment_plan.c.account_id, account_ids):
        paid[row.invoice_id] = row.paid_minor - row.paid_before_minor
        part = Instalment(row.number, _day(row.due_on), row.amount_minor)
        parts[row.invoice_id].append(part)
    return {invoice_id: open_parts(some, paid[invoice_id]) for invoice_id, some in parts.items()}


def _received(
    connection: Connection,
    parties: Mapping[str, Party],
    pauses: Mapping[str, Sequence[Pause]],
) -> dict[str, list[Received]]:
    """Return what came in since the promises of those who made any."""
    since = {
        account_id: min(pause.made_at for pause in some if pause.kind == PROMISE)
        for account_id, some in pauses.items()
        if any(pause.kind == PROMISE for pause in some)
    }
    return _grouped(
        (
            account_id,
            Received(
                amount, currency, received_at, local_day(received_at, parties[account_id].timezone)
            ),
        )
        for account_id, amount, currency, received_at in among(
            connection, _RECEIVED, _payment.account_id, since
        )
        if received_at >= since[account_id]
    )


def _holidays(
    connection: Connection, branch_ids: Collection[str]
) -> dict[str, frozenset[datetime.date]]:
    """Return each branch's holidays."""
    holiday = branch_holiday.c
    query = select(holiday.branch_id, holiday.day_on)
    found = _grouped(
        (row.branch_id, _day(row.day_on))
        for row in among(connection, query, holiday.branch_id, branch_ids)
    )
    return {branch_id: frozenset(days) for branch_id, days in found.items()}


def _versions(
    connection: Connection, schedule_ids: Collection[str]
) -> dict[str, list[tuple[int, Schedule]]]:
    """Return (valid from, version) of schedules by id."""
    schedule = dunning_schedule.c
    query = select(schedule.schedule_id, schedule.valid_from_at, schedule.document)
    return _grouped(
        (row.schedule_id, (row.valid_from_at, decode_schedule(row.document)))
        for row in among(connection, query, schedule.schedule_id, schedule_ids)
    )


def _pause_of(row: Any) -> Pause:
    """Return a pause from its row."""
    return Pause(
        row.pause_id,
        row.kind,
        row.invoice_id,
        _day(row.from_on),
        _day(row.until_on) if row.until_on else None,
        bool(row.restores),
        row.made_at,
        _day(row.ended_on) if row.ended_on else None,
        row.amount_minor,
        row.currency,
        row.outcome,
    )


def _day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def _grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    """Return the second parts by the first."""
    found: dict[str, list[Any]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return dict(found)
