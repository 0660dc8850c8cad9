"""What the pages show: contexts for the templates, read in one snapshot each."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, select

from api.cursors import Paging
from api.instants import day_start, local
from api.keys import Principal
from api.models.parties import Branch
from api.models.usage import Counter
from api.models.values import Money
from api.ports import Services, UsageFilter, WarehouseUnavailableError
from api.reads import acting, billing, parties, usage
from api.reads.evidence import EvidencePlan, evidence_of, ledger_evidence
from billing.adapters import tables
from rating.plans import OCTETS_PER_GIGABYTE

PANEL_ROWS = 6
_MOST_BRANCHES = 200


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a page is seen from: the key's reach, and whose clock and money it shows.

    A key without a branch sees all of them by the first branch's clock.
    """

    principal: Principal
    branch: Branch | None
    branches: int

    @property
    def branch_id(self) -> str | None:
        """Return the branch that the page is confined to, None for all."""
        return self.principal.branch_id

    @property
    def timezone(self) -> str:
        """Return the IANA zone of the times on the page."""
        return self.branch.timezone if self.branch else "UTC"

    @property
    def title(self) -> str:
        """Return what the page calls its reach."""
        if self.branch is None:
            return "No branch yet"
        if self.principal.branch_id is None and self.branches > 1:
            return f"All {self.branches} branches"
        return self.branch.name


def place_of(connection: Connection, principal: Principal) -> Place:
    """Return where this principal's pages are seen from."""
    cut = parties.list_branches(connection, principal.branch_id, Paging(_MOST_BRANCHES))
    return Place(principal, cut.items[0] if cut.items else None, len(cut.items))


@dataclasses.dataclass(frozen=True)
class Used:
    """A counter with its meter's name and unit, and what a bar of it shows."""

    counter: Counter
    meter_name: str
    unit: str
    octets_per_gigabyte: int
    plan_name: str
    tone: str


def used_of(connection: Connection, counters: Iterable[Counter]) -> list[Used]:
    """Return counters with the names and units that their plan versions give the meters."""
    shown = []
    plans: dict[tuple[str, int], tuple[str, int, dict[str, Any]]] = {}
    for counter in counters:
        key = (counter.plan_id, counter.plan_version)
        if key not in plans:
            plans[key] = _plan_meters(connection, *key)
        plan_name, gigabyte, meters = plans[key]
        meter = meters.get(counter.meter_id, {})
        permille = counter.used_permille or 0
        tone = "bad" if permille >= 1000 else "warn" if permille >= 800 else "good"
        name = meter.get("name") or counter.meter_id.replace("_", " ").capitalize()
        unit = meter.get("unit", "octets")
        shown.append(Used(counter, name, unit, gigabyte, plan_name, tone))
    return shown


def _plan_meters(
    connection: Connection, plan_id: str, version: int
) -> tuple[str, int, dict[str, dict[str, Any]]]:
    """Return a plan version's name, its gigabyte in octets, and its meters by id."""
    plan = tables.plan.c
    row = connection.execute(
        select(plan.name, plan.document).where(plan.plan_id == plan_id, plan.version == version)
    ).one_or_none()
    if row is None:
        return plan_id, 10**9, {}
    document = json.loads(row.document)
    gigabyte = OCTETS_PER_GIGABYTE[document.get("octets_unit", "decimal")]
    return (
        row.name,
        gigabyte,
        {m["meter_id"]: m for m in document.get("meters", []) if "meter_id" in m},
    )


def speed_profiles(connection: Connection, services: Services, branch_id: str | None) -> list[str]:
    """Return the profiles for the throttle form, those that the branch's plans name first."""
    statement = parties.scoped(select(tables.plan.c.document), tables.plan, branch_id)
    names: set[str] = set()
    for text in connection.scalars(statement):
        for step in json.loads(text).get("throttle_steps", []):
            names.add(step["profile"])
    known = [one.name for one in services.speed_profiles]
    usable = names.intersection(known) if known else names
    return [*sorted(usable), *(name for name in known if name not in usable)]


def key_figures(connection: Connection, services: Services, place: Place) -> dict[str, Any]:
    """Return what the tiles show: rates, sessions, today's octets, open periods' charges."""
    now = services.now_ms()
    return {
        "usage": usage.usage_now(connection, place.branch_id, now),
        "subscribers": _subscribers(connection, place.branch_id),
        "charges": open_charges(connection, place.branch_id, now),
    }


def _subscribers(connection: Connection, branch_id: str | None) -> int:
    statement = select(func.count()).select_from(tables.subscriber)
    statement = statement.where(tables.subscriber.c.status != "ended")
    return connection.scalar(parties.scoped(statement, tables.subscriber, branch_id)) or 0


