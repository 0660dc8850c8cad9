"""Reads the papers of a branch's days for the report to the tax office."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from billing.adapters import document_tables, tables
from billing.adapters.report_rows import Reach
from billing.ledger import TAX_PAYABLE
from billing.tax_report import Paper
from rating.periods import local_day

_COLUMNS = ("branch_id", "account_id", "invoice_id", "number", "series", "document")


def read_papers(connection: Connection, reach: Reach) -> Iterator[Paper]:
    """Yield a branch's final papers of the days, and the voids of the days.

    An invoice is posted at the midnight that ends its period, which belongs to the day before.
    """
    invoice, void = tables.invoice.c, document_tables.invoice_void
    columns = [invoice[name] for name in _COLUMNS]
    of_branch = invoice.branch_id == reach.branch.branch_id
    issued = select(*columns, invoice.period_end_at).where(
        of_branch,
        invoice.status != "draft",
        invoice.period_end_at > reach.start_at,
        invoice.period_end_at <= reach.end_at,
    )
    voided = (
        select(*columns, void.c.voided_at)
        .join_from(tables.invoice, void)
        .where(of_branch, void.c.voided_at > reach.start_at, void.c.voided_at <= reach.end_at)
    )
    zone = reach.branch.timezone
    for query, is_void in ((issued, False), (voided, True)):
        for row in connection.execute(query).yield_per(1_000):
            day = local_day(zone, (row[-1] - 1) // 60_000)
            of_paper = dict(zip(_COLUMNS, row, strict=False))
            yield Paper(**of_paper, day=day.isoformat(), is_void=is_void)


def tax_codes(connection: Connection) -> list[str]:
    """Return the ledger's codes of what is owed to tax offices, the plain one first."""
    code = tables.ledger_account.c.code
    query = select(code).distinct().where(code.startswith(f"{TAX_PAYABLE}.", autoescape=True))
    return [TAX_PAYABLE, *sorted(connection.scalars(query))]
