"""Commands on invoices: record a payment, release a held draft."""

from __future__ import annotations

from sqlalchemy import select

import billing.payments
from api.instants import to_text
from api.models.billing import Invoice, InvoiceDetail, PaymentCreate, RecordedPayment
from api.models.values import Money
from api.problems import Problem, invalid_field
from api.reads import billing as reads
from api.writes.transaction import CommandTransaction
from billing.adapters import invoices, tables


def record_payment(
    transaction: CommandTransaction, invoice_id: str, body: PaymentCreate
) -> RecordedPayment:
    """Record money for a finalized invoice and post it to the ledger, in one transaction.

    The same method and reference again is answered with what was recorded; with another invoice
    or amount it is a 409 Problem, as is an invoice that asks for nothing (a draft, a void one).
    """
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    invoice = reads.get_invoice(connection, branch_id, invoice_id)
    received_at = _received_at(transaction, body)
    if body.currency != invoice.total.currency:
        expected = f"the invoice's currency, {invoice.total.currency}"
        raise invalid_field("/currency", body.currency, expected)
    known = _known_payment(transaction, invoice, body)
    if known is not None:
        return _recorded(transaction, known, 0)
    if invoice.status not in ("finalized", "paid"):
        raise Problem("conflict", f"A {invoice.status} invoice asks for no money.")
    payment = billing.payments.Payment(
        payment_id=transaction.services.new_id("pay"),
        branch_id=invoice.branch_id,
        account_id=invoice.account_id,
        invoice_id=invoice_id,
        method=body.method,
        reference=body.reference or transaction.services.new_id("receipt"),
        amount_minor=body.amount_minor,
        currency=body.currency,
        received_at=received_at,
        recorded_by=transaction.principal.name,
    )
    settlement = invoices.record_payment(connection, payment, transaction.now_at)
    assert settlement is not None, "a known payment was answered above, under the same lock"
    transaction.counted["api_payments_recorded_total"] = 1
    return _recorded(transaction, payment.payment_id, settlement.excess_minor)


def release_invoice(transaction: CommandTransaction, invoice_id: str) -> Invoice:
    """Let a held draft be finalized by the office's next run; 409 where it is not held."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    invoice = reads.get_invoice(connection, branch_id, invoice_id)
    if not invoices.release_draft(connection, invoice_id):
        state = "is released already" if invoice.status == "draft" else f"is {invoice.status}"
        raise Problem("conflict", f"Only a held draft can be released; this invoice {state}.")
    return _head_of(reads.get_invoice(connection, branch_id, invoice_id))


def _received_at(transaction: CommandTransaction, body: PaymentCreate) -> int:
    if body.received_at is None:
        return transaction.now_at
    if body.received_at > transaction.now_at:
        expected = f"not in the future; it is {to_text(transaction.now_at)}"
        raise invalid_field("/received_at", to_text(body.received_at), expected)
    return body.received_at


def _known_payment(
    transaction: CommandTransaction, invoice: Invoice, body: PaymentCreate
) -> str | None:
    """Return the id of the payment that has this method and reference already, or None."""
    if body.reference is None:
        return None
    paid = tables.payment.c
    row = transaction.connection.execute(
        select(tables.payment).where(
            paid.branch_id == invoice.branch_id,
            paid.method == body.method,
            paid.reference == body.reference,
        )
    ).one_or_none()
    if row is None:
        return None
    if (row.invoice_id, row.amount_minor) != (invoice.invoice_id, body.amount_minor):
        what = "This reference was recorded before, with another invoice or amount."
        raise Problem("conflict", what)
    found: str = row.payment_id
    return found


def _recorded(
    transaction: CommandTransaction, payment_id: str, excess_minor: int
) -> RecordedPayment:
    payment = reads.get_payment(transaction.connection, payment_id)
    invoice = reads.get_invoice(transaction.connection, None, payment.invoice_id)
    return RecordedPayment(
        **dict(payment),
        excess=Money.of(excess_minor, payment.amount.currency),
        invoice=_head_of(invoice),
    )


def _head_of(invoice: InvoiceDetail) -> Invoice:
    """Return an invoice without its lines."""
    return Invoice(**{name: getattr(invoice, name) for name in Invoice.model_fields})
