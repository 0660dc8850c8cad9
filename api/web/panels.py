"""The parts of pages that refresh themselves, and the numbers for the charts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection
from starlette.responses import JSONResponse, Response

from api.cursors import Paging
from api.ports import Services, UsageFilter
from api.problems import not_found
from api.reads import acting, parties, usage
from api.resources.usage import Range, usage_filter
from api.web import charts, formats, views
from api.web.rendering import HEADERS, panel
from api.web.views import Place
from api.web.visitors import VisitorDep
from billing.adapters.databases import reading

router = APIRouter(include_in_schema=False)

_FEW = Paging(views.PANEL_ROWS)

PANELS: dict[str, Callable[[Connection, Services, Place], dict[str, Any]]] = {
    "top": views.top_context,
    "alerts": lambda c, s, p: views.alerts_context(c, s, p, _FEW),
    "commands": lambda c, s, p: views.commands_context(c, s, p, _FEW),
    "invoices": lambda c, s, p: views.invoices_context(c, s, p, _FEW),
    "processes": views.processes_context,
}
"""Name of a panel of the overview → its context; its template is panels/<name>.html."""

Seen = Annotated[str, Query(max_length=32)]


@router.get("/panels/{name}")
def show_panel(visitor: VisitorDep, name: str, seen: Seen = "") -> Response:
    """Show one panel of the overview, or 204 where it has not changed."""
    make = PANELS.get(name)
    if make is None:
        raise not_found("panel", name)
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "overview")
        context |= make(connection, visitor.services, context["place"])
    return panel(f"panels/{name}.html", context | {"now": 0}, seen)


@router.get("/subscribers/{subscriber_id}/panels/{name}")
def show_subscriber_panel(
    visitor: VisitorDep, subscriber_id: str, name: str, seen: Seen = ""
) -> Response:
    """Show one panel of a subscriber's page, or 204 where it has not changed."""
    if name not in {"figures", "sessions", "acting"}:
        raise not_found("panel", name)
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "subscribers")
        context |= views.subscriber_context(
            connection, visitor.services, context["place"], subscriber_id
        )
    return panel(f"panels/subscriber_{name}.html", context | {"now": 0}, seen)


@router.get("/live.json")
def show_live(
    request: Request,
    visitor: VisitorDep,
    after: Annotated[float, Query(ge=0)] = 0,
) -> Response:
    """Give the live chart's samples after an instant (s), and the tiles' numbers."""
    principal = visitor.principal
    with reading(visitor.services.engine) as connection:
        now = visitor.services.now_ms()
        present = usage.usage_now(connection, principal.branch_id, now)
        charges = views.open_charges(connection, principal.branch_id, now)
    samples = request.app.state.live.since(principal.branch_id, round(after * 1000))
    body = charts.live_chart(samples) | {
        "now": now,
        "figures": {
            "down": formats.rate(present.rate_down_bps),
            "up": formats.rate(present.rate_up_bps),
            "sessions": formats.whole(present.sessions),
            "charges": [formats.money(amount) for amount in charges],
        },
    }
    return JSONResponse(body, headers=HEADERS)


@router.get("/charts/usage.json")
def show_usage_chart(
    visitor: VisitorDep,
    span: Annotated[str, Query(pattern="^(hour|day|month)$")] = "hour",
    subscriber_id: Annotated[str | None, Query(max_length=64)] = None,
    by_class: bool = True,
) -> Response:
    """Give the columns of a usage chart."""
    services, principal = visitor.services, visitor.principal
    chosen = charts.RANGES[span]
    now = services.now_ms()
    with reading(services.engine) as connection:
        timezone = views.place_of(connection, principal).timezone
        if subscriber_id is not None:
            found = parties.get_subscriber(connection, principal.branch_id, subscriber_id, now)
            timezone = parties.get_branch(connection, None, found.branch_id).timezone
        starts = charts.bounds(chosen, now, timezone)
        wanted = Range(starts[0], now + 1)
        which: UsageFilter = usage_filter(
            connection, principal.branch_id, wanted, subscriber_id, now
        )
    points = services.usage.series(which, chosen.step, timezone, by_class)
    body = charts.usage_chart(points, starts, by_class) | {"step": chosen.step}
    return JSONResponse(body | {"timezone": timezone}, headers=HEADERS)


@router.get("/status.json")
def show_status(visitor: VisitorDep) -> Response:
    """Give the status for the dot in the page's frame."""
    status = acting.installation_status(visitor.services)
    return JSONResponse({"healthy": status.healthy}, headers=HEADERS)
