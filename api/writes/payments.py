"""Commands on payments: record, settle, fail, reverse, reallocate, refund, write off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import billing.gateways
import billing.payments
from api.instants import to_text
from api.models.billing import Invoice
from api.models.payments import (
    AccountPaymentCreate,
    PaymentDetail,
    PaymentOrder,
    PaymentOrderCreate,
    PaymentReallocate,
    PaymentSettle,
    Refund,
    RefundCreate,
    WantedInvoice,
)
from api.problems import Problem, invalid_field
from api.reads import billing as invoice_reads
from api.reads import payments as reads
from api.reads.parties import get_account
from api.writes import cash
from api.writes.transaction import CommandTransaction
from billing.adapters import payments
from billing.adapters.gateways import open_gateway
from billing.allocation import AllocationError, Wanted
from billing.payments import PENDING, SETTLED, Payment, PaymentRefusedError


def pay_account(
    transaction: CommandTransaction, account_id: str, body: AccountPaymentCreate
) -> PaymentDetail:
    """Record money of an account; the same method and reference again is the same payment.

    With another account or amount it is a 409 Problem, as is an invoice that cannot be paid so.
    """
    account = get_account(transaction.connection, transaction.principal.branch_id, account_id)
    payment = payment_from(transaction, account.branch_id, account_id, body)
    known = known_payment(transaction, payment)
    if known is not None:
        return reads.get_payment(transaction.connection, None, known)
    record(transaction, payment, wanted_of(body.invoices))
    return reads.get_payment(transaction.connection, None, payment.payment_id)


def payment_from(
    transaction: CommandTransaction, branch_id: str, account_id: str, body: AccountPaymentCreate
) -> Payment:
    """Return the payment that a request describes, under a fresh id."""
    shift_id = ""
    if not body.is_pending:
        shift_id = cash.shift_for(transaction, body.method, branch_id, body.currency)
    return Payment(
        payment_id=transaction.services.new_id("pay"),
        branch_id=branch_id,
        account_id=account_id,
        invoice_id=None,
        method=body.method,
        reference=body.reference or transaction.services.new_id("receipt"),
        amount_minor=body.amount_minor,
        currency=body.currency,
        received_at=_not_in_the_future(transaction, body.received_at, "/received_at"),
        recorded_by=transaction.principal.name,
        status=PENDING if body.is_pending else SETTLED,
        payer=body.payer,
        shift_id=shift_id,
        keeps_rest=body.keeps_rest,
    )


def known_payment(transaction: CommandTransaction, payment: Payment) -> str | None:
    """Return the id of the payment that has this method and reference already, or None.

    A 409 Problem where that one is of another account or amount.
    """
    known = payments.find_payment_by_reference(transaction.connection, payment)
    if known is None:
        return None
    ours = (payment.account_id, payment.amount_minor, payment.currency)
    if (known.account_id, known.amount_minor, known.currency) != ours:
        what = "This reference was recorded before, with another invoice or amount."
        raise Problem("conflict", what)
    return known.payment_id


def record(
    transaction: CommandTransaction, payment: Payment, wanted: list[Wanted]
) -> payments.Settled:
    """Record a payment that is new and count it; a 409 Problem where invoices cannot be paid so."""
    with refusals():
        settled = payments.record_payment(
            transaction.connection, payment, transaction.now_at, wanted
        )
    cash.receive(transaction, payment)
    assert settled is not None, "a known payment was answered before, under the same turn"
    transaction.counted["api_payments_recorded_total"] = 1
    return settled


def order_payment(
    transaction: CommandTransaction, account_id: str, body: PaymentOrderCreate
) -> PaymentOrder:
    """Begin an order through a gateway; its payment is in flight."""
    connection = transaction.connection
    account = get_account(connection, transaction.principal.branch_id, account_id)
    order = billing.gateways.PaymentOrder(
        payment_id=transaction.services.new_id("pay"),
        branch_id=account.branch_id,
        account_id=account_id,
        amount_minor=body.amount_minor,
        currency=body.currency,
        wanted=tuple(wanted_of(body.invoices)),
        started_at=transaction.now_at,
        started_by=transaction.principal.name,
    )
    with refusals():
        started = open_gateway(connection, body.gateway).start(order)
    return PaymentOrder(
        payment_id=started.payment_id,
        reference=started.reference,
        instruction=started.instruction,
        redirect_url=started.redirect_url,
    )


def settle_payment(
    transaction: CommandTransaction, payment_id: str, body: PaymentSettle
) -> PaymentDetail:
    """Let a pending payment's money count; settled before, it stays as it is."""
    _require(transaction, payment_id)
    settled_at = _not_in_the_future(transaction, body.settled_at, "/settled_at")
    with refusals():
        payments.settle_payment(transaction.connection, payment_id, settled_at, transaction.now_at)
    return reads.get_payment(transaction.connection, None, payment_id)


