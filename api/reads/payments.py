"""Payments of accounts with their allocations; credit; refunds."""

from __future__ import annotations

from sqlalchemy import Connection, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.billing import Payment
from api.models.payments import AccountCredit, Allocated, PaymentDetail, Refund
from api.models.values import Money
from api.problems import not_found
from api.reads.parties import get_account, scoped
from api.reads.rows import with_amount
from billing.adapters import payment_tables, tables
from billing.adapters.allocations import allocations_of, credit_of, find_credit
from billing.payments import Allocation


def get_payment(connection: Connection, branch_id: str | None, payment_id: str) -> PaymentDetail:
    """Return one payment with all that was ever allocated of it, or raise a 404 Problem."""
    statement = select(tables.payment).where(tables.payment.c.payment_id == payment_id)
    row = connection.execute(scoped(statement, tables.payment, branch_id)).one_or_none()
    if row is None:
        raise not_found("payment", payment_id)
    credit = find_credit(connection, payment_id)
    return PaymentDetail(
        **dict(with_amount(row, Payment)),
        credit_left=Money.of(credit.left_minor if credit else 0, row.currency),
        allocations=[_allocated(one) for one in allocations_of(connection, payment_id)],
    )


def _allocated(allocation: Allocation) -> Allocated:
    return Allocated(
        invoice_id=allocation.invoice_id,
        amount=Money.of(allocation.amount_minor, allocation.currency),
        recovered=Money.of(allocation.recovered_minor, allocation.currency),
        taken=Money.of(allocation.taken_minor, allocation.taken_currency),
        allocated_at=allocation.allocated_at,
        allocated_by=allocation.allocated_by,
    )


def list_account_payments(
    connection: Connection, branch_id: str | None, account_id: str, paging: Paging
) -> Slice[Payment]:
    """Return an account's payments, the newest first; a 404 Problem for no such account."""
    get_account(connection, branch_id, account_id)
    payment = tables.payment.c
    statement = select(tables.payment).where(payment.account_id == account_id)
    columns = [payment.received_at, payment.payment_id]
    rows = connection.execute(paged(statement, columns, paging, [int, str], descending=True))
    found = [with_amount(row, Payment) for row in rows]
    return slice_of(found, paging, lambda p: [p.received_at, p.payment_id])


def get_credit(connection: Connection, branch_id: str | None, account_id: str) -> AccountCredit:
    """Return an account's credit and what is in flight; a 404 Problem for no such account."""
    get_account(connection, branch_id, account_id)
    payment = tables.payment.c
    pending = connection.execute(
        select(tables.payment)
        .where(payment.account_id == account_id, payment.status == "pending")
        .order_by(payment.received_at, payment.payment_id)
    )
    return AccountCredit(
        account_id=account_id,
        credit=[Money.of(left, code) for code, left in credit_of(connection, account_id).items()],
        in_flight=[with_amount(row, Payment) for row in pending],
    )


def list_refunds(
    connection: Connection, branch_id: str | None, account_id: str, paging: Paging
) -> Slice[Refund]:
    """Return an account's refunds, the newest first; a 404 Problem for no such account."""
    get_account(connection, branch_id, account_id)
    refund = payment_tables.refund.c
    statement = select(payment_tables.refund).where(refund.account_id == account_id)
    columns = [refund.refunded_at, refund.refund_id]
    rows = connection.execute(paged(statement, columns, paging, [int, str], descending=True))
    found = [with_amount(row, Refund) for row in rows]
    return slice_of(found, paging, lambda r: [r.refunded_at, r.refund_id])


def get_refund_by_reference(
    connection: Connection, branch_id: str, method: str, reference: str
) -> Refund:
    """Return the refund of a method and reference, which is there."""
    refund = payment_tables.refund.c
    row = connection.execute(
        select(payment_tables.refund).where(
            refund.branch_id == branch_id, refund.method == method, refund.reference == reference
        )
    ).one()
    return with_amount(row, Refund)
