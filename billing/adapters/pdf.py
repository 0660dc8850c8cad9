"""The invoice as PDF, set by typst. Equal input and fonts give equal octets."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typst
from sqlalchemy import Connection, select

from billing.adapters import tables
from billing.printing import PrintedState, print_invoice
from billing.proration import local_day

TEMPLATE = Path(__file__).parent / "templates" / "invoice.typ"
STATEMENT_TEMPLATE = TEMPLATE.with_name("statement.typ")


def invoice_pdf(connection: Connection, invoice_id: str) -> bytes:
    """Return an invoice or draft as PDF. LookupError: no such invoice."""
    return render(invoice_input(connection, invoice_id))


def invoice_input(connection: Connection, invoice_id: str) -> dict[str, Any]:
    """Return what the template prints of an invoice. LookupError: no such invoice.

    Read inside a transaction, render outside: typesetting takes tens of milliseconds.
    """
    table = tables.invoice.c
    row = connection.execute(
        select(
            table.document,
            table.number,
            table.status,
            table.issued_at,
            table.due_on,
            table.paid_minor,
            table.hash,
            tables.branch.c.timezone,
        )
        .join_from(tables.invoice, tables.branch)
        .where(table.invoice_id == invoice_id)
    ).first()
    if row is None:
        raise LookupError(f"no invoice {invoice_id}")
    issued_on = local_day(row.issued_at, row.timezone).isoformat() if row.issued_at else ""
    state = PrintedState(
        row.number or "",
        row.status,
        issued_on,
        row.due_on or "",
        row.paid_minor,
        row.hash,
        _corrected_numbers(connection, row.document),
    )
    return print_invoice(row.document, state)


def _corrected_numbers(connection: Connection, document: str) -> tuple[str, ...]:
    """Return the numbers of the invoices that a document's lines correct, ascending.

    The document itself names them by id: numbers say in which order invoices were made.
    """
    lines = json.loads(document)["lines"]
    names = {line["evidence"].get("corrects_invoice_id", "") for line in lines} - {""}
    table = tables.invoice.c
    query = select(table.number).where(table.invoice_id.in_(sorted(names)), table.number != "")
    return tuple(connection.scalars(query.order_by(table.number)))


def render(printed: Mapping[str, Any], template: Path = TEMPLATE) -> bytes:
    """Return the PDF of what `print_invoice` or, with its template, `print_statement` gave.

    The fonts are the system's Noto, else typst's own; the document's date is the invoice's.
    typst.TypstError: the template or its input is wrong, which is a defect of ours.
    """
    day = datetime.date.fromisoformat(printed["document_day"])
    midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC)
    pdf = typst.compile(
        template.read_bytes(),
        format="pdf",
        sys_inputs={"invoice": json.dumps(dict(printed), ensure_ascii=False)},
        timestamp=int(midnight.timestamp()),
    )
    assert isinstance(pdf, bytes)
    return pdf
