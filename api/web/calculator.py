"""The page of the tariff calculator: a plan, a month's usage in a few numbers, and why it costs."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.cursors import Paging
from api.instants import local
from api.models.parties import Plan
from api.models.quotes import QuoteCreate
from api.problems import Problem
from api.reads import parties
from api.reads.quotes import quote_of
from api.web.rendering import page
from api.web.visitors import VisitorDep
from billing.adapters.databases import reading
from rating.money import parse_amount
from rating.plans import OCTETS_PER_GIGABYTE

router = APIRouter(include_in_schema=False)

PLANS_MAX = 500
"""Plan versions that the page looks through for the newest of each."""

Number = Annotated[str, Query(max_length=20)]


@router.get("/quotes")
def show_quote(
    visitor: VisitorDep,
    plan: Annotated[str, Query(max_length=64)] = "",
    day: Annotated[str, Query(max_length=10)] = "",
    down: Number = "",
    up: Number = "",
    hours: Number = "",
) -> Response:
    """Show the calculator, and where a plan is chosen, what it would charge."""
    services = visitor.services
    asked = {"plan": plan, "day": day, "down": down, "up": up, "hours": hours}
    with reading(services.engine) as connection:
        context = visitor.context(connection, "quotes")
        reach = visitor.principal.branch_id
        cut = parties.list_plans(connection, reach, Paging(PLANS_MAX))
        plans = {kept.plan_id: kept for kept in cut.items}
        today = local(context["now"], context["place"].timezone).date()
        context |= {"plans": list(plans.values()), "asked": asked, "quote": None, "fault": ""}
        asked["day"] = day or str(today.replace(day=1))
        if plan:
            try:
                body = _body(plans.get(plan), asked)
                context["quote"] = quote_of(connection, reach, body, context["now"])
            except Problem as problem:
                context["fault"] = problem.detail.replace("/usage/", "")
            except ValueError as error:
                context["fault"] = str(error)
    return page("quotes.html", context)


def _body(plan: Plan | None, asked: dict[str, str]) -> QuoteCreate:
    """Return the request that the form means; ValueError says which number is none."""
    if plan is None:
        raise ValueError("plan: choose one of the list")
    gigabyte = OCTETS_PER_GIGABYTE[plan.document.get("octets_unit", "decimal")]
    use: dict[str, Any] = {
        "octets_down": _whole("down", asked["down"], gigabyte),
        "octets_up": _whole("up", asked["up"], gigabyte),
        "seconds": _whole("hours", asked["hours"], 3600),
    }
    usage = {"starts_on": asked["day"], "usage": [use]}
    return QuoteCreate(plan_id=plan.plan_id, plan_version=plan.version, usage=usage)


def _whole(name: str, text: str, unit: int) -> int:
    """Return a number of units that was typed as whole small ones; an empty field is none."""
    typed = text.strip().replace(",", "") or "0"
    try:
        amount: Fraction = parse_amount(typed)
    except ValueError:
        amount = Fraction(-1)
    if amount < 0:
        raise ValueError(f"{name} = {text!r}: expected a number such as 12.5")
    return int(amount * unit)
