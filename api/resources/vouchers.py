"""Vouchers: batches of codes, and their redemption."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.values import Page
from api.models.vouchers import (
    IssuedVoucherBatch,
    Redemption,
    RedemptionCreate,
    RefusedRedemption,
    Voucher,
    VoucherBatch,
    VoucherBatchCreate,
    VoucherSaleCreate,
)
from api.problems import Problem
from api.reads import vouchers as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems, unanswered
from api.resources.billing import answer_with_balance
from api.writes import vouchers as writes
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter()

Serial = Annotated[int, Path(ge=1, le=2**63 - 1, description="Number in its batch, from 1")]


@router.get("/voucher-batches", tags=["vouchers"], responses=problems())
def list_voucher_batches(caller: CallerDep, paging: PagingDep) -> Page[VoucherBatch]:
    """List the batches in reach, without their codes."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_batches(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/voucher-batches/{batch_id}", tags=["vouchers"], responses=problems(404))
def get_voucher_batch(caller: CallerDep, batch_id: str) -> VoucherBatch:
    """Get one batch, without its codes."""
    with reading(caller.services.engine) as connection:
        return reads.get_batch(connection, caller.branch_id, batch_id)


@router.get("/voucher-batches/{batch_id}/vouchers", tags=["vouchers"], responses=problems(404))
def list_vouchers(caller: CallerDep, paging: PagingDep, batch_id: str) -> Page[Voucher]:
    """List a batch's vouchers by number: which are redeemed, for whom, and which are not."""
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        cut = reads.list_vouchers(connection, caller.branch_id, batch_id, paging, now)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/voucher-batches",
    tags=["vouchers"],
    status_code=201,
    response_model=IssuedVoucherBatch,
    responses=problems(403, 404),
)
def create_voucher_batch(command: CommandDep, body: VoucherBatchCreate) -> Response:
    """Make a batch of vouchers. Their codes are in this answer and nowhere else."""

    def create(transaction: CommandTransaction) -> Done:
        issued = writes.create_batch(transaction, body)
        kept = issued.model_copy(update={"codes": None})
        return Done(issued, 201, f"/v1/voucher-batches/{issued.batch_id}", kept=kept)

    return command.once(create).response()


@router.post(
    "/voucher-batches/{batch_id}/sell",
    tags=["vouchers"],
    response_model=VoucherBatch,
    responses=problems(404, 409),
)
def sell_voucher_batch(command: CommandDep, batch_id: str, body: VoucherSaleCreate) -> Response:
    """Record that a batch was sold: cash and the dealer's discount against what we owe."""
    return command.once(lambda t: Done(writes.sell_batch(t, batch_id, body))).response()


@router.post(
    "/voucher-batches/{batch_id}/void",
    tags=["vouchers"],
    response_model=VoucherBatch,
    responses=problems(404),
)
def void_voucher_batch(command: CommandDep, batch_id: str) -> Response:
    """Void every voucher of a batch that is not redeemed yet."""
    return command.once(lambda t: Done(writes.void_batch(t, batch_id))).response()


@router.post(
    "/voucher-batches/{batch_id}/vouchers/{serial}/void",
    tags=["vouchers"],
    response_model=VoucherBatch,
    responses=problems(404, 409),
)
def void_voucher(command: CommandDep, batch_id: str, serial: Serial) -> Response:
    """Void one voucher, for instance a card that was lost."""
    return command.once(lambda t: Done(writes.void_voucher(t, batch_id, serial))).response()


@router.post(
    "/vouchers/redeem",
    tags=["vouchers"],
    status_code=201,
    response_model=Redemption,
    responses={**unanswered(Redemption), **problems(404, 409, 429)},
)
async def redeem_voucher(command: CommandDep, body: RedemptionCreate) -> Response:
    """Redeem a code onto a prepaid balance and wait for rating's answer; a code works once."""
    answer = await run_in_threadpool(command.once, lambda t: writes.redeem(t, body))
    if answer.status != 201:
        refused = RefusedRedemption.model_validate_json(answer.body)
        raise Problem(refused.kind, refused.reason)
    return await answer_with_balance(command, answer, Redemption.model_validate_json(answer.body))
