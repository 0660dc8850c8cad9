"""Bank entries, by status."""

from __future__ import annotations

from sqlalchemy import Connection, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.bank import BankEntry
from api.problems import not_found
from api.reads.parties import scoped
from api.reads.rows import with_amount
from billing.adapters.bank_tables import bank_entry


def list_entries(
    connection: Connection, branch_id: str | None, paging: Paging, status: str | None
) -> Slice[BankEntry]:
    """Return the entries in reach, of one status or of all, the newest day first."""
    statement = scoped(select(bank_entry), bank_entry, branch_id)
    if status is not None:
        statement = statement.where(bank_entry.c.status == status)
    columns = [bank_entry.c.booked_on, bank_entry.c.entry_id]
    rows = connection.execute(paged(statement, columns, paging, [str, str], descending=True))
    return slice_of(
        [with_amount(row, BankEntry) for row in rows], paging, lambda e: [e.booked_on, e.entry_id]
    )


def get_entry(connection: Connection, branch_id: str | None, entry_id: str) -> BankEntry:
    """Return one entry, or raise a 404 Problem."""
    statement = select(bank_entry).where(bank_entry.c.entry_id == entry_id)
    row = connection.execute(scoped(statement, bank_entry, branch_id)).one_or_none()
    if row is None:
        raise not_found("bank entry", entry_id)
    return with_amount(row, BankEntry)
