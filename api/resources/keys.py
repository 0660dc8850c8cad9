"""API keys of branches."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.keys import ApiKey, ApiKeyCreate, IssuedApiKey
from api.models.values import Page
from api.reads import keys as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.writes import keys as writes
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter()


@router.get("/api-keys", tags=["keys"], responses=problems())
def list_api_keys(caller: CallerDep, paging: PagingDep) -> Page[ApiKey]:
    """List the keys of the branches in reach, revoked ones too, without their secrets."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_keys(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/api-keys/{key_id}", tags=["keys"], responses=problems(404))
def get_api_key(caller: CallerDep, key_id: str) -> ApiKey:
    """Get one key, without its secret."""
    with reading(caller.services.engine) as connection:
        return reads.get_key(connection, caller.branch_id, key_id)


@router.post(
    "/api-keys",
    tags=["keys"],
    status_code=201,
    response_model=IssuedApiKey,
    responses=problems(403, 404),
)
def create_api_key(command: CommandDep, body: ApiKeyCreate) -> Response:
    """Issue a key of a branch. Its token is in this answer and nowhere else."""

    def create(transaction: CommandTransaction) -> Done:
        issued = writes.create_key(transaction, body)
        kept = issued.model_copy(update={"token": None})
        return Done(issued, 201, f"/v1/api-keys/{issued.key_id}", kept=kept)

    return command.once(create).response()


@router.delete("/api-keys/{key_id}", tags=["keys"], status_code=204, responses=problems(404))
def revoke_api_key(command: CommandDep, key_id: str) -> Response:
    """Revoke a key at once; the page sessions that it opened end with it."""
    command.once(lambda t: Done(writes.delete_key(t, key_id)))
    return Response(status_code=204)
