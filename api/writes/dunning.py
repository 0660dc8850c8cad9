"""Commands on payment terms, schedules and holidays; promises, holds and their release."""

from __future__ import annotations

import datetime
import json
from typing import Any

from sqlalchemy import select

from api.instants import local
from api.models.dunning import (
    AccountTerms,
    CustomerGroup,
    CustomerGroupCreate,
    DunningHoldCreate,
    DunningPause,
    DunningSchedule,
    DunningScheduleCreate,
    Holiday,
    HolidayCreate,
    PromiseCreate,
    Terms,
)
from api.problems import Problem, invalid_field
from api.reads import dunning as reads
from api.reads import parties
from api.reads.billing import get_invoice
from api.writes.transaction import CommandTransaction
from api.writes.versions import next_version
from billing.adapters import dunning_tables
from billing.adapters.databases import upsert
from billing.adapters.dossiers import newest_schedule, read_cases
from billing.adapters.dunning import bring_in_line
from billing.dunning import DISPUTE, PROMISE, Pause, promise_refusal
from billing.dunning_schedule import DunningError, encode_schedule, schedule_from


def set_branch_terms(transaction: CommandTransaction, branch_id: str, body: Terms) -> Terms:
    """Say what holds for accounts of a branch; a 404 Problem for one out of reach."""
    parties.get_branch(transaction.connection, transaction.principal.branch_id, branch_id)
    _require_schedule(transaction, branch_id, body.schedule_id)
    _replace(transaction, dunning_tables.branch_terms, {"branch_id": branch_id, **dict(body)})
    return body


def set_account_terms(
    transaction: CommandTransaction, account_id: str, body: AccountTerms
) -> AccountTerms:
    """Put an account into a group, or grant it terms of its own."""
    reach = transaction.principal.branch_id
    account = parties.get_account(transaction.connection, reach, account_id)
    _require_schedule(transaction, account.branch_id, body.schedule_id)
    _require_group(transaction, account.branch_id, body.group_id)
    _replace(transaction, dunning_tables.account_terms, {"account_id": account_id, **dict(body)})
    bring_in_line(transaction.connection, account_id, transaction.now_at)
    return body


def write_group(transaction: CommandTransaction, body: CustomerGroupCreate) -> CustomerGroup:
    """Make a group, or change it; 409 where another branch has the id."""
    branch_id = transaction.branch_of(body.branch_id).branch_id
    table = dunning_tables.customer_group
    query = select(table.c.branch_id).where(table.c.group_id == body.group_id)
    if transaction.connection.scalar(query) not in (None, branch_id):
        raise Problem("conflict", f"The group id {body.group_id!r} is taken.")
    _require_schedule(transaction, branch_id, body.schedule_id)
    group = CustomerGroup(**{**dict(body), "branch_id": branch_id})
    _replace(transaction, table, dict(group))
    return group


def create_schedule(
    transaction: CommandTransaction, body: DunningScheduleCreate
) -> DunningSchedule:
    """Write a schedule's next version. A 422 Problem names what is wrong with it."""
    branch_id = transaction.branch_of(body.branch_id).branch_id
    table = dunning_tables.dunning_schedule
    key = table.c.schedule_id
    version = next_version(transaction, key, body.schedule_id, branch_id, "schedule")
    members = {"schedule_id": body.schedule_id, "version": version}
    try:
        schedule = schedule_from({**body.document, **members})
    except DunningError as error:
        raise invalid_field("/document", body.schedule_id, str(error)) from None
    _require_profiles(transaction, [step.profile for step in schedule.steps if step.profile])
    row: dict[str, Any] = {
        **members,
        "branch_id": branch_id,
        "name": schedule.name,
        "document": encode_schedule(schedule),
        "valid_from_at": body.valid_from_at or transaction.now_at,
    }
    transaction.add(table, row)
    return DunningSchedule(**{**row, "document": json.loads(row["document"])})


def add_holiday(transaction: CommandTransaction, branch_id: str, body: HolidayCreate) -> Holiday:
    """Add a holiday to a branch; the same day again takes the new name."""
    parties.get_branch(transaction.connection, transaction.principal.branch_id, branch_id)
    day_on = body.day_on.isoformat()
    row = {"branch_id": branch_id, "day_on": day_on, "name": body.name}
    _replace(transaction, dunning_tables.branch_holiday, row)
    return Holiday(day_on=day_on, name=body.name)


def promise(transaction: CommandTransaction, account_id: str, body: PromiseCreate) -> DunningPause:
    """Take a promise to pay; 422 names what of it cannot be taken."""
    reach = transaction.principal.branch_id
    parties.get_account(transaction.connection, reach, account_id)
    (case,) = read_cases(transaction.connection, [account_id], transaction.now_at)
    made = Pause(
        transaction.services.new_id("prm"),
        PROMISE,
        "",
        case.moment.today,
        body.until_on,
        body.restores,
        transaction.now_at,
        amount_minor=body.amount_minor,
        currency=body.currency,
    )
    schedule = newest_schedule(transaction.connection, account_id)
    refusal = promise_refusal(schedule, case.dossier, made, case.moment.today)
    if refusal:
        member, _, expected = refusal.partition(": expected ")
        raise invalid_field(f"/{member}", str(getattr(body, member)), expected)
    return _pause(transaction, account_id, made, body.reason)


