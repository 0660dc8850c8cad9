"""Bank entries: what was matched, what waits for a clerk."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.bank import BankEntry, BankEntryIgnore, BankEntryMatch
from api.models.values import Page
from api.reads import bank as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.writes import bank as writes
from billing.adapters.databases import reading

router = APIRouter()


@router.get("/bank-entries", tags=["payments"], responses=problems())
def list_bank_entries(
    caller: CallerDep,
    paging: PagingDep,
    status: Annotated[
        str | None,
        Query(
            pattern="^(matched|unmatched|reversed|outgoing|ignored)$",
            description="Only in this state",
        ),
    ] = None,
) -> Page[BankEntry]:
    """List what bank statements said, the newest day first; unmatched wait for a clerk."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_entries(connection, caller.branch_id, paging, status)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/bank-entries/{entry_id}/match",
    tags=["payments"],
    response_model=BankEntry,
    responses=problems(404, 409),
)
def match_bank_entry(command: CommandDep, entry_id: str, body: BankEntryMatch) -> Response:
    """Say whose money an unmatched entry is; its payment is recorded."""
    return command.once(lambda t: Done(writes.match_entry(t, entry_id, body))).response()


@router.post(
    "/bank-entries/{entry_id}/ignore",
    tags=["payments"],
    response_model=BankEntry,
    responses=problems(404, 409),
)
def ignore_bank_entry(command: CommandDep, entry_id: str, body: BankEntryIgnore) -> Response:
    """Take an entry out of the queue that is no customer's money."""
    return command.once(lambda t: Done(writes.ignore_entry(t, entry_id, body))).response()
