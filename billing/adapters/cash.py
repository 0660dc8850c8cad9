"""Shifts of cashiers in the database. Each call is part of the caller's transaction.

Whoever moves cash locks the shift's row first, so a closing counts all that moved and nothing
moves behind it.
"""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from billing.accounts import Branch
from billing.adapters import ledger
from billing.adapters.cash_tables import cash_movement, cash_shift
from billing.adapters.repositories import find
from billing.adapters.series import take_number
from billing.cash import (
    CLOSING_SERIES,
    PAID_IN,
    PAID_OUT,
    PAYMENT,
    RECEIPT_SERIES,
    REFUND,
    CashMovement,
    CashShift,
    ShiftRefusedError,
    ShiftReport,
    closed_transaction,
    movement_transaction,
    opened_transaction,
    report_of,
    require_cash,
    require_open,
)
from billing.ledger import Transaction

_SHIFT = [cash_shift.c[f.name] for f in dataclasses.fields(CashShift)]
_MOVEMENT = [cash_movement.c[f.name] for f in dataclasses.fields(CashMovement)]


def open_shift(connection: Connection, shift: CashShift) -> None:
    """Open a shift with its float. ShiftRefusedError: the cashier has an open one already."""
    try:
        with connection.begin_nested():
            connection.execute(insert(cash_shift), [dataclasses.asdict(shift)])
    except IntegrityError as error:
        if open_shift_of(connection, shift.cashier_id) is None:
            raise
        raise ShiftRefusedError(f"{shift.cashier} has an open shift: close it first") from error
    _post(connection, opened_transaction(shift), shift.opened_at)


def open_shift_of(connection: Connection, cashier_id: str) -> CashShift | None:
    """Return a cashier's open shift, locked, or None."""
    row = connection.execute(
        select(*_SHIFT)
        .where(cash_shift.c.cashier_id == cashier_id, cash_shift.c.closed_at.is_(None))
        .with_for_update()
    ).first()
    return CashShift(*row) if row else None


def find_shift(connection: Connection, shift_id: str) -> CashShift | None:
    """Return a shift, or None."""
    row = connection.execute(select(*_SHIFT).where(cash_shift.c.shift_id == shift_id)).first()
    return CashShift(*row) if row else None


def movements_of(connection: Connection, shift_id: str) -> list[CashMovement]:
    """Return what moved in a shift, in order."""
    query = select(*_MOVEMENT).where(cash_movement.c.shift_id == shift_id)
    return [
        CashMovement(*row) for row in connection.execute(query.order_by(cash_movement.c.number))
    ]


def shift_report(connection: Connection, shift: CashShift) -> ShiftReport:
    """Return a shift's X report while it is open, its Z report once it is closed."""
    return report_of(shift, movements_of(connection, shift.shift_id))


def receive_cash(
    connection: Connection, shift_id: str, payment_id: str, amount_minor: int, at: int
) -> CashMovement:
    """Note a payment's cash, whose posting is the payment's own, and give its receipt a number."""
    wanted = _wanted(shift_id, PAYMENT, amount_minor, at)
    return _move(connection, dataclasses.replace(wanted, business_id=payment_id))


def refund_cash(
    connection: Connection, shift_id: str, refund_id: str, amount_minor: int, at: int
) -> CashMovement:
    """Note a refund's cash likewise. ShiftRefusedError: the till does not hold it."""
    wanted = _wanted(shift_id, REFUND, -amount_minor, at)
    return _move(connection, dataclasses.replace(wanted, business_id=refund_id))


def pay_in(
    connection: Connection, shift_id: str, amount_minor: int, reason: str, at: int
) -> CashMovement:
    """Put cash of the safe into the till and post it. ShiftRefusedError: the shift is closed."""
    wanted = _wanted(shift_id, PAID_IN, amount_minor, at)
    wanted = dataclasses.replace(wanted, purpose="safe", reason=reason)
    return _posted(connection, _move(connection, wanted))


def pay_out(
    connection: Connection, shift_id: str, amount_minor: int, purpose: str, reason: str, at: int
) -> CashMovement:
    """Take cash out of the till, to the safe or as an expense, and post it.

    ShiftRefusedError: the shift is closed, or its till does not hold it.
    """
    wanted = _wanted(shift_id, PAID_OUT, -amount_minor, at)
    wanted = dataclasses.replace(wanted, purpose=purpose, reason=reason)
    return _posted(connection, _move(connection, wanted))


def close_shift(
    connection: Connection, shift_id: str, counted_minor: int, note: str, at: int
) -> ShiftReport:
    """Close a shift with its count, post it, and return its Z report.

    ShiftRefusedError: it was closed before, with another count; the same count is a repeat.
    """
    shift = _locked(connection, shift_id)
    if shift.closed_at is not None and shift.counted_minor == counted_minor:
        return shift_report(connection, shift)
    require_open(shift)
    branch = _branch(connection, shift)
    movements = movements_of(connection, shift_id)
    expected = report_of(shift, movements).expected_minor
    closed = dataclasses.replace(
        shift,
        closed_at=at,
        counted_minor=counted_minor,
        expected_minor=expected,
        closing_number=take_number(connection, branch, CLOSING_SERIES),
        note=note,
    )
    connection.execute(
        update(cash_shift)
        .where(cash_shift.c.shift_id == shift_id, cash_shift.c.closed_at.is_(None))
        .values(dataclasses.asdict(closed))
    )
    _post(connection, closed_transaction(closed), at)
    return report_of(closed, movements)


def _wanted(shift_id: str, kind: str, amount_minor: int, at: int) -> CashMovement:
    """Return a movement that has no number yet, nor its shift's branch."""
    return CashMovement(shift_id, 0, "", kind, amount_minor, "", "", "", "", at)


def _move(connection: Connection, wanted: CashMovement) -> CashMovement:
    """Note cash in or out of an open shift; payments and refunds get a receipt's number."""
    shift = _locked(connection, wanted.shift_id)
    require_open(shift)
    if wanted.amount_minor < 0:
        there = shift_report(connection, shift).expected_minor
        require_cash(shift, there, -wanted.amount_minor)
    last = connection.scalar(
        select(func.max(cash_movement.c.number)).where(cash_movement.c.shift_id == shift.shift_id)
    )
    receipt = ""
    if wanted.business_id:
        receipt = take_number(connection, _branch(connection, shift), RECEIPT_SERIES)
    movement = dataclasses.replace(
        wanted, number=(last or 0) + 1, branch_id=shift.branch_id, receipt_number=receipt
    )
    connection.execute(insert(cash_movement), [dataclasses.asdict(movement)])
    return movement


def _posted(connection: Connection, movement: CashMovement) -> CashMovement:
    shift = find_shift(connection, movement.shift_id)
    assert shift is not None, "it was locked above"
    _post(connection, movement_transaction(shift, movement), movement.moved_at)
    return movement


def _post(connection: Connection, posting: Transaction | None, at: int) -> None:
    if posting is not None:
        ledger.post_new(connection, posting, at)


def _locked(connection: Connection, shift_id: str) -> CashShift:
    """Return a shift under its row's lock. LookupError: there is none."""
    row = connection.execute(
        select(*_SHIFT).where(cash_shift.c.shift_id == shift_id).with_for_update()
    ).first()
    if row is None:
        raise LookupError(f"no shift {shift_id}")
    return CashShift(*row)


def _branch(connection: Connection, shift: CashShift) -> Branch:
    branch = find(connection, Branch, shift.branch_id)
    assert branch is not None, "a shift refers to its branch"
    return branch
