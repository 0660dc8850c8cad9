"""Cash at the counter: a cashier's shift from float to count, and what it says to the ledger.

    opened     till │ cash                     the float, from the safe
    payments and refunds meet the till themselves (`billing.payments.money_account`)
    paid in    till │ cash                     change from the safe
    paid out   cash or petty expenses │ till   a drop to the safe, or stamps for the office
    closed     cash │ till                     what was counted goes to the safe
               cash over and short │ till      what is missing (over: the other way round)

So the till's account is zero whenever no shift is open.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from billing.ledger import (
    CASH,
    CASH_DIFFERENCE,
    PETTY_EXPENSES,
    TILL,
    Transaction,
    entries_of,
)

RECEIPT_SERIES = "RCP"
"""Receipts of a branch's tills, without gaps."""

CLOSING_SERIES = "Z"
"""Closings of a branch's tills (Z reports), without gaps."""

PAYMENT = "payment"
REFUND = "refund"
PAID_IN = "paid_in"
PAID_OUT = "paid_out"
KINDS = (PAYMENT, REFUND, PAID_IN, PAID_OUT)
"""What moves cash in a till, in the order of a report."""


class ShiftRefusedError(Exception):
    """What a till cannot do now; the sentence says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class CashShift:
    """A cashier's shift at one till in one currency; open while closed_at is None.

    expected_minor is what should have been in the till at the count, closing_number the Z report's.
    """

    shift_id: str
    branch_id: str
    cashier_id: str
    cashier: str
    currency: str
    opened_at: int
    float_minor: int
    closed_at: int | None = None
    counted_minor: int | None = None
    expected_minor: int | None = None
    closing_number: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class CashMovement:
    """Cash into (positive) or out of a till. receipt_number is the customer's paper, else empty.

    business_id is the payment's or refund's id; purpose of what was paid in or out is ``safe`` or
    ``expense``.
    """

    shift_id: str
    number: int
    branch_id: str
    kind: str
    amount_minor: int
    receipt_number: str
    business_id: str
    purpose: str
    reason: str
    moved_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class KindTotal:
    """How often cash moved for one reason, and how much in all."""

    kind: str
    count: int
    amount_minor: int


@dataclasses.dataclass(frozen=True, slots=True)
class ShiftReport:
    """What a till should hold (an X report), and what it held at its closing (a Z report).

    difference_minor is counted less expected: negative where money is missing.
    """

    shift: CashShift
    totals: tuple[KindTotal, ...]
    expected_minor: int
    difference_minor: int | None
    first_receipt: str
    last_receipt: str

    @property
    def title(self) -> str:
        """Return ``X`` while the shift is open, ``Z`` once it is closed."""
        return "X" if self.shift.closed_at is None else "Z"


def report_of(shift: CashShift, movements: Iterable[CashMovement]) -> ShiftReport:
    """Return the report of a shift from its movements, which may come in any order."""
    ordered = sorted(movements, key=lambda movement: movement.number)
    totals = []
    for kind in KINDS:
        amounts = [movement.amount_minor for movement in ordered if movement.kind == kind]
        totals.append(KindTotal(kind, len(amounts), sum(amounts)))
    expected = shift.float_minor + sum(total.amount_minor for total in totals)
    counted = shift.counted_minor
    receipts = [movement.receipt_number for movement in ordered if movement.receipt_number]
    return ShiftReport(
        shift,
        tuple(totals),
        expected,
        None if counted is None else counted - expected,
        receipts[0] if receipts else "",
        receipts[-1] if receipts else "",
    )


def opened_transaction(shift: CashShift) -> Transaction | None:
    """Return the posting of the float, or None where the till begins empty."""
    amounts = {TILL: shift.float_minor, CASH: -shift.float_minor}
    return _posting(shift, "shift_opened", shift.shift_id, shift.opened_at, amounts)


def closed_transaction(shift: CashShift) -> Transaction | None:
    """Return the posting of a closed shift: the count to the safe, the difference where it is.

    None where the till should have been empty and was.
    """
    assert shift.closed_at is not None, "an open shift has no count"
    counted, expected = shift.counted_minor or 0, shift.expected_minor or 0
    amounts = {CASH: counted, TILL: -expected, CASH_DIFFERENCE: expected - counted}
    return _posting(shift, "shift_closed", shift.shift_id, shift.closed_at, amounts)


def movement_transaction(shift: CashShift, movement: CashMovement) -> Transaction | None:
    """Return the posting of cash paid in or out; payments and refunds have their own."""
    other = PETTY_EXPENSES if movement.purpose == "expense" else CASH
    amounts = {TILL: movement.amount_minor, other: -movement.amount_minor}
    key = f"{shift.shift_id}/{movement.number}"
    return _posting(shift, "cash_movement", key, movement.moved_at, amounts)


def _posting(
    shift: CashShift, source: str, key: str, at: int, amounts: Mapping[str, int]
) -> Transaction | None:
    entries = entries_of(shift.branch_id, "", shift.currency, amounts)
    if not entries:
        return None
    words = source.replace("_", " ").capitalize()
    return Transaction(shift.branch_id, source, key, at, f"{words}: {shift.cashier}", entries)


def require_open(shift: CashShift) -> None:
    """Raise ShiftRefusedError where a shift is closed: it never changes again."""
    if shift.closed_at is not None:
        raise ShiftRefusedError(f"shift {shift.shift_id} is closed and never changes")


def require_cash(shift: CashShift, there_minor: int, amount_minor: int) -> None:
    """Raise ShiftRefusedError where more is to leave the till than it should hold."""
    if amount_minor > there_minor:
        raise ShiftRefusedError(
            f"amount_minor: expected at most {there_minor} ({shift.currency} minor units, what the"
            f" till of shift {shift.shift_id} holds), got {amount_minor}"
        )
