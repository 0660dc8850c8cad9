"""Tax rates and certificates; voids, credit notes and debit notes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.billing import InvoiceDetail
from api.models.taxes import (
    AccountTaxes,
    AccountTaxesPatch,
    CreditNoteCreate,
    DebitNoteCreate,
    InvoiceVoid,
    TaxCertificate,
    TaxCertificateCreate,
    TaxCertificateEnd,
    TaxRate,
    TaxRateCreate,
)
from api.models.values import Page
from api.reads import taxes as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.writes import taxes as writes
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter()


@router.get("/tax-rates", tags=["taxes"], responses=problems())
def list_tax_rates(
    caller: CallerDep,
    paging: PagingDep,
    tax_code: Annotated[
        str | None, Query(max_length=64, description="Only of this code", examples=["internet"])
    ] = None,
) -> Page[TaxRate]:
    """List the taxes of every code with their first days."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_rates(connection, caller.branch_id, paging, tax_code)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/tax-rates",
    tags=["taxes"],
    status_code=201,
    response_model=TaxRate,
    responses=problems(403, 404, 409),
)
def create_tax_rate(command: CommandDep, body: TaxRateCreate) -> Response:
    """Add a rate from a day on. Invoices that are final stay as they are."""
    return command.once(lambda t: Done(writes.add_rate(t, body), 201)).response()


@router.get("/accounts/{account_id}/taxes", tags=["taxes"], responses=problems(404))
def get_account_taxes(caller: CallerDep, account_id: str) -> AccountTaxes:
    """Get where an account is for its taxes, its tax number and certificates."""
    with reading(caller.services.engine) as connection:
        return reads.get_account_taxes(connection, caller.branch_id, account_id)


@router.patch(
    "/accounts/{account_id}/taxes",
    tags=["taxes"],
    response_model=AccountTaxes,
    responses=problems(404),
)
def patch_account_taxes(command: CommandDep, account_id: str, body: AccountTaxesPatch) -> Response:
    """Change where an account is for its taxes, or its tax number."""
    return command.once(lambda t: Done(writes.patch_account_taxes(t, account_id, body))).response()


@router.post(
    "/accounts/{account_id}/tax-certificates",
    tags=["taxes"],
    status_code=201,
    response_model=TaxCertificate,
    responses=problems(404),
)
def create_tax_certificate(
    command: CommandDep, account_id: str, body: TaxCertificateCreate
) -> Response:
    """Add a certificate: exemption, reverse charge or withholding."""
    return command.once(lambda t: Done(writes.add_certificate(t, account_id, body), 201)).response()


@router.post(
    "/tax-certificates/{status_id}/end",
    tags=["taxes"],
    response_model=TaxCertificate,
    responses=problems(404),
)
def end_tax_certificate(command: CommandDep, status_id: str, body: TaxCertificateEnd) -> Response:
    """Set the last day on which a certificate is valid."""
    return command.once(lambda t: Done(writes.end_certificate(t, status_id, body))).response()


@router.post(
    "/invoices/{invoice_id}/void",
    tags=["invoices"],
    response_model=InvoiceDetail,
    responses=problems(404, 409),
)
def create_void(command: CommandDep, invoice_id: str, body: InvoiceVoid) -> Response:
    """Declare an invoice void: its posting is taken back, its number stays used.

    What was paid on it is the account's credit again. Its period is not billed once more.
    """
    return command.once(lambda t: Done(writes.void(t, invoice_id, body))).response()


@router.post(
    "/invoices/{invoice_id}/credit-notes",
    tags=["invoices"],
    status_code=201,
    response_model=InvoiceDetail,
    responses=problems(404, 409),
)
def create_credit_note(command: CommandDep, invoice_id: str, body: CreditNoteCreate) -> Response:
    """Give back parts of an invoice's lines with their taxes, never more than was billed.

    The credit pays the invoice first; what is left of it is the account's.
    """

    def issue(transaction: CommandTransaction) -> Done:
        note = writes.add_credit_note(transaction, invoice_id, body.reason, body.lines)
        return Done(note, 201, f"/v1/invoices/{note.invoice_id}")

    return command.once(issue).response()


@router.post(
    "/invoices/{invoice_id}/debit-notes",
    tags=["invoices"],
    status_code=201,
    response_model=InvoiceDetail,
    responses=problems(404, 409),
)
def create_debit_note(command: CommandDep, invoice_id: str, body: DebitNoteCreate) -> Response:
    """Ask for more on an invoice's lines, with their taxes."""

    def issue(transaction: CommandTransaction) -> Done:
        note = writes.add_debit_note(transaction, invoice_id, body.reason, body.lines)
        return Done(note, 201, f"/v1/invoices/{note.invoice_id}")

    return command.once(issue).response()
