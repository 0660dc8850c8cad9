"""Payments: money of an account, its states, and what each step says to the ledger.

    settled        cash, bank or till   │ receivable          what invoices take at once
                                        │ customer credit     what is left of it
                                        │ bad debt            what was written off, recovered
    allocated      customer credit      │ receivable          later, or undone with the sign turned
    credit note    receivable           │ customer credit     what it gives back
    refunded       customer credit      │ cash, bank or till
    reversed       receivable, customer credit │ cash, bank or till     a payment that bounced
    written off    bad debt             │ receivable

A pending payment is in flight: it posts nothing and pays nothing until it settles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from billing.allocation import Share
from billing.ledger import (
    BAD_DEBT,
    BANK,
    CASH,
    CUSTOMER_CREDIT,
    PREPAID,
    RECEIVABLE,
    TILL,
    Transaction,
    entries_of,
)

TOPUP = "topup"
TOPUP_REFUSED = "topup_refused"
"""Sources of a top-up's posting and of its reversal; both have the event's id as their key."""

BANK_METHOD = "bank"
"""The method of money that comes by bank transfer."""

PENDING = "pending"
SETTLED = "settled"
FAILED = "failed"
REVERSED = "reversed"

TRANSITIONS: Mapping[tuple[str, str], str] = {
    (PENDING, "settle"): SETTLED,
    (PENDING, "fail"): FAILED,
    (FAILED, "settle"): SETTLED,  # a provider may say failed, then paid: money that came counts
    (SETTLED, "reverse"): REVERSED,
}
"""(status, what happens) -> status; what is not here cannot happen."""


class PaymentRefusedError(Exception):
    """What cannot be done with this money now; the sentence says why and what is there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Payment:
    """Money of an account. (method, reference) is the provider's key: a repeat is the same payment.

    invoice_id is the invoice that the payer named first, or None. status is a key of TRANSITIONS;
    settled_at is when the money was there (ms). shift_id is the cashier's shift whose till has it,
    empty for none; wanted is what the payer named, as `encode_wanted` writes it.
    """

    payment_id: str
    branch_id: str
    account_id: str
    invoice_id: str | None
    method: str
    reference: str
    amount_minor: int
    currency: str
    received_at: int
    recorded_by: str
    status: str = SETTLED
    settled_at: int | None = None
    reason: str = ""
    payer: str = ""
    shift_id: str = ""
    wanted: str = "[]"
    keeps_rest: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Allocation:
    """A credit's money for one invoice; negative where an earlier allocation is undone.

    amount_minor is in the invoice's currency and counts recovered_minor, which pays what was
    written off. taken_minor is what it takes of the credit, in the credit's currency, at rate
    (``numerator/denominator`` of invoice major units per credit major unit; empty: the same
    currency).
    """

    allocation_id: str
    branch_id: str
    account_id: str
    credit_id: str
    invoice_id: str
    amount_minor: int
    recovered_minor: int
    currency: str
    taken_minor: int
    taken_currency: str
    rate: str
    allocated_at: int
    allocated_by: str


@dataclasses.dataclass(frozen=True, slots=True)
class Refund:
    """Credit given back to the customer; (method, reference) is its key like a payment's."""

    refund_id: str
    branch_id: str
    account_id: str
    method: str
    reference: str
    amount_minor: int
    currency: str
    refunded_at: int
    refunded_by: str
    reason: str
    shift_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class WriteOff:
    """An invoice's open amount given up as bad debt."""

    write_off_id: str
    branch_id: str
    account_id: str
    invoice_id: str
    amount_minor: int
    currency: str
    written_off_at: int
    written_off_by: str
    reason: str