def open_charges(connection: Connection, branch_id: str | None, at: int) -> list[Money]:
    """Return the usage charges of the running periods so far, per currency."""
    counter = tables.usage_counter.c
    statement = (
        select(counter.currency, func.sum(counter.amount_minor).label("amount_minor"))
        .where(counter.period_start_at <= at, counter.period_end_at > at)
        .group_by(counter.currency)
        .order_by(counter.currency)
    )
    if branch_id is not None:
        statement = statement.where(counter.rating_key.in_(usage.keys_in_branch(branch_id)))
    rows = connection.execute(statement)
    return [Money.of(int(row.amount_minor), row.currency) for row in rows]


FLOWS_SHOWN_MS = 86_400_000
"""How far back the page of a subscriber shows hours of flows."""


def today(services: Services, place: Place) -> tuple[int, int]:
    """Return the branch's local day so far as [start, now) in ms."""
    now = services.now_ms()
    start = day_start(local(now, place.timezone).date(), place.timezone)
    return start, max(now, start + 1)


def top_context(
    connection: Connection, services: Services, place: Place, limit: int = PANEL_ROWS
) -> dict[str, Any]:
    """Return today's greatest users with names; `unavailable` where the warehouse is silent."""
    start, now = today(services, place)
    ids = parties.subscriber_ids(connection, place.branch_id)
    which = UsageFilter(start, now, subscriber_ids=ids)
    try:
        totals = services.usage.top_subscribers(which, limit)
        classes = services.usage.by_class(which)
    except WarehouseUnavailableError:
        services.count("api_warehouse_failures_total", 1)
        return {"rows": [], "octets_today": None, "unavailable": True, "place": place}
    subscriber = tables.subscriber.c
    named = connection.execute(
        select(subscriber.subscriber_id, subscriber.name).where(
            subscriber.subscriber_id.in_([total.key for total in totals])
        )
    )
    names = {row.subscriber_id: row.name for row in named}
    most = max((total.octets_up + total.octets_down for total in totals), default=0)
    rows = [
        {
            "subscriber_id": total.key if total.key in names else None,
            "name": names.get(total.key, total.key),
            "octets_up": total.octets_up,
            "octets_down": total.octets_down,
            "permille": (total.octets_up + total.octets_down) * 1000 // most if most > 0 else 0,
        }
        for total in totals
    ]
    octets_today = sum(total.octets_up + total.octets_down for total in classes)
    return {"rows": rows, "octets_today": octets_today, "unavailable": False, "place": place}


def alerts_context(
    connection: Connection, services: Services, place: Place, paging: Paging
) -> dict[str, Any]:
    """Return the newest alerts."""
    cut = acting.list_alerts(connection, place.branch_id, paging)
    return {"alerts": cut.items, "next_cursor": cut.next_cursor, "place": place}


def commands_context(
    connection: Connection,
    services: Services,
    place: Place,
    paging: Paging,
    outcome: str | None = None,
) -> dict[str, Any]:
    """Return the newest commands."""
    filters = {"outcome": outcome} if outcome else {}
    cut = acting.list_commands(connection, place.branch_id, paging, filters)
    return {"commands": cut.items, "next_cursor": cut.next_cursor, "place": place}


