"""A statement's entries into the business database, each in a transaction of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from billing.accounts import Branch
from billing.adapters.audit import recorded, write_entry
from billing.adapters.bank import import_entry
from billing.adapters.databases import reading, writing
from billing.adapters.repositories import find
from billing.bank_statements import BankEntry
from infra.settings import Settings
from infra.wiring.databases import business_database

REPEATED = "known before"


def import_statement(
    settings: Settings, branch_id: str, entries: Sequence[BankEntry], by: str, now_ms: int
) -> Counter[str]:
    """Import a statement's entries; return how many came to which status.

    LookupError: no such branch. Raises sqlalchemy.exc.DBAPIError where the database refuses.
    """
    database = business_database(settings, "payments")
    counts: Counter[str] = Counter()
    try:
        with reading(database) as connection:
            branch = find(connection, Branch, branch_id)
        if branch is None:
            raise LookupError(f"--branch {branch_id!r}: expected a branch that is there")
        for entry in entries:
            with writing(database) as connection:
                with recorded(connection) as recorder:
                    status = import_entry(connection, branch, entry, by, now_ms)
                actor = ("command line", by, branch_id)
                write_entry(connection, recorder, actor, "flowrate payments import", now_ms)
            counts[status or REPEATED] += 1
    finally:
        database.dispose()
    return counts
