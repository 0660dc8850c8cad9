"""Tills: shifts of cashiers, X and Z reports, receipts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.cash import (
    CashMovementCreate,
    CashReport,
    CashShift,
    CashShiftClose,
    CashShiftOpen,
)
from api.models.values import Page
from api.reads import cash as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import paper, problems
from api.resources.billing import pdf_response
from api.writes import cash as writes
from api.writes.transaction import CommandTransaction
from billing.adapters import cash, receipts
from billing.adapters.databases import reading

router = APIRouter()


@router.post(
    "/cash-shifts",
    tags=["cash"],
    status_code=201,
    response_model=CashShift,
    responses=problems(403, 404, 409),
)
def open_cash_shift(command: CommandDep, body: CashShiftOpen) -> Response:
    """Open the caller's shift; its cash payments lie in this till from now on."""

    def open_one(transaction: CommandTransaction) -> Done:
        shift = writes.open_shift(transaction, body)
        return Done(shift, 201, f"/v1/cash-shifts/{shift.shift_id}")

    return command.once(open_one).response()


@router.get("/cash-shifts", tags=["cash"], responses=problems())
def list_cash_shifts(
    caller: CallerDep,
    paging: PagingDep,
    is_open: Annotated[bool, Query(description="Only those that are open")] = False,
) -> Page[CashShift]:
    """List the shifts in reach, the newest first."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_shifts(connection, caller.branch_id, paging, is_open)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/cash-shifts/{shift_id}", tags=["cash"], responses=problems(404))
def get_cash_shift(caller: CallerDep, shift_id: str) -> CashShift:
    """Get one shift."""
    with reading(caller.services.engine) as connection:
        return reads.shift_of(reads.find_shift(connection, caller.branch_id, shift_id))


@router.get("/cash-shifts/{shift_id}/report", tags=["cash"], responses=problems(404))
def get_cash_report(caller: CallerDep, shift_id: str) -> CashReport:
    """Get the X report of an open shift, or the Z report of a closed one."""
    with reading(caller.services.engine) as connection:
        shift = reads.find_shift(connection, caller.branch_id, shift_id)
        return reads.report_of(cash.shift_report(connection, shift))


@router.post(
    "/cash-shifts/{shift_id}/movements",
    tags=["cash"],
    status_code=201,
    response_model=CashReport,
    responses=problems(403, 404, 409),
)
def create_cash_movement(command: CommandDep, shift_id: str, body: CashMovementCreate) -> Response:
    """Pay cash in from the safe, or out to the safe or as an expense."""
    return command.once(
        lambda t: Done(writes.move_cash(t, shift_id, body), 201, f"/v1/cash-shifts/{shift_id}")
    ).response()


@router.post(
    "/cash-shifts/{shift_id}/close",
    tags=["cash"],
    response_model=CashReport,
    responses=problems(403, 404, 409),
)
def close_cash_shift(command: CommandDep, shift_id: str, body: CashShiftClose) -> Response:
    """Close a shift with what was counted; it never changes again."""
    return command.once(lambda t: Done(writes.close_shift(t, shift_id, body))).response()


@router.get(
    "/payments/{payment_id}/receipt",
    tags=["cash"],
    response_class=Response,
    responses={**paper("The receipt that a till gave, as it is printed"), **problems(404)},
)
def get_receipt(caller: CallerDep, payment_id: str) -> Response:
    """Get the receipt of a cash payment as PDF, 80 mm wide."""
    with reading(caller.services.engine) as connection:
        number, printed = reads.printed_receipt(connection, caller.branch_id, payment_id)
    return pdf_response(number, receipts.render_receipt(printed))
