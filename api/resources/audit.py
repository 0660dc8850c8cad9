"""Who changed what."""

from __future__ import annotations

from fastapi import APIRouter

from api.models.audit import AuditEntry
from api.models.values import Page
from api.reads import audit as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from billing.adapters.databases import reading

router = APIRouter()


@router.get("/audit", tags=["audit"], responses=problems())
def list_audit_entries(caller: CallerDep, paging: PagingDep) -> Page[AuditEntry]:
    """List what commands changed, row by row, the newest first."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_entries(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)
