"""Payments: money against an invoice; what is paid too much becomes a prepaid balance."""

from __future__ import annotations

import dataclasses

from billing.ledger import CASH, PREPAID, RECEIVABLE, Transaction, entries_of, reversal_of

TOPUP = "topup"
TOPUP_REFUSED = "topup_refused"
"""Sources of a top-up's posting and of its reversal; both have the event's id as their key."""


@dataclasses.dataclass(frozen=True, slots=True)
class Payment:
    """Money received. (method, reference) is the provider's key: a repeat is the same payment."""

    payment_id: str
    branch_id: str
    account_id: str
    invoice_id: str
    method: str
    reference: str
    amount_minor: int
    currency: str
    received_at: int
    recorded_by: str


@dataclasses.dataclass(frozen=True, slots=True)
class Settlement:
    """What a payment does to its invoice: settled_minor pays it, excess_minor is left over."""

    settled_minor: int
    excess_minor: int
    paid_minor: int
    is_paid: bool


def settle(total_minor: int, paid_minor: int, amount_minor: int) -> Settlement:
    """Return how an amount settles an invoice of which paid_minor was paid before.

    ValueError for an amount that is not positive: a refund is no payment.
    """
    if amount_minor <= 0:
        raise ValueError(f"a payment of {amount_minor} is none")
    open_minor = max(total_minor - paid_minor, 0)
    settled = min(open_minor, amount_minor)
    return Settlement(
        settled, amount_minor - settled, paid_minor + settled, paid_minor + settled >= total_minor
    )


def payment_transaction(payment: Payment, settlement: Settlement) -> Transaction:
    """Return the posting of a payment: cash against the receivable, any excess to prepaid."""
    amounts = {
        CASH: payment.amount_minor,
        RECEIVABLE: -settlement.settled_minor,
        PREPAID: -settlement.excess_minor,
    }
    return Transaction(
        payment.branch_id,
        "payment",
        payment.payment_id,
        payment.received_at,
        f"Payment {payment.method} {payment.reference}",
        entries_of(payment.branch_id, payment.account_id, payment.currency, amounts),
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


def refused_topup_transaction(posted: Transaction, reason: str, decided_at: int) -> Transaction:
    """Return the posting that takes back a top-up which rating refused; the cash is given back."""
    return reversal_of(posted, TOPUP_REFUSED, decided_at, f"Top-up refused: {reason}")
