"""Deposits of accounts."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.deposits import Deposit, DepositCreate, DepositRelease
from api.models.values import Page
from api.reads import deposits as reads
from api.requests import CallerDep
from api.resources.answers import problems
from api.writes import deposits as writes
from billing.adapters.databases import reading

router = APIRouter()


@router.post(
    "/accounts/{account_id}/deposits",
    tags=["payments"],
    status_code=201,
    response_model=Deposit,
    responses=problems(404, 409),
)
def take_deposit(command: CommandDep, account_id: str, body: DepositCreate) -> Response:
    """Set credit of an account aside: no invoice takes it until it is released."""
    path = f"/v1/accounts/{account_id}/deposits"
    return command.once(
        lambda t: Done(writes.take_deposit(t, account_id, body), 201, path)
    ).response()


@router.get("/accounts/{account_id}/deposits", tags=["payments"], responses=problems(404))
def list_deposits(caller: CallerDep, account_id: str) -> Page[Deposit]:
    """List an account's deposits, the newest first."""
    with reading(caller.services.engine) as connection:
        return Page(items=reads.list_deposits(connection, caller.branch_id, account_id))


@router.post(
    "/deposits/{deposit_id}/release",
    tags=["payments"],
    response_model=Deposit,
    responses=problems(404, 409),
)
def release_deposit(command: CommandDep, deposit_id: str, body: DepositRelease) -> Response:
    """Make a deposit credit again: it pays what is open, and what is left can be refunded."""
    return command.once(lambda t: Done(writes.release_deposit(t, deposit_id, body))).response()