def invoices_context(
    connection: Connection,
    services: Services,
    place: Place,
    paging: Paging,
    filters: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return the newest invoices."""
    cut = billing.list_invoices(connection, place.branch_id, paging, filters)
    return {"invoices": cut.items, "next_cursor": cut.next_cursor, "place": place}


def processes_context(connection: Connection, services: Services, place: Place) -> dict[str, Any]:
    """Return the processes and watermarks."""
    return {"status": acting.installation_status(services), "place": place}


def subscriber_context(
    connection: Connection, services: Services, place: Place, subscriber_id: str
) -> dict[str, Any]:
    """Return all that the page of one subscriber shows, but for its chart."""
    now, reach = services.now_ms(), place.branch_id
    subscriber = parties.get_subscriber(connection, reach, subscriber_id, now)
    account = parties.get_account(connection, reach, subscriber.account_id)
    branch = parties.get_branch(connection, None, subscriber.branch_id)
    keys = [subscriber.subscriber_id, subscriber.rating_key]
    pool = None
    if subscriber.pool_id is not None:
        pool = parties.get_pool(connection, reach, subscriber.pool_id, now)
    counters = usage.list_counters(connection, reach, subscriber.rating_key, now, Paging(50))
    of_subscriber = {"subscriber_id": subscriber_id}
    of_account = {"account_id": subscriber.account_id}
    few = Paging(PANEL_ROWS)
    return {
        "subscriber": subscriber,
        "account": account,
        "branch": branch,
        "pool": pool,
        "used": used_of(connection, counters.items),
        "balances": usage.balances(connection, subscriber.rating_key),
        "usage": usage.usage_now(connection, reach, now, subscriber_id),
        "sessions": usage.list_sessions(connection, reach, few, subscriber_id).items,
        "alerts": acting.list_alerts(connection, reach, few, keys).items,
        "commands": acting.list_commands(connection, reach, few, of_subscriber).items,
        "invoices": billing.list_invoices(connection, reach, few, of_account).items,
        "profiles": speed_profiles(connection, services, subscriber.branch_id),
    }


def flows_context(services: Services, subscriber_id: str) -> dict[str, Any]:
    """Return how sure a subscriber's flows of the last day are; none where the warehouse fails."""
    now = services.now_ms()
    which = UsageFilter(max(0, now - FLOWS_SHOWN_MS), now + 1, subscriber_ids=[subscriber_id])
    try:
        steps = services.usage.flow_quality(which, "hour", "UTC")
    except WarehouseUnavailableError:
        services.count("api_warehouse_failures_total", 1)
        return {"flows": []}
    return {"flows": [usage.quality_of(step) for step in reversed(steps)]}


def online_rates(connection: Connection, subscriber_ids: list[str]) -> dict[str, tuple[int, int]]:
    """Return (down, up) in bit/s of those subscribers that have a live session."""
    session = tables.live_session.c
    statement = (
        select(
            session.subscriber_id,
            func.sum(session.rate_down_bps).label("down"),
            func.sum(session.rate_up_bps).label("up"),
        )
        .where(session.subscriber_id.in_(subscriber_ids), session.ended_at.is_(None))
        .group_by(session.subscriber_id)
    )
    rows = connection.execute(statement)
    return {row.subscriber_id: (int(row.down), int(row.up)) for row in rows}


def fullest_counters(connection: Connection, keys: set[str], at: int) -> dict[str, Used]:
    """Return each key's running counter that is nearest to (or furthest above) its allowance."""
    counter = tables.usage_counter
    statement = select(counter).where(
        counter.c.rating_key.in_(keys),
        counter.c.period_start_at <= at,
        counter.c.period_end_at > at,
        counter.c.allowance > 0,
    )
    fullest: dict[str, Counter] = {}
    for row in connection.execute(statement):
        candidate = usage.counter_of(row)
        held = fullest.get(candidate.rating_key)
        if held is None or (candidate.used_permille or 0) > (held.used_permille or 0):
            fullest[candidate.rating_key] = candidate
    return {used.counter.rating_key: used for used in used_of(connection, fullest.values())}


def evidence_context(services: Services, plan: EvidencePlan) -> dict[str, Any]:
    """Return what the evidence page shows; `unavailable` where only the ledger's days are known."""
    unavailable = False
    try:
        evidence = evidence_of(services, plan)
    except WarehouseUnavailableError:
        if plan.place.level != "day":
            raise
        services.count("api_warehouse_failures_total", 1)
        evidence, unavailable = ledger_evidence(plan), True
    return {
        "evidence": evidence,
        "where": plan.place,
        "timezone": plan.line.timezone,
        "gigabyte": plan.line.pointer.get("octets_per_gigabyte", 10**9),
        "counted": plan.is_counted,
        "most": max((p.octets_up + p.octets_down for p in evidence.pieces), default=0),
        "unavailable": unavailable,
    }


def key_names(connection: Connection, keys: set[str]) -> dict[str, str]:
    """Return the names of subscribers and pools by rating key."""
    names: dict[str, str] = {}
    for table, key in ((tables.subscriber, "subscriber_id"), (tables.pool, "pool_id")):
        statement = select(table.c[key], table.c.name).where(table.c[key].in_(keys))
        names |= {row[0]: row[1] for row in connection.execute(statement)}
    return names


def unattributed(connection: Connection, services: Services, place: Place) -> Any:
    """Return today's octets that matched nobody; None for a branch, which owns none of them."""
    if place.branch_id is not None:
        return None
    start, now = today(services, place)
    return usage.list_unattributed(connection, start, now, Paging(20)).items


def due_days(due_on: str | None, now_at: int, timezone: str) -> int | None:
    """Return in how many local days an invoice is due; negative: overdue; None: no due day."""
    if not due_on:
        return None
    return (datetime.date.fromisoformat(due_on) - local(now_at, timezone).date()).days
