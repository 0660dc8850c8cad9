"""Terms, groups, schedules; who owes, what happens to them next, and what was done."""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, select

import billing.dunning
from api.cursors import Paging, Slice, paged, slice_of
from api.instants import local
from api.models.dunning import (
    AccountDunning,
    AccountTerms,
    CustomerGroup,
    DunningPause,
    DunningSchedule,
    DunningStep,
    Holiday,
    NextStep,
    OpenItem,
    OverdueAccount,
    Restriction,
    Terms,
)
from api.models.values import Money
from api.problems import not_found
from api.reads.parties import get_account, get_branch, scoped
from api.reads.rows import members
from billing.adapters import dunning_tables, tables
from billing.adapters.databases import among
from billing.adapters.dossiers import OPEN_MINOR, Case, read_cases
from billing.dunning import DISPUTE, is_paused, next_step

_RESTRICTIONS = select(dunning_tables.dunning_restriction)
_NOTHING_SAID = {"terms_days": None, "grace_days": None, "schedule_id": ""}


def branch_terms(connection: Connection, reach: str | None, branch_id: str) -> Terms:
    """Return what a branch says of its accounts, or raise a 404 Problem."""
    get_branch(connection, reach, branch_id)
    table = dunning_tables.branch_terms
    row = connection.execute(select(table).where(table.c.branch_id == branch_id)).first()
    return Terms(**(members(row, Terms) if row else _NOTHING_SAID))


def account_terms(connection: Connection, reach: str | None, account_id: str) -> AccountTerms:
    """Return an account's group and own terms, or raise a 404 Problem."""
    get_account(connection, reach, account_id)
    table = dunning_tables.account_terms
    row = connection.execute(select(table).where(table.c.account_id == account_id)).first()
    return AccountTerms(**(members(row, AccountTerms) if row else _NOTHING_SAID))


def list_groups(connection: Connection, reach: str | None, paging: Paging) -> Slice[CustomerGroup]:
    """Return the customer groups in reach, by id."""
    table = dunning_tables.customer_group
    statement = scoped(select(table), table, reach)
    rows = connection.execute(paged(statement, [table.c.group_id], paging, [str]))
    groups = [CustomerGroup(**members(row, CustomerGroup)) for row in rows]
    return slice_of(groups, paging, lambda group: [group.group_id])


def list_schedules(
    connection: Connection, reach: str | None, paging: Paging
) -> Slice[DunningSchedule]:
    """Return every version of the schedules in reach, by id and version."""
    table = dunning_tables.dunning_schedule
    statement = scoped(select(table), table, reach)
    columns = [table.c.schedule_id, table.c.version]
    rows = connection.execute(paged(statement, columns, paging, [str, int]))
    schedules = [
        DunningSchedule(**{**row._mapping, "document": json.loads(row.document)}) for row in rows
    ]
    return slice_of(schedules, paging, lambda one: [one.schedule_id, one.version])


def list_holidays(connection: Connection, reach: str | None, branch_id: str) -> list[Holiday]:
    """Return a branch's holidays in order, or raise a 404 Problem."""
    get_branch(connection, reach, branch_id)
    table = dunning_tables.branch_holiday
    query = select(table.c.day_on, table.c.name).where(table.c.branch_id == branch_id)
    return [Holiday(**row._mapping) for row in connection.execute(query.order_by(table.c.day_on))]


def list_overdue(
    connection: Connection, reach: str | None, paging: Paging, now_ms: int
) -> Slice[OverdueAccount]:
    """Return the accounts in reach of which something is past its due day, by id."""
    account, invoice = tables.account, tables.invoice.c
    today = max(local(now_ms, zone).date() for zone in ("UTC", "Pacific/Kiritimati"))
    owing = select(invoice.account_id).where(
        invoice.status == "finalized", OPEN_MINOR > 0, invoice.due_on < today.isoformat()
    )
    statement = scoped(select(account.c.account_id), account, reach)
    statement = statement.where(account.c.account_id.in_(owing))
    rows = connection.execute(paged(statement, [account.c.account_id], paging, [str]))
    cut = slice_of([row.account_id for row in rows], paging, lambda key: [key])
    cases = read_cases(connection, cut.items, now_ms)
    restrictions = _restrictions(connection, cut.items)
    shown = [_overdue(case, restrictions.get(case.party.account_id)) for case in cases]
    return Slice([one for one in shown if one.overdue], cut.next_cursor)


