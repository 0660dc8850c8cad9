"""The audit log, the newest entry first."""

from __future__ import annotations

import json

from sqlalchemy import Connection, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.audit import AuditEntry
from api.reads.parties import scoped
from billing.adapters.audit_tables import audit_entry


def list_entries(
    connection: Connection, branch_id: str | None, paging: Paging
) -> Slice[AuditEntry]:
    """Return what the keys of a branch changed (None: of all, and the operator's)."""
    table = audit_entry.c
    statement = scoped(select(audit_entry), audit_entry, branch_id)
    rows = connection.execute(
        paged(statement, [table.chain_number], paging, [int], descending=True)
    )
    found = [
        AuditEntry(
            number=row.chain_number,
            occurred_at=row.occurred_at,
            actor_id=row.actor_id,
            actor_name=row.actor_name,
            branch_id=row.branch_id,
            action=row.action,
            changes=json.loads(row.changes),
            hash=row.chain_hash,
        )
        for row in rows
    ]
    return slice_of(found, paging, lambda entry: [entry.number])
