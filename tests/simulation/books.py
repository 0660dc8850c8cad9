"""The books as text: invoices and ledger by business key, without what processing adds.

What is left must be equal, octet by octet, for equal input.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Table, select

from billing.adapters import tables
from billing.adapters.databases import reading
from tests.simulation.world import World

PROCESSING: dict[Table, frozenset[str]] = {
    tables.invoice: frozenset({"number", "issued_at", "due_on"}),
    tables.invoice_line: frozenset(),
    tables.billed_charge: frozenset(),
    tables.ledger_account: frozenset(),
    tables.ledger_transaction: frozenset({"chain_number", "chain_hash", "recorded_at"}),
    tables.ledger_entry: frozenset(),
}
"""Tables of the books, and their columns that say when or in which order they were written."""


def books_of(world: World) -> str:
    """Return every row of the books, one line of JSON each, sorted by business key."""
    with reading(world.database) as connection:
        return "\n".join(line for table in PROCESSING for line in _lines(connection, table))


def _lines(connection: Connection, table: Table) -> list[str]:
    kept = [column for column in table.columns if column.name not in PROCESSING[table]]
    query = select(*kept).order_by(*table.primary_key.columns)
    return [_line(table.name, row._asdict()) for row in connection.execute(query)]


def _line(table: str, row: dict[str, Any]) -> str:
    return f"{table} {json.dumps(row, ensure_ascii=False)}"
