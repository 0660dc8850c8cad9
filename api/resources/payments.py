"""Payments of accounts, their allocation, refunds and write-offs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.billing import Invoice, Payment
from api.models.payments import (
    AccountCredit,
    AccountPaymentCreate,
    PaymentDetail,
    PaymentOrder,
    PaymentOrderCreate,
    PaymentReallocate,
    PaymentReason,
    PaymentSettle,
    Refund,
    RefundCreate,
)
from api.models.values import Page
from api.reads import payments as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.writes import payments as writes
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter()


@router.post(
    "/accounts/{account_id}/payments",
    tags=["payments"],
    status_code=201,
    response_model=PaymentDetail,
    responses=problems(404, 409),
)
def create_account_payment(
    command: CommandDep, account_id: str, body: AccountPaymentCreate
) -> Response:
    """Record money of an account: named invoices first, then the oldest; the rest is credit."""

    def record(transaction: CommandTransaction) -> Done:
        paid = writes.pay_account(transaction, account_id, body)
        return Done(paid, 201, f"/v1/payments/{paid.payment_id}")

    return command.once(record).response()


@router.post(
    "/accounts/{account_id}/payment-orders",
    tags=["payments"],
    status_code=201,
    response_model=PaymentOrder,
    responses=problems(404, 409),
)
def create_payment_order(
    command: CommandDep, account_id: str, body: PaymentOrderCreate
) -> Response:
    """Say how to pay at a counter or by transfer; what is paid so finds its account by itself."""

    def order(transaction: CommandTransaction) -> Done:
        ordered = writes.order_payment(transaction, account_id, body)
        return Done(ordered, 201, f"/v1/payments/{ordered.payment_id}")

    return command.once(order).response()


@router.get("/accounts/{account_id}/payments", tags=["payments"], responses=problems(404))
def list_account_payments(caller: CallerDep, paging: PagingDep, account_id: str) -> Page[Payment]:
    """List an account's payments, the newest first."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_account_payments(connection, caller.branch_id, account_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/accounts/{account_id}/credit", tags=["payments"], responses=problems(404))
def get_account_credit(caller: CallerDep, account_id: str) -> AccountCredit:
    """Get what an account has beyond its invoices, and its payments in flight."""
    with reading(caller.services.engine) as connection:
        return reads.get_credit(connection, caller.branch_id, account_id)


@router.post(
    "/accounts/{account_id}/refunds",
    tags=["payments"],
    status_code=201,
    response_model=Refund,
    responses=problems(404, 409),
)
def create_refund(command: CommandDep, account_id: str, body: RefundCreate) -> Response:
    """Give credit back to the customer; never more than is there."""
    return command.once(lambda t: Done(writes.refund_account(t, account_id, body), 201)).response()


@router.get("/accounts/{account_id}/refunds", tags=["payments"], responses=problems(404))
def list_refunds(caller: CallerDep, paging: PagingDep, account_id: str) -> Page[Refund]:
    """List an account's refunds, the newest first."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_refunds(connection, caller.branch_id, account_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/payments/{payment_id}", tags=["payments"], responses=problems(404))
def get_payment(caller: CallerDep, payment_id: str) -> PaymentDetail:
    """Get one payment with every allocation of its money."""
    with reading(caller.services.engine) as connection:
        return reads.get_payment(connection, caller.branch_id, payment_id)


@router.post(
    "/payments/{payment_id}/settle",
    tags=["payments"],
    response_model=PaymentDetail,
    responses=problems(404, 409),
)
def settle_payment(command: CommandDep, payment_id: str, body: PaymentSettle) -> Response:
    """Let a payment in flight count: its money has come."""
    return command.once(lambda t: Done(writes.settle_payment(t, payment_id, body))).response()


@router.post(
    "/payments/{payment_id}/fail",
    tags=["payments"],
    response_model=PaymentDetail,
    responses=problems(404, 409),
)
def fail_payment(command: CommandDep, payment_id: str, body: PaymentReason) -> Response:
    """Say that a payment in flight does not come."""
    return command.once(lambda t: Done(writes.fail_payment(t, payment_id, body.reason))).response()


@router.post(
    "/payments/{payment_id}/reverse",
    tags=["payments"],
    response_model=PaymentDetail,
    responses=problems(404, 409),
)
def reverse_payment(command: CommandDep, payment_id: str, body: PaymentReason) -> Response:
    """Take a payment back that its bank took back; what it paid is open again."""
    return command.once(
        lambda t: Done(writes.reverse_payment(t, payment_id, body.reason))
    ).response()


@router.post(
    "/payments/{payment_id}/reallocate",
    tags=["payments"],
    response_model=PaymentDetail,
    responses=problems(404, 409),
)
def reallocate_payment(command: CommandDep, payment_id: str, body: PaymentReallocate) -> Response:
    """Let a payment pay other invoices than it does now."""
    return command.once(lambda t: Done(writes.reallocate_payment(t, payment_id, body))).response()


@router.post(
    "/invoices/{invoice_id}/write-off",
    tags=["payments"],
    response_model=Invoice,
    responses=problems(404, 409),
)
def write_off_invoice(command: CommandDep, invoice_id: str, body: PaymentReason) -> Response:
    """Give up what an invoice still asks for, as bad debt. Who names it may pay it yet."""
    return command.once(
        lambda t: Done(writes.write_off_invoice(t, invoice_id, body.reason))
    ).response()
