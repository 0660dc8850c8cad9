"""Commands on taxes, and those that correct invoices: void, credit note, debit note."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update

from api.models.billing import InvoiceDetail
from api.models.taxes import (
    AccountTaxes,
    AccountTaxesPatch,
    InvoiceVoid,
    NoteLine,
    TaxCertificate,
    TaxCertificateCreate,
    TaxCertificateEnd,
    TaxRate,
    TaxRateCreate,
)
from api.problems import Problem, invalid_field
from api.reads import billing, parties, taxes
from api.writes.transaction import CommandTransaction
from billing import clerk_notes
from billing.adapters.corrections import issue_note, void_invoice
from billing.adapters.databases import upsert
from billing.adapters.tax_tables import tax_party, tax_rate, tax_status
from billing.clerk_notes import CREDIT, DEBIT, NoteOrder, NoteRefusedError
from billing.invoice_states import InvoiceStateError


def add_rate(transaction: CommandTransaction, body: TaxRateCreate) -> TaxRate:
    """Add a rate; 409 where this tax has another one from that day on already."""
    branch_id = transaction.branch_of(body.branch_id).branch_id
    row: dict[str, Any] = {
        **body.model_dump(),
        "branch_id": branch_id,
        "valid_from_on": body.valid_from_on.isoformat(),
        "percent": body.percent or "",
    }
    is_key = [column == row[column.name] for column in tax_rate.primary_key.columns]
    known = transaction.connection.execute(select(tax_rate).where(*is_key)).one_or_none()
    if known is not None:
        found = dict(known._mapping)
        if any(found[name] != value for name, value in row.items()):
            what = f"{body.tax_id} of {body.tax_code} has {found['percent'] or 'no'} % from then on"
            raise Problem("conflict", f"{what}; a correction begins on another day.")
        return TaxRate(**found)
    row |= {"created_by": transaction.principal.name, "created_at": transaction.now_at}
    transaction.add(tax_rate, row)
    return TaxRate(**row)


def patch_account_taxes(
    transaction: CommandTransaction, account_id: str, body: AccountTaxesPatch
) -> AccountTaxes:
    """Change where an account is for its taxes, or its tax number: for invoices from now on."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    known = taxes.get_account_taxes(connection, branch_id, account_id)
    changes = body.model_dump(exclude_none=True)
    values = {"place": known.place, "tax_number": known.tax_number} | changes
    statement = upsert(connection, tax_party).values(account_id=account_id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))
    return known.model_copy(update=changes)


def add_certificate(
    transaction: CommandTransaction, account_id: str, body: TaxCertificateCreate
) -> TaxCertificate:
    """Add a certificate of an account."""
    account = parties.get_account(
        transaction.connection, transaction.principal.branch_id, account_id
    )
    until = body.valid_until_on
    shown = {
        "status_id": transaction.services.new_id("tax"),
        "account_id": account_id,
        "kind": body.kind,
        "tax_id": body.tax_id,
        "certificate": body.certificate,
        "percent": body.percent or "",
        "basis": body.basis or "",
        "valid_from_on": body.valid_from_on.isoformat(),
        "valid_until_on": until.isoformat() if until else "",
    }
    written = {
        "branch_id": account.branch_id,
        "created_by": transaction.principal.name,
        "created_at": transaction.now_at,
    }
    transaction.add(tax_status, shown | written)
    return TaxCertificate(**shown)


def end_certificate(
    transaction: CommandTransaction, status_id: str, body: TaxCertificateEnd
) -> TaxCertificate:
    """Set the last day on which a certificate is valid."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    known = taxes.get_certificate(connection, branch_id, status_id)
    until = body.valid_until_on.isoformat()
    if until < known.valid_from_on:
        raise invalid_field("/valid_until_on", until, f"not before {known.valid_from_on}")
    is_this = tax_status.c.status_id == status_id
    connection.execute(update(tax_status).where(is_this).values(valid_until_on=until))
    return known.model_copy(update={"valid_until_on": until})


def void(transaction: CommandTransaction, invoice_id: str, body: InvoiceVoid) -> InvoiceDetail:
    """Declare an invoice void; 409 where it cannot be. A void one stays as it is."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    billing.get_invoice(connection, branch_id, invoice_id)
    by = transaction.principal.name
    try:
        void_invoice(connection, invoice_id, body.reason, by, transaction.now_at)
    except InvoiceStateError as error:
        raise Problem("conflict", f"{error}.") from None
    return billing.get_invoice(connection, branch_id, invoice_id)


def add_credit_note(
    transaction: CommandTransaction,
    invoice_id: str,
    reason: str,
    lines: Sequence[NoteLine] | None,
) -> InvoiceDetail:
    """Issue a credit note; 409 where the invoice's state or its lines do not allow it."""
    return _add_note(transaction, invoice_id, CREDIT, reason, lines or ())


def add_debit_note(
    transaction: CommandTransaction, invoice_id: str, reason: str, lines: Sequence[NoteLine]
) -> InvoiceDetail:
    """Issue a debit note; 409 where the invoice's state does not allow it."""
    return _add_note(transaction, invoice_id, DEBIT, reason, lines)


def _add_note(
    transaction: CommandTransaction,
    invoice_id: str,
    kind: str,
    reason: str,
    lines: Sequence[NoteLine],
) -> InvoiceDetail:
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    billing.get_invoice(connection, branch_id, invoice_id)
    numbers = [line.line for line in lines]
    if len(set(numbers)) != len(numbers):
        raise invalid_field("/lines", numbers, "each line of the invoice once")
    wanted = tuple(clerk_notes.NoteLine(line.line, line.amount_minor) for line in lines)
    order = NoteOrder(invoice_id, kind, wanted, reason, transaction.principal.name)
    try:
        note_id = issue_note(connection, order, transaction.now_at)
    except (InvoiceStateError, NoteRefusedError) as error:
        raise Problem("conflict", f"{error}.") from None
    return billing.get_invoice(connection, branch_id, note_id)
