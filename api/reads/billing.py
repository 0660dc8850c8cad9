"""Invoices with their lines, and the ledger's trial balance."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Row, Select, func, or_, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.billing import (
    Invoice,
    InvoiceDetail,
    InvoiceLine,
    LedgerBalance,
    Payment,
    TrialBalance,
)
from api.models.values import Money
from api.problems import not_found
from api.reads.parties import scoped
from api.reads.rows import with_amount
from billing.adapters import payment_tables, pdf, tables
from billing.adapters.evidence import METERED


def _invoices() -> Select[Any]:
    return select(tables.invoice, tables.account.c.name.label("account_name")).join_from(
        tables.invoice,
        tables.account,
        tables.account.c.account_id == tables.invoice.c.account_id,
    )


def list_invoices(
    connection: Connection,
    branch_id: str | None,
    paging: Paging,
    filters: dict[str, str] | None = None,
) -> Slice[Invoice]:
    """Return invoices, the latest period first; filters are `account_id` and `status`."""
    invoice = tables.invoice.c
    statement = scoped(_invoices(), tables.invoice, branch_id)
    for name, value in (filters or {}).items():
        statement = statement.where(invoice[name] == value)
    columns = [invoice.period_end_at, invoice.invoice_id]
    rows = connection.execute(paged(statement, columns, paging, [int, str], descending=True))
    invoices = [Invoice(**_head(row)) for row in rows]
    return slice_of(invoices, paging, lambda i: [i.period_end_at, i.invoice_id])


def get_invoice(connection: Connection, branch_id: str | None, invoice_id: str) -> InvoiceDetail:
    """Return one invoice with its lines, or raise a 404 Problem."""
    statement = _invoices().where(tables.invoice.c.invoice_id == invoice_id)
    row = connection.execute(scoped(statement, tables.invoice, branch_id)).one_or_none()
    if row is None:
        raise not_found("invoice", invoice_id)
    line = tables.invoice_line.c
    lines = connection.execute(
        select(tables.invoice_line).where(line.invoice_id == invoice_id).order_by(line.line)
    )
    return InvoiceDetail(**_head(row), lines=[_line(item, row.currency) for item in lines])


def head_of(invoice: InvoiceDetail) -> Invoice:
    """Return an invoice without its lines."""
    return Invoice(**{name: getattr(invoice, name) for name in Invoice.model_fields})


def printed_invoice(
    connection: Connection, branch_id: str | None, invoice_id: str
) -> tuple[str, dict[str, Any]]:
    """Return the invoice's number (its id while a draft) and what its PDF prints.

    Typesetting takes tens of milliseconds: `billing.adapters.pdf.render` belongs behind the
    transaction. Raises a 404 Problem where there is no such invoice.
    """
    invoice = tables.invoice.c
    statement = select(invoice.number).where(invoice.invoice_id == invoice_id)
    row = connection.execute(scoped(statement, tables.invoice, branch_id)).one_or_none()
    if row is None:
        raise not_found("invoice", invoice_id)
    return row.number or invoice_id, pdf.invoice_input(connection, invoice_id)


def list_payments(connection: Connection, invoice_id: str) -> list[Payment]:
    """Return the payments that pay or named an invoice, the oldest first."""
    payment, allocation = tables.payment.c, payment_tables.allocation.c
    pays = select(allocation.credit_id).where(allocation.invoice_id == invoice_id)
    statement = select(tables.payment).where(
        or_(payment.invoice_id == invoice_id, payment.payment_id.in_(pays))
    )
    rows = connection.execute(statement.order_by(payment.received_at, payment.payment_id))
    return [with_amount(row, Payment) for row in rows]


def _head(row: Row[Any]) -> dict[str, Any]:
    currency = row.currency
    return {
        "invoice_id": row.invoice_id,
        "branch_id": row.branch_id,
        "account_id": row.account_id,
        "account_name": row.account_name,
        "series": row.series,
        "number": row.number,
        "status": row.status,
        "period_start_at": row.period_start_at,
        "period_end_at": row.period_end_at,
        "issued_at": row.issued_at,
        "due_on": row.due_on,
        "subtotal": Money.of(row.subtotal_minor, currency),
        "tax": Money.of(row.tax_minor, currency),
        "total": Money.of(row.total_minor, currency),
        "paid": Money.of(row.paid_minor, currency),
        "written_off": Money.of(row.written_off_minor, currency),
        "open": Money.of(_open_minor(row), currency),
        "hold_reason": row.hold_reason,
        "pdf_url": f"/v1/invoices/{row.invoice_id}/pdf",
    }


def _open_minor(row: Row[Any]) -> int:
    """Return what is yet to be paid: nothing for a draft or a void invoice, nor for a credit."""
    left: int = row.total_minor - row.paid_minor - row.written_off_minor
    return max(left, 0) if row.status == "finalized" else 0


def _line(row: Row[Any], currency: str) -> InvoiceLine:
    evident = row.kind in METERED and row.rating_key and row.meter_id
    url = f"/v1/invoices/{row.invoice_id}/lines/{row.line}/evidence?level=day"
    return InvoiceLine(
        line=row.line,
        kind=row.kind,
        description=row.description,
        rating_key=row.rating_key,
        meter_id=row.meter_id,
        quantity=row.quantity,
        unit=row.unit,
        amount=Money.of(row.amount_minor, currency),
        tax_rate=row.tax_rate,
        evidence=json.loads(row.evidence) if row.evidence else None,
        evidence_url=url if evident else None,
    )


def trial_balance(connection: Connection, branch_id: str | None) -> TrialBalance:
    """Return every ledger account's sum per currency; each currency must add up to zero."""
    account, entry = tables.ledger_account.c, tables.ledger_entry.c
    statement = (
        select(
            account.ledger_account_id,
            account.code,
            account.kind,
            account.name,
            entry.currency,
            func.sum(entry.amount_minor).label("amount_minor"),
        )
        .join_from(
            tables.ledger_entry,
            tables.ledger_account,
            account.ledger_account_id == entry.ledger_account_id,
        )
        .group_by(
            account.ledger_account_id, account.code, account.kind, account.name, entry.currency
        )
        .order_by(account.code, account.ledger_account_id, entry.currency)
    )
    rows = connection.execute(scoped(statement, tables.ledger_account, branch_id)).all()
    sums: dict[str, int] = defaultdict(int)
    for row in rows:
        sums[row.currency] += int(row.amount_minor)
    accounts = [
        LedgerBalance(
            ledger_account_id=row.ledger_account_id,
            code=row.code,
            kind=row.kind,
            name=row.name,
            amount=Money.of(int(row.amount_minor), row.currency),
        )
        for row in rows
    ]
    return TrialBalance(
        balanced=not any(sums.values()),
        accounts=accounts,
        sums=[Money.of(amount, currency) for currency, amount in sorted(sums.items())],
    )