def fail_payment(transaction: CommandTransaction, payment_id: str, reason: str) -> PaymentDetail:
    """Say that a pending payment's money does not come."""
    _require(transaction, payment_id)
    with refusals():
        payments.fail_payment(transaction.connection, payment_id, reason)
    return reads.get_payment(transaction.connection, None, payment_id)


def reverse_payment(transaction: CommandTransaction, payment_id: str, reason: str) -> PaymentDetail:
    """Take a bounced payment back; what it paid is open again."""
    _require(transaction, payment_id)
    by, now = transaction.principal.name, transaction.now_at
    with refusals():
        payments.reverse_payment(transaction.connection, payment_id, reason, by, now)
    return reads.get_payment(transaction.connection, None, payment_id)


def reallocate_payment(
    transaction: CommandTransaction, payment_id: str, body: PaymentReallocate
) -> PaymentDetail:
    """Let a payment pay other invoices than it does."""
    _require(transaction, payment_id)
    with refusals():
        payments.reallocate_payment(
            transaction.connection,
            payment_id,
            wanted_of(body.invoices),
            transaction.principal.name,
            transaction.now_at,
            keeps_rest=body.keeps_rest,
        )
    return reads.get_payment(transaction.connection, None, payment_id)


def refund_account(transaction: CommandTransaction, account_id: str, body: RefundCreate) -> Refund:
    """Give an account's credit back; never more than is there (409)."""
    connection = transaction.connection
    account = get_account(connection, transaction.principal.branch_id, account_id)
    if body.payment_id is not None:
        _require(transaction, body.payment_id)
    refund = billing.payments.Refund(
        refund_id=transaction.services.new_id("ref"),
        branch_id=account.branch_id,
        account_id=account_id,
        method=body.method,
        reference=body.reference or transaction.services.new_id("refund"),
        amount_minor=body.amount_minor,
        currency=body.currency,
        refunded_at=transaction.now_at,
        refunded_by=transaction.principal.name,
        reason=body.reason,
        shift_id=cash.shift_for(transaction, body.method, account.branch_id, body.currency),
    )
    with refusals():
        is_new = payments.record_refund(
            connection, refund, transaction.now_at, body.payment_id or ""
        )
    if is_new:
        cash.give_out(transaction, refund)
    return reads.get_refund_by_reference(
        connection, account.branch_id, refund.method, refund.reference
    )


def write_off_invoice(transaction: CommandTransaction, invoice_id: str, reason: str) -> Invoice:
    """Give up what an invoice still asks for as bad debt; 409 where it asks for nothing."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    invoice = invoice_reads.get_invoice(connection, branch_id, invoice_id)
    by, now = transaction.principal.name, transaction.now_at
    with refusals():
        done = payments.write_off_invoice(connection, invoice_id, reason, by, now)
    if done is None:
        state = "asks for nothing" if invoice.status == "finalized" else f"is {invoice.status}"
        raise Problem("conflict", f"Only an open invoice can be written off; this one {state}.")
    return invoice_reads.head_of(invoice_reads.get_invoice(connection, branch_id, invoice_id))


def wanted_of(invoices: list[WantedInvoice]) -> list[Wanted]:
    """Return what the payer named."""
    return [Wanted(one.invoice_id, one.amount_minor) for one in invoices]


def _require(transaction: CommandTransaction, payment_id: str) -> None:
    """Raise a 404 Problem where the payment is out of reach."""
    reads.get_payment(transaction.connection, transaction.principal.branch_id, payment_id)


def _not_in_the_future(transaction: CommandTransaction, at: int | None, pointer: str) -> int:
    if at is None:
        return transaction.now_at
    if at > transaction.now_at:
        expected = f"not in the future; it is {to_text(transaction.now_at)}"
        raise invalid_field(pointer, to_text(at), expected)
    return at


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Make a 409 Problem of what billing refuses."""
    try:
        yield
    except (AllocationError, PaymentRefusedError) as error:
        raise Problem("conflict", f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
