"""Commands on tills: open and close a shift, pay in and out, give cash its receipt."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import billing.cash
from api.models.cash import (
    CashMovementCreate,
    CashReport,
    CashShift,
    CashShiftClose,
    CashShiftOpen,
)
from api.problems import Problem
from api.reads import cash as reads
from api.writes.transaction import CommandTransaction
from billing.adapters import cash
from billing.cash import ShiftRefusedError
from billing.payments import Payment, Refund

CASH_METHOD = "cash"
"""The method whose money lies in the till of the cashier's open shift."""


def open_shift(transaction: CommandTransaction, body: CashShiftOpen) -> CashShift:
    """Open the caller's shift; a 409 Problem where it has one."""
    branch_id = transaction.branch_of(body.branch_id).branch_id
    shift = billing.cash.CashShift(
        shift_id=transaction.services.new_id("shf"),
        branch_id=branch_id,
        cashier_id=transaction.principal.key_id,
        cashier=transaction.principal.name,
        currency=body.currency,
        opened_at=transaction.now_at,
        float_minor=body.float_minor,
    )
    with refusals():
        cash.open_shift(transaction.connection, shift)
    return reads.shift_of(shift)


def move_cash(
    transaction: CommandTransaction, shift_id: str, body: CashMovementCreate
) -> CashReport:
    """Pay cash into the caller's open till or out of it; answer with its X report."""
    connection, now = transaction.connection, transaction.now_at
    _own(transaction, shift_id)
    with refusals():
        if body.kind == billing.cash.PAID_IN:
            cash.pay_in(connection, shift_id, body.amount_minor, body.reason, now)
        else:
            cash.pay_out(connection, shift_id, body.amount_minor, body.purpose, body.reason, now)
    shift = reads.find_shift(connection, None, shift_id)
    return reads.report_of(cash.shift_report(connection, shift))


def close_shift(transaction: CommandTransaction, shift_id: str, body: CashShiftClose) -> CashReport:
    """Close the caller's shift with its count; answer with its Z report."""
    _own(transaction, shift_id)
    with refusals():
        report = cash.close_shift(
            transaction.connection, shift_id, body.counted_minor, body.note, transaction.now_at
        )
    return reads.report_of(report)


def shift_for(transaction: CommandTransaction, method: str, branch_id: str, currency: str) -> str:
    """Return the caller's open shift that takes this money, or an empty text.

    Cash in a currency or branch that is not the till's lies elsewhere.
    """
    if method != CASH_METHOD:
        return ""
    shift = cash.open_shift_of(transaction.connection, transaction.principal.key_id)
    if shift is None or (shift.branch_id, shift.currency) != (branch_id, currency):
        return ""
    return shift.shift_id


def receive(transaction: CommandTransaction, payment: Payment) -> None:
    """Give a settled payment that lies in a till its receipt."""
    if payment.shift_id:
        at, amount = transaction.now_at, payment.amount_minor
        with refusals():
            cash.receive_cash(
                transaction.connection, payment.shift_id, payment.payment_id, amount, at
            )


def give_out(transaction: CommandTransaction, refund: Refund) -> None:
    """Take a refund out of the till that it comes from; a 409 Problem where it holds less."""
    if refund.shift_id:
        at, amount = transaction.now_at, refund.amount_minor
        with refusals():
            cash.refund_cash(transaction.connection, refund.shift_id, refund.refund_id, amount, at)


def _own(transaction: CommandTransaction, shift_id: str) -> None:
    """Raise a Problem where the shift is out of reach (404) or another cashier's (403)."""
    principal = transaction.principal
    shift = reads.find_shift(transaction.connection, principal.branch_id, shift_id)
    if shift.cashier_id != principal.key_id and principal.branch_id is not None:
        raise Problem("forbidden", f"This is the shift of {shift.cashier}.")


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Make a 409 Problem of what a till refuses."""
    try:
        yield
    except ShiftRefusedError as error:
        raise Problem("conflict", f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
