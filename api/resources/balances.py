"""Buckets of money and quota: bonuses and boosters."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.balances import Bucket, BucketCreate, BucketGrant
from api.models.values import Page
from api.reads import balances as reads
from api.reads import parties
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems, unanswered
from api.resources.billing import accepted_event, event_response
from api.writes.balances import grant_bucket
from billing.adapters.databases import reading

router = APIRouter()


@router.get("/balances/{rating_key}/buckets", tags=["balances"], responses=problems(404))
def list_buckets(caller: CallerDep, paging: PagingDep, rating_key: str) -> Page[Bucket]:
    """List the buckets of a subscriber or pool, ended ones too."""
    with reading(caller.services.engine) as connection:
        parties.rating_key_branch(connection, caller.branch_id, rating_key)
        cut = reads.list_buckets(connection, rating_key, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/balance-buckets",
    tags=["balances"],
    status_code=201,
    response_model=BucketGrant,
    responses={**unanswered(BucketGrant), **problems(404, 409)},
)
async def create_bucket(command: CommandDep, body: BucketCreate) -> Response:
    """Add a bucket of money or quota, and wait for rating's answer; a price is paid with it."""
    answer = await run_in_threadpool(command.once, lambda t: Done(grant_bucket(t, body), 201))
    granted = BucketGrant.model_validate_json(answer.body)
    status = await accepted_event(command.services, granted.event.event_id)
    return event_response(answer, granted.model_copy(update={"event": status}), status)
