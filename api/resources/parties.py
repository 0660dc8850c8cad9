"""Branches, accounts and plans."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.parties import (
    Account,
    AccountCreate,
    AccountPatch,
    Branch,
    BranchCreate,
    Plan,
    PlanCreate,
)
from api.models.values import Page
from api.reads import parties as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.writes import parties as writes
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter()

Search = Annotated[
    str | None,
    Query(
        alias="q",
        max_length=100,
        pattern=r"^[^\x00-\x1f]*$",
        description="Words to look for",
        examples=["rahman"],
    ),
]


@router.get("/branches", tags=["branches"], responses=problems())
def list_branches(caller: CallerDep, paging: PagingDep) -> Page[Branch]:
    """List the branches that the key reaches."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_branches(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/branches/{branch_id}", tags=["branches"], responses=problems(404))
def get_branch(caller: CallerDep, branch_id: str) -> Branch:
    """Get one branch."""
    with reading(caller.services.engine) as connection:
        return reads.get_branch(connection, caller.branch_id, branch_id)


@router.post(
    "/branches",
    tags=["branches"],
    status_code=201,
    response_model=Branch,
    responses=problems(403, 409),
)
def create_branch(command: CommandDep, body: BranchCreate) -> Response:
    """Open a branch. Only the installation's own key may."""
    location = f"/v1/branches/{body.branch_id}"
    return command.once(lambda t: Done(writes.create_branch(t, body), 201, location)).response()


@router.get("/accounts", tags=["accounts"], responses=problems())
def list_accounts(caller: CallerDep, paging: PagingDep, q: Search = None) -> Page[Account]:
    """List accounts, or search them by name, e-mail or phone."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_accounts(connection, caller.branch_id, paging, q)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/accounts/{account_id}", tags=["accounts"], responses=problems(404))
def get_account(caller: CallerDep, account_id: str) -> Account:
    """Get one account."""
    with reading(caller.services.engine) as connection:
        return reads.get_account(connection, caller.branch_id, account_id)


@router.post(
    "/accounts",
    tags=["accounts"],
    status_code=201,
    response_model=Account,
    responses=problems(403, 404, 409),
)
def create_account(command: CommandDep, body: AccountCreate) -> Response:
    """Create an account."""

    def create(transaction: CommandTransaction) -> Done:
        account = writes.create_account(transaction, body)
        return Done(account, 201, f"/v1/accounts/{account.account_id}")

    return command.once(create).response()


@router.patch(
    "/accounts/{account_id}",
    tags=["accounts"],
    response_model=Account,
    responses=problems(404),
)
def patch_account(command: CommandDep, account_id: str, body: AccountPatch) -> Response:
    """Change an account's name or contact data."""
    return command.once(lambda t: Done(writes.patch_account(t, account_id, body))).response()


@router.get("/plans", tags=["plans"], responses=problems())
def list_plans(caller: CallerDep, paging: PagingDep) -> Page[Plan]:
    """List every version of every plan."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_plans(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/plans/{plan_id}", tags=["plans"], responses=problems(404))
def get_plan(
    caller: CallerDep,
    plan_id: str,
    version: Annotated[
        int | None, Query(ge=1, description="The newest where left out", examples=[1])
    ] = None,
) -> Plan:
    """Get a plan's newest version, or the one that is named."""
    with reading(caller.services.engine) as connection:
        return reads.get_plan(connection, caller.branch_id, plan_id, version)


@router.post(
    "/plans",
    tags=["plans"],
    status_code=201,
    response_model=Plan,
    responses=problems(403, 404, 409),
)
def create_plan(command: CommandDep, body: PlanCreate) -> Response:
    """Create a plan's next version; what is sold already keeps its own."""

    def create(transaction: CommandTransaction) -> Done:
        plan = writes.create_plan(transaction, body)
        return Done(plan, 201, f"/v1/plans/{plan.plan_id}?version={plan.version}")

    return command.once(create).response()
