"""What follows from the counters: rows that show them, alerts, and the service that is due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from rating.balances import balance_row
from rating.engine import Pricing, quantity_of, scope_quantity
from rating.money import round_half_up, to_minor
from rating.periods import MINUTE_MS, cell_of, day_of_cell
from rating.plans import Plan
from rating.rate_events import takes_effect_at
from rating.rate_work import Account, Limit, Touched, Workspace
from rating.rows import Alert, DesiredService, UsageCounter
from rating.thresholds import throttle_profile
from rating.wallets import Standing, standing

ACTIVE = "active"
BLOCKED = "blocked"
BALANCE_METER = "balance"
"""meter_id of the alert that a prepaid balance is exhausted."""


def show_counters(work: Workspace) -> None:
    """Write a row per touched counter and raise the alerts it has crossed."""
    for touched in work.touched.values():
        limit = touched.span.terms.limits[touched.pricing.meter.meter_id]
        row = _counter_row(touched, limit.base)
        work.rows.append(row)
        # A day may hold more than all days together where another one was corrected below zero.
        is_reached = limit.thresholds and row.quantity >= limit.thresholds[0][1]
        if is_reached or touched.state.scopes:
            _raise_alerts(work, touched, limit)


def decide_services(work: Workspace, rating_keys: Iterable[str]) -> None:
    """Write what the sessions of these keys should get from now on, where that has changed."""
    usual: dict[str, tuple[str, str] | None] = {}
    for rating_key in sorted(rating_keys):
        account = work.account(rating_key)
        state = account.state
        now = max(work.watermark_at, account.newest_received_at)
        plan_ref = account.plan_ref_at(now)
        if plan_ref not in usual:
            usual[plan_ref] = _usual(work, plan_ref)
        decision = usual[plan_ref]
        if decision is None or state.derived.suspensions:
            decision = _decide_closely(work, account, plan_ref, now)
        if decision is None or decision == (state.target, state.reason):
            continue
        account.change(target=decision[0], reason=decision[1])
        work.rows.append(DesiredService(rating_key, *decision, decided_at=now))
        work.counters["rate_service_decisions"] += 1


def _usual(work: Workspace, plan_ref: str) -> tuple[str, str] | None:
    """Return what a plan decides for whoever is not suspended, None where there is more to it."""
    plan = work.plan(plan_ref) if plan_ref else None
    if plan is None or plan.kind == "prepaid" or plan.throttle_steps:
        return None
    return _active(plan)


def _active(plan: Plan) -> tuple[str, str]:
    return ACTIVE, f"plan {plan.plan_id} version {plan.version}"


def _decide_closely(
    work: Workspace, account: Account, plan_ref: str, now: int
) -> tuple[str, str] | None:
    """Return (target, reason) by balance, suspensions and usage; see `_decide`."""
    plan = work.plan(plan_ref) if plan_ref else None
    held = None
    if plan is not None and plan.kind == "prepaid":
        held = standing(work, account, plan.currency)
        _watch_balance(work, account, plan, held, now)
    return _decide(work, account, plan, held, now)


def show_balances(work: Workspace) -> None:
    """Write a row per balance that has changed."""
    for rating_key in sorted(work.changed_balances):
        work.rows.append(balance_row(rating_key, work.balances[rating_key]))


def _counter_row(touched: Touched, base: int | None) -> UsageCounter:
    (account, segment, terms, _), pricing, state = touched.span, touched.pricing, touched.state
    plan = terms.plan
    return UsageCounter(
        account.rating_key,
        segment.period.start_at,
        segment.number,
        pricing.meter.meter_id,
        segment.period.end_at,
        plan.plan_id,
        plan.version,
        quantity_of(state, pricing),
        base,
        state.amount,
        round_half_up(touched.amount, terms.minor_decimals),
        plan.currency,
        state.updated_at,
    )


def _raise_alerts(work: Workspace, touched: Touched, limit: Limit) -> None:
    """Latch each threshold once per period and segment (per day where the curve runs by day)."""
    (account, segment, _, _), pricing, state = touched.span, touched.pricing, touched.state
    opened = account.open_period(segment.period.start_at)
    if opened is None or opened.is_closed or pricing.meter.scope == "session":
        return
    raised = []
    for scope in _scopes(touched):
        quantity = scope_quantity(state, pricing, scope)
        for percent, threshold in limit.thresholds:
            if quantity < threshold:
                break
            meter_id = pricing.meter.meter_id
            latch = "|".join(filter(None, (str(segment.number), meter_id, scope, str(percent))))
            if latch in opened.alerts:
                continue
            raised.append(latch)
            alert_id = f"{account.rating_key}|{segment.period.start_at}|{latch}"
            work.rows.append(
                Alert(
                    alert_id=alert_id,
                    rating_key=account.rating_key,
                    period_start_at=segment.period.start_at,
                    meter_id=meter_id,
                    percent=percent,
                    quantity=quantity,
                    threshold=threshold,
                    raised_at=max(account.newest_received_at, segment.start_at),
                )
            )
            work.counters["rate_alerts"] += 1
    if raised:
        account.change_period(opened, alerts=(*opened.alerts, *raised))


def _scopes(touched: Touched) -> Iterator[str]:
    if touched.pricing.meter.scope == "day":
        yield from sorted(touched.state.scopes)
    else:
        yield ""


def _decide(
    work: Workspace, account: Account, plan: Plan | None, held: Standing | None, now: int
) -> tuple[str, str] | None:
    """Return (target, reason), the most severe that applies; None before any subscription.

    held is what a prepaid key may use now.
    """
    if plan is None:
        has_been = any(at <= now for at, _ in account.cuts)
        return (BLOCKED, "subscription ended") if has_been else None
    suspension = _suspension(account, now)
    if suspension is not None:
        return BLOCKED, suspension
    if held is not None and _is_exhausted(plan, held):
        return BLOCKED, "balance exhausted"
    profile = _throttle(work, account, plan, now) if plan.throttle_steps else ""
    if profile:
        return f"profile:{profile}", "fair use threshold reached"
    return _active(plan)


def _is_exhausted(plan: Plan, held: Standing) -> bool:
    """Return whether neither money above the floor nor quota is left to be used now."""
    return held.money <= plan.balance_floor and not held.has_quota


def _suspension(account: Account, now: int) -> str | None:
    """Return why the service is suspended at an instant, None where it is not."""
    suspensions = account.state.derived.suspensions
    if not suspensions:
        return None
    acting = [event for event in suspensions if takes_effect_at(event) <= now]
    return "suspended" if acting and acting[-1].kind == "suspended" else None


def _throttle(work: Workspace, account: Account, plan: Plan, now: int) -> str:
    calendar = account.state.calendar
    if calendar is None:
        return ""
    stretch = account.stretch_at(now)
    if stretch is None:
        return ""
    span = work.span_of(account, stretch)
    if span.terms.by_day:
        day_on, day_ends_at = day_of_cell(calendar.timezone, cell_of(now // MINUTE_MS))
    else:
        day_on, day_ends_at = "", 0

    def quantity(pricing: Pricing) -> int:
        state = work.meter(span, pricing)
        return scope_quantity(state, pricing, day_on) if state else 0

    profile = throttle_profile(plan, span.terms.by_meter, quantity)
    if profile and span.terms.by_day:
        work.add_timer(day_ends_at, account)
    return profile


def _watch_balance(work: Workspace, account: Account, plan: Plan, held: Standing, now: int) -> None:
    """Raise an alert when a balance falls to its floor, once per top-up."""
    balance = work.balance(account.rating_key)
    if balance is None:
        return
    is_exhausted = _is_exhausted(plan, held)
    if is_exhausted == balance.is_exhausted:
        return
    balance = msgspec.structs.replace(balance, is_exhausted=is_exhausted)
    work.set_balance(account.rating_key, balance)
    if not is_exhausted:
        return
    start_at = account.period_at(now // MINUTE_MS).start_at
    work.rows.append(
        Alert(
            alert_id=f"{account.rating_key}|{BALANCE_METER}|0|{balance.top_ups}",
            rating_key=account.rating_key,
            period_start_at=start_at,
            meter_id=BALANCE_METER,
            percent=0,
            quantity=to_minor(held.money, balance.currency),
            threshold=to_minor(plan.balance_floor, plan.currency),
            raised_at=max(balance.updated_at, account.newest_received_at),
        )
    )
    work.counters["rate_alerts"] += 1
