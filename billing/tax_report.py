"""The report to the tax office: what was sold under which tax in a period, and what is owed.

A paper counts on the day of its posting, a void on its own day with the sign turned, so the sums
are what the ledger moved on its accounts of tax. Supplies without tax (exempt, reverse charge, a
rate of zero) stand beside them: offices ask for their value too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import polars as pl

from billing.numbering import CREDIT_NOTE_SERIES, DEBIT_NOTE_SERIES
from billing.reports.table import Column, Shape, details_of
from billing.taxes import PLAN_TAX

SHAPE = Shape(
    name="tax",
    title="Taxes",
    description="Value and tax of what was invoiced, by tax, rate and relief.",
    keys=(
        Column("branch_id", "Branch"),
        Column("tax_id", "Tax"),
        Column("tax_name", "Name"),
        Column("tax_rate", "Rate"),
        Column("relief", "Relief"),
        Column("kind", "Paper"),
        Column("currency", "Currency"),
    ),
    values=(
        Column("documents", "Papers", "count"),
        Column("net_minor", "Value", "money"),
        Column("tax_minor", "Tax", "money"),
    ),
    ids=(
        Column("day", "Day", "day"),
        Column("number", "Number"),
        Column("invoice_id", "Invoice"),
        Column("account_id", "Account"),
        Column("certificate", "Certificate"),
    ),
)

INVOICES = "invoice"
CREDITS = "credit note"
DEBITS = "debit note"
VOIDS = "void"


@dataclasses.dataclass(frozen=True, slots=True)
class Paper:
    """A final paper, or its void: day is the local ISO day on which that was posted."""

    branch_id: str
    account_id: str
    invoice_id: str
    number: str
    series: str
    document: str
    day: str
    is_void: bool


def tax_details(papers: Iterable[Paper]) -> pl.DataFrame:
    """Return one row per paper and tax at one rate; a void takes back what its paper said."""
    rows = [row for paper in papers for row in _rows(paper)]
    schema: dict[str, Any] = {
        column.name: pl.Int64 if column.kind in ("money", "count") else pl.String
        for column in SHAPE.detail_columns
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return details_of(SHAPE, frame.with_columns(pl.col("day").str.to_date()))


def _rows(paper: Paper) -> list[tuple[Any, ...]]:
    """Return the rows of one paper in the order of the shape's columns."""
    document = json.loads(paper.document)
    sign = -1 if paper.is_void else 1
    kinds = {CREDIT_NOTE_SERIES: CREDITS, DEBIT_NOTE_SERIES: DEBITS}
    kind = VOIDS if paper.is_void else kinds.get(paper.series, INVOICES)
    return [
        (
            paper.branch_id,
            tax.get("tax_id", PLAN_TAX),
            tax.get("name") or "Tax",
            tax["percent"],
            tax.get("relief", ""),
            kind,
            document["currency"],
            sign,
            sign * tax["net_minor"],
            sign * tax["tax_minor"],
            paper.day,
            paper.number,
            paper.invoice_id,
            paper.account_id,
            tax.get("certificate", ""),
        )
        for tax in document["taxes"]
    ]
