"""Instalment plans in the database; each call is part of the caller's transaction."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from billing.adapters import tables
from billing.adapters.allocations import locked_invoice
from billing.adapters.dunning import bring_in_line
from billing.adapters.instalment_tables import instalment, instalment_plan
from billing.instalments import (
    Instalment,
    InstalmentPlan,
    OpenInstalment,
    open_parts,
    status_of_plan,
)
from billing.payments import PaymentRefusedError

_PLAN = [instalment_plan.c[f.name] for f in dataclasses.fields(InstalmentPlan)]


@dataclasses.dataclass(frozen=True, slots=True)
class PlanState:
    """A plan as it stands: its parts, those that are open, and its status."""

    plan: InstalmentPlan
    parts: tuple[Instalment, ...]
    open: tuple[OpenInstalment, ...]
    status: str


def agree(
    connection: Connection,
    invoice_id: str,
    plan_id: str,
    parts_of: Callable[[int], Sequence[Instalment]],
    made: tuple[str, int],
) -> PlanState:
    """Make a plan over what an invoice still asks for; made is (by whom, when in ms).

    LookupError: no such invoice. PaymentRefusedError: it asks for nothing, or has a plan. Whatever
    parts_of raises for the open amount passes through.
    """
    row = locked_invoice(connection, invoice_id)
    account_id = row.account_id
    if row.status != "finalized" or row.open_minor <= 0:
        raise PaymentRefusedError(f"invoice {invoice_id} asks for nothing")
    standing = _states(connection, instalment_plan.c.invoice_id == invoice_id)
    if any(state.status != "cancelled" for state in standing):
        raise PaymentRefusedError(f"invoice {invoice_id} has an instalment plan: cancel it first")
    parts = tuple(parts_of(row.open_minor))
    by, at = made
    plan = InstalmentPlan(
        plan_id,
        row.branch_id,
        account_id,
        invoice_id,
        False,
        row.paid_minor,
        row.currency,
        at,
        by,
    )
    connection.execute(insert(instalment_plan), [dataclasses.asdict(plan)])
    connection.execute(
        insert(instalment),
        [
            {
                "plan_id": plan_id,
                "number": part.number,
                "due_on": part.due_on.isoformat(),
                "amount_minor": part.amount_minor,
            }
            for part in parts
        ],
    )
    bring_in_line(connection, account_id, at)
    [state] = _states(connection, instalment_plan.c.plan_id == plan_id)
    return state


def cancel(connection: Connection, plan_id: str) -> bool:
    """End a plan: its invoice is due as it was before; False where it was ended already."""
    changed = connection.execute(
        update(instalment_plan)
        .where(instalment_plan.c.plan_id == plan_id, ~instalment_plan.c.is_cancelled)
        .values(is_cancelled=True)
    )
    return bool(changed.rowcount)


def find_plan_state(connection: Connection, plan_id: str) -> PlanState | None:
    """Return a plan as it stands, or None."""
    found = _states(connection, instalment_plan.c.plan_id == plan_id)
    return found[0] if found else None


def plans_of(connection: Connection, account_id: str) -> list[PlanState]:
    """Return an account's plans, the oldest first, those too that are done or cancelled.

    Dunning takes the open parts of a running one in place of its invoice.
    """
    return _states(connection, instalment_plan.c.account_id == account_id)


def _states(connection: Connection, condition: Any) -> list[PlanState]:
    rows = connection.execute(_plans().where(condition)).all()
    parts: dict[str, list[Instalment]] = {}
    ids = [row.plan_id for row in rows]
    query = select(instalment).where(instalment.c.plan_id.in_(ids))
    for row in connection.execute(query.order_by(instalment.c.plan_id, instalment.c.number)):
        day = datetime.date.fromisoformat(row.due_on)
        parts.setdefault(row.plan_id, []).append(Instalment(row.number, day, row.amount_minor))
    return [_state(row, parts.get(row.plan_id, [])) for row in rows]


def _plans() -> Select[Any]:
    invoice = tables.invoice.c
    return (
        select(*_PLAN, invoice.paid_minor)
        .join_from(instalment_plan, tables.invoice)
        .order_by(instalment_plan.c.created_at, instalment_plan.c.plan_id)
    )


def _state(row: Row[Any], parts: Sequence[Instalment]) -> PlanState:
    plan = InstalmentPlan(*row[: len(_PLAN)])
    paid = row.paid_minor
    return PlanState(
        plan,
        tuple(parts),
        tuple(open_parts(parts, paid - plan.paid_before_minor)),
        status_of_plan(plan, parts, paid),
    )
