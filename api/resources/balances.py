"""Buckets of money and quota: bonuses and boosters."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from api.commanding import CommandDep, Done
from api.models.balances import Bucket, BucketCreate, BucketGrant
from api.models.values import Page
from api.problems import Problem
from api.reads import balances as reads
from api.reads import parties
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.resources.billing import await_event
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
    responses={
        202: {
            "model": BucketGrant,
            "description": "Rating has not answered yet; Location says where its answer will be",
        },
        **problems(404, 409),
    },
)
async def create_bucket(command: CommandDep, body: BucketCreate) -> Response:
    """Add a bucket of money or quota, and wait for rating's answer; a price is paid with it."""
    answer = await run_in_threadpool(command.once, lambda t: Done(grant_bucket(t, body), 201))
    granted = BucketGrant.model_validate_json(answer.body)
    status = await await_event(command.services, granted.event.event_id)
    if status.outcome == "refused":
        raise Problem("event-refused", status.reason or "Rating gave no reason.")
    granted = granted.model_copy(update={"event": status})
    headers = {"Location": status.status_url}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    code = 202 if status.outcome == "pending" else 201
    return JSONResponse(granted.model_dump(mode="json"), code, headers)