def hold(transaction: CommandTransaction, account_id: str, body: DunningHoldCreate) -> DunningPause:
    """Hold dunning up, for the account or, in a dispute, for one invoice of it."""
    connection, reach = transaction.connection, transaction.principal.branch_id
    account = parties.get_account(connection, reach, account_id)
    zone = parties.get_branch(connection, None, account.branch_id).timezone
    today = local(transaction.now_at, zone).date()
    if body.until_on is not None and body.until_on < today:
        raise invalid_field("/until_on", body.until_on.isoformat(), f"{today} or later")
    if (body.kind == DISPUTE) != bool(body.invoice_id):
        expected = "an invoice with kind dispute, and only there"
        raise invalid_field("/invoice_id", body.invoice_id, expected)
    if body.invoice_id and get_invoice(connection, reach, body.invoice_id).account_id != account_id:
        raise invalid_field("/invoice_id", body.invoice_id, "an invoice of this account")
    made = Pause(
        transaction.services.new_id("hld"),
        body.kind,
        body.invoice_id,
        today,
        body.until_on,
        body.restores or body.kind == DISPUTE,
        transaction.now_at,
    )
    return _pause(transaction, account_id, made, body.reason)


def _pause(
    transaction: CommandTransaction, account_id: str, made: Pause, reason: str
) -> DunningPause:
    """Write a pause, and lift what it restores."""
    connection = transaction.connection
    row: dict[str, Any] = {
        "pause_id": made.pause_id,
        "branch_id": parties.get_account(connection, None, account_id).branch_id,
        "account_id": account_id,
        "invoice_id": made.invoice_id,
        "kind": made.kind,
        "restores": made.restores,
        "from_on": made.from_on.isoformat(),
        "until_on": made.until_on.isoformat() if made.until_on else None,
        "amount_minor": made.amount_minor,
        "currency": made.currency,
        "reason": reason,
        "made_at": made.made_at,
        "made_by": transaction.principal.name,
    }
    transaction.add(dunning_tables.dunning_pause, row)
    bring_in_line(connection, account_id, transaction.now_at)
    return reads.find_pause(connection, None, made.pause_id)


def release(transaction: CommandTransaction, pause_id: str) -> DunningPause:
    """End a promise, hold, dispute or exemption: today it goes on where it stood."""
    connection, reach = transaction.connection, transaction.principal.branch_id
    pause = reads.find_pause(connection, reach, pause_id)
    account = parties.get_account(connection, None, pause.account_id)
    zone = parties.get_branch(connection, None, account.branch_id).timezone
    today = local(transaction.now_at, zone).date()
    is_over = pause.until_on is not None and datetime.date.fromisoformat(pause.until_on) < today
    if pause.ended_on is not None or is_over:
        raise Problem("conflict", f"It has ended on {pause.ended_on or pause.until_on} already.")
    table = dunning_tables.dunning_pause
    connection.execute(
        table.update()
        .where(table.c.pause_id == pause_id)
        .values(
            ended_on=today.isoformat(),
            ended_at=transaction.now_at,
            ended_by=transaction.principal.name,
            outcome="released" if pause.kind == PROMISE and not pause.outcome else pause.outcome,
        )
    )
    bring_in_line(connection, pause.account_id, transaction.now_at)
    return reads.find_pause(connection, None, pause_id)


def _replace(transaction: CommandTransaction, table: Any, row: dict[str, Any]) -> None:
    """Write a row over the one that has its key."""
    keys = [column.name for column in table.primary_key.columns]
    connection = transaction.connection
    written = upsert(connection, table).values(row)
    values = {name: value for name, value in row.items() if name not in keys}
    connection.execute(written.on_conflict_do_update(index_elements=keys, set_=values))


def _require_schedule(transaction: CommandTransaction, branch_id: str, schedule_id: str) -> None:
    """Raise a 422 Problem for a schedule that the branch does not have."""
    table = dunning_tables.dunning_schedule.c
    query = select(table.schedule_id).where(
        table.schedule_id == schedule_id, table.branch_id == branch_id
    )
    if schedule_id and transaction.connection.execute(query).first() is None:
        raise invalid_field("/schedule_id", schedule_id, "a dunning schedule of the branch")


def _require_group(transaction: CommandTransaction, branch_id: str, group_id: str) -> None:
    """Raise a 422 Problem for a group that the branch does not have."""
    table = dunning_tables.customer_group.c
    query = select(table.group_id).where(table.group_id == group_id, table.branch_id == branch_id)
    if group_id and transaction.connection.execute(query).first() is None:
        raise invalid_field("/group_id", group_id, "a customer group of the branch")


def _require_profiles(transaction: CommandTransaction, profiles: list[str]) -> None:
    """Raise a 422 Problem for a speed that no router will be told."""
    known = [one.name for one in transaction.services.speed_profiles]
    for profile in profiles:
        if known and profile not in known:
            expected = f"one of the speed profiles {', '.join(known)}"
            raise invalid_field("/document/steps", profile, expected)
