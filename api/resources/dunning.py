"""Payment terms, dunning schedules, overdue accounts, promises and holds."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.dunning import (
    AccountDunning,
    AccountTerms,
    CustomerGroup,
    CustomerGroupCreate,
    DunningHoldCreate,
    DunningPause,
    DunningSchedule,
    DunningScheduleCreate,
    Holiday,
    HolidayCreate,
    OverdueAccount,
    PromiseCreate,
    Terms,
)
from api.models.values import Page
from api.reads import dunning as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.writes import dunning as writes
from billing.adapters.databases import reading

router = APIRouter()


@router.get("/branches/{branch_id}/terms", tags=["dunning"], responses=problems(404))
def get_branch_terms(caller: CallerDep, branch_id: str) -> Terms:
    """Get what holds for accounts of a branch of which nothing else is said."""
    with reading(caller.services.engine) as connection:
        return reads.branch_terms(connection, caller.branch_id, branch_id)


@router.patch(
    "/branches/{branch_id}/terms",
    tags=["dunning"],
    response_model=Terms,
    responses=problems(404),
)
def set_branch_terms(command: CommandDep, branch_id: str, body: Terms) -> Response:
    """Set a branch's terms as a whole: invoices that are out keep their due day."""
    return command.once(lambda t: Done(writes.set_branch_terms(t, branch_id, body))).response()


@router.get("/accounts/{account_id}/terms", tags=["dunning"], responses=problems(404))
def get_account_terms(caller: CallerDep, account_id: str) -> AccountTerms:
    """Get an account's group and the terms that it was granted itself."""
    with reading(caller.services.engine) as connection:
        return reads.account_terms(connection, caller.branch_id, account_id)


@router.patch(
    "/accounts/{account_id}/terms",
    tags=["dunning"],
    response_model=AccountTerms,
    responses=problems(404),
)
def set_account_terms(command: CommandDep, account_id: str, body: AccountTerms) -> Response:
    """Set an account's group and own terms as a whole."""
    return command.once(lambda t: Done(writes.set_account_terms(t, account_id, body))).response()


@router.get("/customer-groups", tags=["dunning"], responses=problems())
def list_customer_groups(caller: CallerDep, paging: PagingDep) -> Page[CustomerGroup]:
    """List the customer groups in reach."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_groups(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/customer-groups",
    tags=["dunning"],
    status_code=201,
    response_model=CustomerGroup,
    responses=problems(403, 404, 409),
)
def write_customer_group(command: CommandDep, body: CustomerGroupCreate) -> Response:
    """Make a customer group, or change the one with this id."""
    return command.once(lambda t: Done(writes.write_group(t, body), 201)).response()


@router.get("/branches/{branch_id}/holidays", tags=["dunning"], responses=problems(404))
def list_holidays(caller: CallerDep, branch_id: str) -> Page[Holiday]:
    """List the days on which a branch duns nobody."""
    with reading(caller.services.engine) as connection:
        return Page(items=reads.list_holidays(connection, caller.branch_id, branch_id))


@router.post(
    "/branches/{branch_id}/holidays",
    tags=["dunning"],
    status_code=201,
    response_model=Holiday,
    responses=problems(404),
)
def add_holiday(command: CommandDep, branch_id: str, body: HolidayCreate) -> Response:
    """Add a day on which a branch duns nobody."""
    return command.once(lambda t: Done(writes.add_holiday(t, branch_id, body), 201)).response()


@router.get("/dunning-schedules", tags=["dunning"], responses=problems())
def list_dunning_schedules(caller: CallerDep, paging: PagingDep) -> Page[DunningSchedule]:
    """List every version of the dunning schedules in reach."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_schedules(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/dunning-schedules",
    tags=["dunning"],
    status_code=201,
    response_model=DunningSchedule,
    responses=problems(403, 404, 409),
)
def create_dunning_schedule(command: CommandDep, body: DunningScheduleCreate) -> Response:
    """Create a dunning schedule, or the next version of the one with this id."""
    return command.once(lambda t: Done(writes.create_schedule(t, body), 201)).response()


@router.get("/overdue", tags=["dunning"], responses=problems())
def list_overdue(caller: CallerDep, paging: PagingDep) -> Page[OverdueAccount]:
    """List the accounts that owe past a due day, and what happens to each next and when."""
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        cut = reads.list_overdue(connection, caller.branch_id, paging, now)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/accounts/{account_id}/dunning", tags=["dunning"], responses=problems(404))
def get_account_dunning(caller: CallerDep, account_id: str) -> AccountDunning:
    """Get how an account's dunning stands, what holds it up, and all steps that were taken."""
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        return reads.account_dunning(connection, caller.branch_id, account_id, now)


@router.post(
    "/accounts/{account_id}/promises",
    tags=["dunning"],
    status_code=201,
    response_model=DunningPause,
    responses=problems(404),
)
def create_promise(command: CommandDep, account_id: str, body: PromiseCreate) -> Response:
    """Take a promise to pay: dunning waits for its day, and goes on where it stood if broken."""
    return command.once(lambda t: Done(writes.promise(t, account_id, body), 201)).response()


@router.post(
    "/accounts/{account_id}/dunning-holds",
    tags=["dunning"],
    status_code=201,
    response_model=DunningPause,
    responses=problems(404),
)
def create_dunning_hold(command: CommandDep, account_id: str, body: DunningHoldCreate) -> Response:
    """Hold an account's dunning up, exempt it, or dispute one of its invoices."""
    return command.once(lambda t: Done(writes.hold(t, account_id, body), 201)).response()


@router.post(
    "/dunning-holds/{pause_id}/release",
    tags=["dunning"],
    response_model=DunningPause,
    responses=problems(404, 409),
)
def release_dunning_hold(command: CommandDep, pause_id: str) -> Response:
    """Release a promise, hold, dispute or exemption: dunning goes on where it stood."""
    return command.once(lambda t: Done(writes.release(t, pause_id))).response()
