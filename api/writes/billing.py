"""Commands on invoices: record a payment, release a held draft."""

from __future__ import annotations

from api.models.billing import Invoice, Payment, PaymentCreate, RecordedPayment
from api.models.payments import AccountPaymentCreate
from api.models.values import Money
from api.problems import Problem, invalid_field
from api.reads import billing as reads
from api.reads.payments import get_payment
from api.writes import payments
from api.writes.transaction import CommandTransaction
from billing.adapters import invoices
from billing.allocation import Wanted


def record_payment(
    transaction: CommandTransaction, invoice_id: str, body: PaymentCreate
) -> RecordedPayment:
    """Record money for a finalized invoice and post it to the ledger, in one transaction.

    What the invoice does not ask for pays the account's other invoices, the oldest first; what is
    left is its credit. The same method and reference again is answered with what was recorded; with
    another invoice or amount it is a 409 Problem, as is an invoice that asks for nothing (a draft,
    a void one).
    """
    invoice = reads.get_invoice(transaction.connection, transaction.principal.branch_id, invoice_id)
    if body.currency != invoice.total.currency:
        expected = f"the invoice's currency, {invoice.total.currency}"
        raise invalid_field("/currency", body.currency, expected)
    given = AccountPaymentCreate.model_construct(**dict(body))
    payment = payments.payment_from(transaction, invoice.branch_id, invoice.account_id, given)
    known = payments.known_payment(transaction, payment)
    if known is not None:
        before = get_payment(transaction.connection, None, known)
        if before.invoice_id != invoice_id:
            what = "This reference was recorded before, with another invoice or amount."
            raise Problem("conflict", what)
        return _recorded(transaction, known, invoice_id, 0)
    if invoice.status not in ("finalized", "paid"):
        raise Problem("conflict", f"A {invoice.status} invoice asks for no money.")
    settled = payments.record(transaction, payment, [Wanted(invoice_id)])
    return _recorded(transaction, payment.payment_id, invoice_id, settled.left_minor)


def release_invoice(transaction: CommandTransaction, invoice_id: str) -> Invoice:
    """Let a held draft be finalized by the office's next run; 409 where it is not held."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    invoice = reads.get_invoice(connection, branch_id, invoice_id)
    if not invoices.release_draft(connection, invoice_id):
        state = "is released already" if invoice.status == "draft" else f"is {invoice.status}"
        raise Problem("conflict", f"Only a held draft can be released; this invoice {state}.")
    return reads.head_of(reads.get_invoice(connection, branch_id, invoice_id))


def _recorded(
    transaction: CommandTransaction, payment_id: str, invoice_id: str, excess_minor: int
) -> RecordedPayment:
    payment = get_payment(transaction.connection, None, payment_id)
    invoice = reads.get_invoice(transaction.connection, None, invoice_id)
    return RecordedPayment(
        **{name: getattr(payment, name) for name in Payment.model_fields},
        excess=Money.of(excess_minor, payment.amount.currency),
        invoice=reads.head_of(invoice),
    )
