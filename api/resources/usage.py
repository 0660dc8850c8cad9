"""Usage and sessions."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection

from api.instants import MINUTE_MS, InstantIn
from api.models.usage import (
    ByClass,
    ClassUsage,
    Counter,
    FlowQualitySeries,
    Point,
    Series,
    Session,
    Step,
    Unattributed,
    UsageNow,
)
from api.models.values import Page
from api.ports import UsageFilter, UsageTotal
from api.problems import Problem, invalid_parameter
from api.reads import parties
from api.reads import usage as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from billing.adapters.databases import reading

router = APIRouter()

STEP_MS: dict[Step, int] = {"minute": MINUTE_MS, "hour": 60 * MINUTE_MS, "day": 1440 * MINUTE_MS}
SPAN_DEFAULT_MS = 60 * MINUTE_MS

OfSubscriber = Annotated[str | None, Query(description="Only of this subscriber")]


@dataclasses.dataclass(frozen=True)
class Range:
    """[from_at, until_at) in ms."""

    from_at: int
    until_at: int


def _range(
    caller: CallerDep,
    from_at: Annotated[
        InstantIn | None,
        Query(description="An hour before the end where left out", examples=["2026-11-21T10:00Z"]),
    ] = None,
    until_at: Annotated[
        InstantIn | None, Query(description="Now where left out", examples=["2026-11-21T11:00Z"])
    ] = None,
) -> Range:
    until = caller.services.now_ms() if until_at is None else until_at
    start = max(0, until - SPAN_DEFAULT_MS) if from_at is None else from_at
    if start >= until:
        raise invalid_parameter("from_at", start, "an instant before until_at")
    return Range(start, until)


RangeDep = Annotated[Range, Depends(_range)]


def usage_filter(
    connection: Connection, branch_id: str | None, span: Range, subscriber_id: str | None, at: int
) -> UsageFilter:
    """Return which rated rows the caller may see; a 404 Problem for a foreign subscriber."""
    if subscriber_id is not None:
        parties.get_subscriber(connection, branch_id, subscriber_id, at)
        return UsageFilter(span.from_at, span.until_at, subscriber_ids=[subscriber_id])
    ids = parties.subscriber_ids(connection, branch_id)
    return UsageFilter(span.from_at, span.until_at, subscriber_ids=ids)


def _filter(caller: CallerDep, span: RangeDep, subscriber_id: OfSubscriber = None) -> UsageFilter:
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        return usage_filter(connection, caller.branch_id, span, subscriber_id, now)


FilterDep = Annotated[UsageFilter, Depends(_filter)]


@router.get("/usage/now", tags=["usage"], responses=problems(404))
def get_usage_now(caller: CallerDep, subscriber_id: OfSubscriber = None) -> UsageNow:
    """Get what moves now, over all live sessions or one subscriber's."""
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        if subscriber_id is not None:
            parties.get_subscriber(connection, caller.branch_id, subscriber_id, now)
        return reads.usage_now(connection, caller.branch_id, now, subscriber_id)


@router.get("/usage/series", tags=["usage"], responses=problems(404, 503))
def get_usage_series(
    caller: CallerDep,
    which: FilterDep,
    step: Annotated[Step, Query(description="Width of a point")] = "minute",
    by_class: Annotated[bool, Query(description="Split points by traffic class")] = False,
) -> Series:
    """Get usage over time. Days are those of the key's branch, of UTC for a key without one."""
    most = caller.services.config.series_points_max
    wanted = -(-(which.until_at - which.from_at) // STEP_MS[step])
    if wanted > most:
        raise invalid_parameter("step", step, f"at most {most} points; this is {wanted}")
    timezone = "UTC"
    if caller.branch_id is not None:
        with reading(caller.services.engine) as connection:
            branch = parties.get_branch(connection, caller.branch_id, caller.branch_id)
            timezone = branch.timezone
    points = caller.services.usage.series(which, step, timezone, by_class)
    return Series(
        from_at=which.from_at,
        until_at=which.until_at,
        step=step,
        points=[Point(**dataclasses.asdict(point)) for point in points],
    )


@router.get("/usage/by-class", tags=["usage"], responses=problems(404, 503))
def get_usage_by_class(caller: CallerDep, which: FilterDep) -> ByClass:
    """Get usage per traffic class over a range."""
    totals = caller.services.usage.by_class(which)
    return ByClass(from_at=which.from_at, until_at=which.until_at, classes=class_shares(totals))


def class_shares(totals: list[UsageTotal]) -> list[ClassUsage]:
    """Return each class's octets with its share of all of them."""
    whole = sum(total.octets_up + total.octets_down for total in totals)
    return [
        ClassUsage(
            traffic_class=total.key,
            octets_up=total.octets_up,
            octets_down=total.octets_down,
            share_permille=(
                (total.octets_up + total.octets_down) * 1000 // whole if whole > 0 else 0
            ),
        )
        for total in totals
    ]


@router.get(
    "/subscribers/{subscriber_id}/flow-quality", tags=["usage"], responses=problems(404, 503)
)
def get_flow_quality(
    caller: CallerDep,
    subscriber_id: str,
    span: RangeDep,
    step: Annotated[Literal["hour", "day"], Query(description="Width of a step")] = "hour",
) -> FlowQualitySeries:
    """Get how sure a subscriber's flow usage is: sampling known or not, lost on the way.

    Hours are of UTC and are told once they are over; days are those of the subscriber's branch.
    """
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        which = usage_filter(connection, caller.branch_id, span, subscriber_id, now)
        found = parties.get_subscriber(connection, caller.branch_id, subscriber_id, now)
        timezone = parties.get_branch(connection, None, found.branch_id).timezone
    steps = caller.services.usage.flow_quality(which, step, timezone)
    return FlowQualitySeries(
        from_at=which.from_at,
        until_at=which.until_at,
        step=step,
        steps=[reads.quality_of(one) for one in steps],
    )


@router.get("/usage/counters", tags=["usage"], responses=problems(404))
def list_counters(
    caller: CallerDep,
    paging: PagingDep,
    rating_key: Annotated[str | None, Query(description="Only of this rating key")] = None,
) -> Page[Counter]:
    """List the counters of the running periods, with their allowances."""
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        if rating_key is not None:
            parties.rating_key_branch(connection, caller.branch_id, rating_key)
        cut = reads.list_counters(connection, caller.branch_id, rating_key, now, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/sessions", tags=["sessions"], responses=problems(404))
def list_sessions(
    caller: CallerDep,
    paging: PagingDep,
    subscriber_id: OfSubscriber = None,
    state: Annotated[Literal["live", "ended", "all"], Query(description="Which sessions")] = "all",
) -> Page[Session]:
    """List sessions, the latest first: live ones, or the history."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_sessions(connection, caller.branch_id, paging, subscriber_id, state)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/unattributed", tags=["usage"], responses=problems(403))
def list_unattributed(caller: CallerDep, paging: PagingDep, span: RangeDep) -> Page[Unattributed]:
    """List what matched no subscriber. It has no branch, so only the installation's key may."""
    refuse_branch(caller.branch_id)
    with reading(caller.services.engine) as connection:
        cut = reads.list_unattributed(connection, span.from_at, span.until_at, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


def refuse_branch(branch_id: str | None) -> None:
    """Raise a 403 Problem for a key with a branch: what is asked for belongs to no branch."""
    if branch_id is not None:
        detail = "This belongs to the whole installation; the key has a branch."
        raise Problem("forbidden", detail)
