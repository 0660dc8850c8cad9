"""What follows from the counters: rows that show them, alerts, and the service that is due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from rating.balances import available, balance_row
from rating.engine import Pricing, quantity_of, scope_quantity
from rating.money import to_minor
from rating.periods import MINUTE_MS, day_end_at, local_day
from rating.plans import Plan
from rating.rate_events import takes_effect_at
from rating.rate_state import BalanceState
from rating.rate_work import Account, Touched, Workspace
from rating.rows import Alert, DesiredService, UsageCounter
from rating.segments import Segment
from rating.thresholds import alert_base, alert_thresholds, throttle_profile

ACTIVE = "active"
BLOCKED = "blocked"
BALANCE_METER = "balance"
"""meter_id of the alert that a prepaid balance is exhausted."""


def show_counters(work: Workspace) -> None:
    """Write a row per touched counter and raise the alerts it has crossed."""
    for touched in work.touched.values():
        base = alert_base(touched.span.terms.plan, touched.pricing)
        work.rows.append(_counter_row(touched, base))
        if base:
            _raise_alerts(work, touched, base)


def decide_services(work: Workspace, rating_keys: Iterable[str]) -> None:
    """Write what the sessions of these keys should get from now on, where that has changed."""
    for rating_key in sorted(rating_keys):
        account = work.account(rating_key)
        now = max(work.watermark_at, account.newest_received_at)
        plan_ref = account.plan_ref_at(now)
        plan = work.plan(plan_ref) if plan_ref else None
        if plan is not None and plan.kind == "prepaid":
            _watch_balance(work, account, plan, now)
        decision = _decide(work, account, plan, now)
        if decision is None or decision == (account.state.target, account.state.reason):
            continue
        account.change(target=decision[0], reason=decision[1])
        work.rows.append(DesiredService(rating_key, *decision, decided_at=now))
        work.counters["rate_service_decisions"] += 1


def show_balances(work: Workspace) -> None:
    """Write a row per balance that has changed."""
    for rating_key in sorted(work.changed_balances):
        work.rows.append(balance_row(rating_key, work.balances[rating_key]))


def _counter_row(touched: Touched, base: int | None) -> UsageCounter:
    (account, segment, terms, _), pricing, state = touched.span, touched.pricing, touched.state
    plan = terms.plan
    return UsageCounter(
        rating_key=account.rating_key,
        period_start_at=segment.period.start_at,
        segment_number=segment.number,
        meter_id=pricing.meter.meter_id,
        period_end_at=segment.period.end_at,
        plan_id=plan.plan_id,
        plan_version=plan.version,
        quantity=quantity_of(state, pricing),
        allowance=base,
        amount_exact=state.amount,
        amount_minor=to_minor(touched.amount, plan.currency),
        currency=plan.currency,
        updated_at=state.updated_at,
    )


def _raise_alerts(work: Workspace, touched: Touched, base: int) -> None:
    """Latch each threshold once per period and segment (per day where the curve runs by day)."""
    (account, segment, terms, _), pricing, state = touched.span, touched.pricing, touched.state
    plan = terms.plan
    opened = account.open_period(segment.period.start_at)
    if opened is None or opened.is_closed or pricing.meter.scope == "session":
        return
    raised = []
    for scope in _scopes(touched):
        quantity = scope_quantity(state, pricing, scope)
        for percent, threshold in alert_thresholds(plan.alert_percents, base):
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
    work: Workspace, account: Account, plan: Plan | None, now: int
) -> tuple[str, str] | None:
    """Return (target, reason), the most severe that applies; None before any subscription."""
    if plan is None:
        has_been = any(at <= now for at, _ in account.cuts)
        return (BLOCKED, "subscription ended") if has_been else None
    suspension = _suspension(account, now)
    if suspension is not None:
        return BLOCKED, suspension
    if plan.kind == "prepaid":
        balance = work.balance(account.rating_key) or BalanceState(plan.currency)
        if available(balance) <= plan.balance_floor:
            return BLOCKED, "balance exhausted"
    profile = _throttle(work, account, plan, now)
    if profile:
        return f"profile:{profile}", "fair use threshold reached"
    return ACTIVE, f"plan {plan.plan_id} version {plan.version}"


def _suspension(account: Account, now: int) -> str | None:
    """Return why the service is suspended at an instant, None where it is not."""
    acting = [
        event
        for event in account.state.history
        if event.kind in ("suspended", "resumed") and takes_effect_at(event) <= now
    ]
    return "suspended" if acting and acting[-1].kind == "suspended" else None


def _throttle(work: Workspace, account: Account, plan: Plan, now: int) -> str:
    calendar = account.state.calendar
    if not plan.throttle_steps or calendar is None:
        return ""
    segment = _segment_at(account, now)
    if segment is None:
        return ""
    span = work.span(account, segment)
    day = local_day(calendar.timezone, now // MINUTE_MS)

    def quantity(pricing: Pricing) -> int:
        state = work.meter(span, pricing)
        return scope_quantity(state, pricing, day.isoformat()) if state else 0

    profile = throttle_profile(plan, span.terms.by_meter, quantity)
    if profile and any(p.meter.scope == "day" for p in span.terms.pricings):
        work.add_timer(day_end_at(calendar.timezone, day), account)
    return profile


def _segment_at(account: Account, now: int) -> Segment | None:
    for segment in account.segments(account.period_at(now // MINUTE_MS)):
        if segment.start_at <= now < segment.end_at:
            return segment
    return None


def _watch_balance(work: Workspace, account: Account, plan: Plan, now: int) -> None:
    """Raise an alert when a balance falls to its floor, once per top-up."""
    balance = work.balance(account.rating_key)
    if balance is None:
        return
    is_exhausted = available(balance) <= plan.balance_floor
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
            quantity=to_minor(available(balance), balance.currency),
            threshold=to_minor(plan.balance_floor, plan.currency),
            raised_at=max(balance.updated_at, account.newest_received_at),
        )
    )
    work.counters["rate_alerts"] += 1
