"""Tables of what becomes of papers: voids, and notes by clerks."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table, Text

from billing.adapters.columns import (
    metadata,
    number_column,
    reference_column,
    text_column,
)

invoice_void = Table(
    "invoice_void",
    metadata,
    Column("invoice_id", Text, ForeignKey("invoice.invoice_id"), primary_key=True),
    text_column("reason"),
    number_column("voided_at"),
    text_column("voided_by"),
)
"""Why an invoice is void; its number stays used."""

invoice_note = Table(
    "invoice_note",
    metadata,
    Column("note_id", Text, ForeignKey("invoice.invoice_id"), primary_key=True),
    reference_column("corrects_invoice_id", "invoice.invoice_id"),
    text_column("reason"),
    number_column("created_at"),
    text_column("created_by"),
    Index(None, "corrects_invoice_id"),
)
"""A credit or debit note by a clerk, itself a row of `invoice`, and the invoice it corrects."""

note_line = Table(
    "note_line",
    metadata,
    Column("note_id", Text, ForeignKey("invoice_note.note_id"), primary_key=True),
    Column("line", BigInteger, primary_key=True, autoincrement=False),
    reference_column("corrects_invoice_id", "invoice.invoice_id"),
    number_column("corrects_line"),
    number_column("amount_minor"),
    Index(None, "corrects_invoice_id"),
)
"""How much of which line a note gives back (above zero) or asks more for (below)."""