def account_dunning(
    connection: Connection, reach: str | None, account_id: str, now_ms: int
) -> AccountDunning:
    """Return everything about an account's dunning, or raise a 404 Problem."""
    get_account(connection, reach, account_id)
    (case,) = read_cases(connection, [account_id], now_ms)
    head = _overdue(case, _restrictions(connection, [account_id]).get(account_id))
    step, pause = dunning_tables.dunning_step, dunning_tables.dunning_pause
    return AccountDunning(
        **dict(head),
        pauses=[pause_of(row) for row in _of_account(connection, pause, account_id, "made_at")],
        steps=[_step_of(row) for row in _of_account(connection, step, account_id, "taken_at")],
    )


def _of_account(
    connection: Connection, table: Table, account_id: str, newest: str
) -> Sequence[Row[Any]]:
    """Return an account's rows, the newest first."""
    query = select(table).where(table.c.account_id == account_id)
    return connection.execute(query.order_by(table.c[newest].desc())).all()


def find_pause(connection: Connection, reach: str | None, pause_id: str) -> DunningPause:
    """Return a pause in reach, or raise a 404 Problem."""
    table = dunning_tables.dunning_pause
    statement = scoped(select(table).where(table.c.pause_id == pause_id), table, reach)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise not_found("dunning hold", pause_id)
    return pause_of(row)


def pause_of(row: Row[Any]) -> DunningPause:
    """Return a pause from its row."""
    amount = Money.of(row.amount_minor, row.currency) if row.currency else None
    return DunningPause(**members(row, DunningPause, "amount"), amount=amount)


def _step_of(row: Row[Any]) -> DunningStep:
    owed = Money.of(row.open_minor, row.currency)
    return DunningStep(**members(row, DunningStep, "open"), open=owed)


def _restrictions(connection: Connection, account_ids: Collection[str]) -> dict[str, Restriction]:
    """Return what accounts are held to; those that are held to nothing are left out."""
    held = dunning_tables.dunning_restriction.c.account_id
    rows = among(connection, _RESTRICTIONS, held, account_ids)
    return {row.account_id: Restriction(**members(row, Restriction)) for row in rows}


def _overdue(case: Case, restriction: Restriction | None) -> OverdueAccount:
    """Return how an account stands."""
    dossier, today = case.dossier, case.moment.today
    disputes = [pause for pause in dossier.pauses if pause.kind == DISPUTE]
    sums: dict[str, int] = {}
    for item in dossier.items:
        if item.due_on < today and not is_paused(item, disputes, today):
            sums[item.currency] = sums.get(item.currency, 0) + item.open_minor
    pauses = [p for p in dossier.pauses if p.from_on <= today <= p.last_on]
    by = pauses[-1] if pauses else None
    until = by.last_on if by and by.last_on != datetime.date.max else None
    return OverdueAccount(
        account_id=case.party.account_id,
        account_name=case.party.name,
        branch_id=case.party.branch_id,
        overdue=[Money.of(amount, currency) for currency, amount in sorted(sums.items())],
        items=[
            OpenItem(
                item_id=item.item_id,
                invoice_id=item.invoice_id,
                number=item.number,
                due_on=item.due_on.isoformat(),
                open=Money.of(item.open_minor, item.currency),
                days_overdue=(today - item.due_on).days,
                next=_next(case, item),
            )
            for item in sorted(dossier.items, key=lambda item: (item.due_on, item.item_id))
        ],
        restriction=restriction,
        paused_by=by.kind if by else "",
        paused_until_on=until.isoformat() if until else None,
    )


def _next(case: Case, item: billing.dunning.OpenItem) -> NextStep | None:
    """Return what happens to an item next, where a schedule holds for it."""
    schedule = case.schedules.get(item.item_id)
    planned = next_step(schedule, item, case.dossier, case.moment) if schedule else None
    if planned is None:
        return None
    on = planned.on.isoformat() if planned.on else None
    return NextStep(step_id=planned.step.step_id, action=planned.step.action, on=on)
