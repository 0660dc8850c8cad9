"""Instalment plans as the API shows them."""

from __future__ import annotations

from sqlalchemy import Connection

from api.models.instalments import InstalmentPlan, InstalmentState
from api.models.values import Money
from api.problems import not_found
from api.reads.parties import get_account
from billing.adapters.instalments import PlanState, find_plan_state, plans_of


def list_plans(
    connection: Connection, branch_id: str | None, account_id: str
) -> list[InstalmentPlan]:
    """Return an account's plans, the oldest first; a 404 Problem for no such account."""
    get_account(connection, branch_id, account_id)
    return [shown(state) for state in plans_of(connection, account_id)]


def get_plan(connection: Connection, branch_id: str | None, plan_id: str) -> InstalmentPlan:
    """Return one plan, or raise a 404 Problem."""
    state = find_plan_state(connection, plan_id)
    if state is None or branch_id not in (None, state.plan.branch_id):
        raise not_found("instalment plan", plan_id)
    return shown(state)


def shown(state: PlanState) -> InstalmentPlan:
    """Return a plan as the API shows it."""
    plan = state.plan
    left = {one.instalment.number: one.open_minor for one in state.open}
    return InstalmentPlan(
        plan_id=plan.plan_id,
        invoice_id=plan.invoice_id,
        account_id=plan.account_id,
        status=state.status,
        created_at=plan.created_at,
        created_by=plan.created_by,
        parts=[
            InstalmentState(
                number=part.number,
                due_on=part.due_on,
                amount=Money.of(part.amount_minor, plan.currency),
                open=Money.of(left.get(part.number, 0), plan.currency),
            )
            for part in state.parts
        ],
    )
