"""Instalment plans over invoices."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.instalments import InstalmentPlan, InstalmentPlanCreate
from api.models.values import Page
from api.reads import instalments as reads
from api.requests import CallerDep
from api.resources.answers import problems
from api.writes import instalments as writes
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter()


@router.post(
    "/invoices/{invoice_id}/instalment-plans",
    tags=["payments"],
    status_code=201,
    response_model=InstalmentPlan,
    responses=problems(404, 409),
)
def agree_instalments(command: CommandDep, invoice_id: str, body: InstalmentPlanCreate) -> Response:
    """Agree to pay what is open of an invoice in parts; dunning then looks at their days."""

    def agree(transaction: CommandTransaction) -> Done:
        plan = writes.agree_plan(transaction, invoice_id, body)
        return Done(plan, 201, f"/v1/instalment-plans/{plan.plan_id}")

    return command.once(agree).response()


@router.get("/accounts/{account_id}/instalment-plans", tags=["payments"], responses=problems(404))
def list_instalment_plans(caller: CallerDep, account_id: str) -> Page[InstalmentPlan]:
    """List an account's plans, the oldest first."""
    with reading(caller.services.engine) as connection:
        return Page(items=reads.list_plans(connection, caller.branch_id, account_id))


@router.get("/instalment-plans/{instalment_plan_id}", tags=["payments"], responses=problems(404))
def get_instalment_plan(caller: CallerDep, instalment_plan_id: str) -> InstalmentPlan:
    """Get one plan with what is open of its parts."""
    with reading(caller.services.engine) as connection:
        return reads.get_plan(connection, caller.branch_id, instalment_plan_id)


@router.post(
    "/instalment-plans/{instalment_plan_id}/cancel",
    tags=["payments"],
    response_model=InstalmentPlan,
    responses=problems(404),
)
def cancel_instalment_plan(command: CommandDep, instalment_plan_id: str) -> Response:
    """End a plan: its invoice is due as it was before."""
    return command.once(lambda t: Done(writes.cancel_plan(t, instalment_plan_id))).response()
