"""Numbers of documents: dense per branch and series, taken in the document's own transaction."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from billing.accounts import Branch
from billing.adapters import tables
from billing.adapters.databases import upsert
from billing.numbering import format_number, next_number


def take_number(connection: Connection, branch: Branch, series: str) -> str:
    """Return the next number of the branch's series; a rollback gives it back.

    The series' row stays locked until the commit: a number taken behind an uncommitted one would
    leave a gap where that one is given back.
    """
    table = tables.document_series
    where = (table.c.branch_id == branch.branch_id, table.c.series == series)
    begin = upsert(connection, table).values(
        branch_id=branch.branch_id, series=series, last_number=0
    )
    connection.execute(begin.on_conflict_do_nothing())
    last = connection.execute(select(table.c.last_number).where(*where).with_for_update())
    number = next_number(last.scalar_one())
    connection.execute(update(table).where(*where).values(last_number=number))
    return format_number(branch.invoice_prefix, series, number)
