"""Alerts, commands, status and health."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse, Response

from api.commanding import CommandDep, Done
from api.models.acting import (
    Alert,
    Command,
    CommandAccepted,
    CommandRequest,
    Health,
    Outcome,
    SpeedProfile,
    Status,
)
from api.models.values import Page
from api.reads import acting as reads
from api.reads import parties
from api.requests import CallerDep, PagingDep, ServicesDep
from api.resources.answers import problems
from api.writes.acting import request_command
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter()


@router.get("/alerts", tags=["alerts"], responses=problems(404))
def list_alerts(
    caller: CallerDep,
    paging: PagingDep,
    subscriber_id: Annotated[
        str | None, Query(description="Only of this subscriber and its pool")
    ] = None,
) -> Page[Alert]:
    """List alerts, the newest first."""
    now = caller.services.now_ms()
    keys = None
    with reading(caller.services.engine) as connection:
        if subscriber_id is not None:
            found = parties.get_subscriber(connection, caller.branch_id, subscriber_id, now)
            keys = [found.subscriber_id, found.rating_key]
        cut = reads.list_alerts(connection, caller.branch_id, paging, keys)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/commands", tags=["commands"], responses=problems())
def list_commands(
    caller: CallerDep,
    paging: PagingDep,
    subscriber_id: Annotated[str | None, Query(description="Only of this subscriber")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only with this outcome")] = None,
) -> Page[Command]:
    """List commands, the newest first, with attempts, acknowledgement and proof."""
    given = {"subscriber_id": subscriber_id, "outcome": outcome}
    filters = {name: value for name, value in given.items() if value}
    with reading(caller.services.engine) as connection:
        cut = reads.list_commands(connection, caller.branch_id, paging, filters)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/speed-profiles", tags=["commands"], responses=problems())
def list_speed_profiles(caller: CallerDep) -> Page[SpeedProfile]:
    """List the speeds that a throttle may name; they are settings of the installation."""
    profiles = [SpeedProfile(**dataclasses.asdict(one)) for one in caller.services.speed_profiles]
    return Page(items=profiles)


@router.post(
    "/subscribers/{subscriber_id}/commands",
    tags=["commands"],
    status_code=202,
    response_model=CommandAccepted,
    responses=problems(404, 409),
)
def create_command(command: CommandDep, subscriber_id: str, body: CommandRequest) -> Response:
    """Throttle, restore or disconnect a subscriber; commands_url tells what came of it."""

    def request(transaction: CommandTransaction) -> Done:
        accepted = request_command(transaction, subscriber_id, body)
        return Done(accepted, 202, accepted.commands_url)

    return command.once(request).response()


@router.get("/status", tags=["status"], responses=problems())
def get_status(caller: CallerDep) -> Status:
    """Get the processes, their restarts, and how far every stage has come."""
    return reads.installation_status(caller.services)


@router.get(
    "/health",
    tags=["status"],
    response_model=Health,
    responses={503: {"model": Health, "description": "This process cannot serve"}},
)
def get_health(services: ServicesDep) -> Response | Health:
    """Say whether this process can serve. Needs no key."""
    try:
        with reading(services.engine) as connection:
            connection.execute(text("select 1"))
    except SQLAlchemyError as error:
        reason = type(error).__name__
        return JSONResponse({"status": "failing", "checks": {"database": reason}}, 503)
    return Health(status="ok", checks={"database": "ok"})
