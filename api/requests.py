"""What a route depends on: the services, who calls, and which part of a list."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.cursors import Paging
from api.instants import local
from api.keys import Principal, find_principal
from api.ports import Services
from api.problems import Problem, invalid_parameter
from billing.adapters.databases import reading

_bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer frk_…`")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key, bare.")


def services_of(request: Request) -> Services:
    """Return what the process was started with."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]


def _principal(
    services: ServicesDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> Principal:
    token = bearer.credentials if bearer else header
    challenge = {"WWW-Authenticate": 'Bearer realm="flowrate"'}
    if not token:
        detail = "Send the key as `Authorization: Bearer frk_…` or `X-API-Key: frk_…`."
        raise Problem("unauthenticated", detail, headers=challenge)
    with reading(services.engine) as connection:
        principal = find_principal(connection, token, operator_token=services.operator_token)
    if principal is None:
        raise Problem("unauthenticated", "The key is unknown or revoked.", headers=challenge)
    return principal


PrincipalDep = Annotated[Principal, Depends(_principal)]


@dataclasses.dataclass(frozen=True)
class Caller:
    """The right to read in one request: who, and with what."""

    services: Services
    principal: Principal

    @property
    def branch_id(self) -> str | None:
        """Return the branch that the caller is confined to, None for all."""
        return self.principal.branch_id


def _caller(services: ServicesDep, principal: PrincipalDep) -> Caller:
    return Caller(services, principal)


CallerDep = Annotated[Caller, Depends(_caller)]


def _paging(
    services: ServicesDep,
    limit: Annotated[
        int | None, Query(ge=1, description="Most rows in this answer", examples=[50])
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=1000, description="next_cursor of the answer before")
    ] = None,
) -> Paging:
    most = services.config.page_size_max
    if limit is not None and limit > most:
        raise invalid_parameter("limit", limit, f"at most {most}")
    return Paging(limit or services.config.page_size_default, cursor)


PagingDep = Annotated[Paging, Depends(_paging)]


def _days(
    caller: CallerDep,
    from_on: Annotated[
        datetime.date | None,
        Query(alias="from", description="First local day; default: of the month of `to`"),
    ] = None,
    to_on: Annotated[
        datetime.date | None, Query(alias="to", description="Last local day, included; today")
    ] = None,
) -> tuple[datetime.date, datetime.date]:
    last = to_on or local(caller.services.now_ms(), "UTC").date()
    first = from_on or last.replace(day=1)
    if first > last:
        raise invalid_parameter("to", last.isoformat(), f"{first} or later")
    return first, last


DaysDep = Annotated[tuple[datetime.date, datetime.date], Depends(_days)]
"""The first and the last local day that a request asks for."""