def next_status(payment_id: str, status: str, event: str) -> str:
    """Return the state after an event. PaymentRefusedError: it cannot happen in this state."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        ways = sorted(before for before, what in TRANSITIONS if what == event)
        expected = " or ".join(ways)
        raise PaymentRefusedError(
            f"payment {payment_id} is {status}: to {event} it, expected {expected}"
        ) from None


def money_account(method: str, shift_id: str) -> str:
    """Return the chart code of where money of a method lies: a till, the bank, or cash."""
    if shift_id:
        return TILL
    return BANK if method == BANK_METHOD else CASH


def payment_transaction(payment: Payment, shares: Sequence[Share]) -> Transaction:
    """Return the posting of a settled payment: its shares against what they pay, the rest credit.

    occurred_at is when the money was there.
    """
    return Transaction(
        payment.branch_id,
        "payment",
        payment.payment_id,
        payment.received_at if payment.settled_at is None else payment.settled_at,
        f"Payment {payment.method} {payment.reference}",
        entries_of(
            payment.branch_id,
            payment.account_id,
            payment.currency,
            _payment_amounts(payment, shares),
        ),
    )


def reversed_payment_transaction(
    payment: Payment, shares: Sequence[Share], reason: str, occurred_at: int
) -> Transaction:
    """Return the posting of a payment that bounced; shares are what its money paid until now."""
    amounts = {code: -amount for code, amount in _payment_amounts(payment, shares).items()}
    return Transaction(
        payment.branch_id,
        "payment_reversed",
        payment.payment_id,
        occurred_at,
        f"Payment {payment.method} {payment.reference} reversed: {reason}",
        entries_of(payment.branch_id, payment.account_id, payment.currency, amounts),
    )


def _payment_amounts(payment: Payment, shares: Sequence[Share]) -> dict[str, int]:
    recovered = sum(share.recovered_minor for share in shares)
    allocated = sum(share.amount_minor for share in shares)
    return {
        money_account(payment.method, payment.shift_id): payment.amount_minor,
        RECEIVABLE: recovered - allocated,
        CUSTOMER_CREDIT: allocated - payment.amount_minor,
        BAD_DEBT: -recovered,
    }


def allocation_transaction(allocation: Allocation) -> Transaction:
    """Return the posting of credit that pays an invoice of its currency, or gives it back."""
    amounts = {
        CUSTOMER_CREDIT: allocation.amount_minor,
        RECEIVABLE: allocation.recovered_minor - allocation.amount_minor,
        BAD_DEBT: -allocation.recovered_minor,
    }
    return Transaction(
        allocation.branch_id,
        "allocation",
        allocation.allocation_id,
        allocation.allocated_at,
        f"Credit {allocation.credit_id} for invoice {allocation.invoice_id}",
        entries_of(allocation.branch_id, allocation.account_id, allocation.currency, amounts),
    )


def credit_note_transaction(
    invoice_id: str, branch_id: str, account_id: str, currency: str, amount_minor: int, at: int
) -> Transaction:
    """Return the posting that makes what a credit note gives back the account's credit."""
    amounts = {RECEIVABLE: amount_minor, CUSTOMER_CREDIT: -amount_minor}
    return Transaction(
        branch_id,
        "credit_note",
        invoice_id,
        at,
        f"Credit of {invoice_id}",
        entries_of(branch_id, account_id, currency, amounts),
    )


def refund_transaction(refund: Refund) -> Transaction:
    """Return the posting of a refund: credit against the money that left."""
    amounts = {
        CUSTOMER_CREDIT: refund.amount_minor,
        money_account(refund.method, refund.shift_id): -refund.amount_minor,
    }
    return Transaction(
        refund.branch_id,
        "refund",
        refund.refund_id,
        refund.refunded_at,
        f"Refund {refund.method} {refund.reference}",
        entries_of(refund.branch_id, refund.account_id, refund.currency, amounts),
    )


def write_off_transaction(write_off: WriteOff) -> Transaction:
    """Return the posting of a write-off: bad debt against the receivable."""
    amounts = {BAD_DEBT: write_off.amount_minor, RECEIVABLE: -write_off.amount_minor}
    return Transaction(
        write_off.branch_id,
        "write_off",
        write_off.write_off_id,
        write_off.written_off_at,
        f"Write-off of {write_off.invoice_id}: {write_off.reason}",
        entries_of(write_off.branch_id, write_off.account_id, write_off.currency, amounts),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class TopUp:
    """Money added to a prepaid balance; event_id is that of the account event it causes."""

    event_id: str
    branch_id: str
    account_id: str
    amount_minor: int
    currency: str
    received_at: int


def topup_transaction(topup: TopUp) -> Transaction:
    """Return the posting of a top-up: cash against the prepaid balance."""
    amounts = {CASH: topup.amount_minor, PREPAID: -topup.amount_minor}
    return Transaction(
        topup.branch_id,
        TOPUP,
        topup.event_id,
        topup.received_at,
        "Top-up",
        entries_of(topup.branch_id, topup.account_id, topup.currency, amounts),
    )
