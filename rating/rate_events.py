"""Account events at work: each is applied once, found a duplicate, or refused with a reason.

Accepting an event only adds it to its key's history; segments, shares and services follow from
that. What may not be rewritten is the past: an event that would reopen a segment which another
has already followed is refused.
"""

from __future__ import annotations

import bisect
import hashlib

import polars as pl

from rating.events import (
    EventError,
    Payload,
    PlanChanged,
    PoolJoined,
    PoolLeft,
    SubscriptionStarted,
    decode_payload,
)
from rating.plans import Plan, encode_plan
from rating.ports import Put
from rating.rate_balances import BALANCE_PAYLOADS, RefusedError, change_balance
from rating.rate_work import Account, Workspace
from rating.records import AccountEvent
from rating.rows import AccountEventResult
from rating.segments import OPENING_KINDS, HistoryEvent, sort_key


def apply_events(work: Workspace, frame: pl.DataFrame) -> None:
    """Apply a batch's account events in arrival order and answer each with a result row."""
    if not frame.height:
        return
    work.load(frame["rating_key"].unique(maintain_order=True).to_list())
    known: dict[str, str] = work.view.get_many("events", frame["event_id"].unique().to_list())
    for values in frame.iter_rows(named=True):
        event = AccountEvent(**values)
        first_answer = known.get(event.event_id)
        if first_answer is not None:
            outcome, reason = "duplicate", f"answered before: {first_answer}"
        else:
            try:
                _apply(work, event)
                outcome, reason = "applied", ""
            except (RefusedError, EventError) as error:
                outcome, reason = "refused", str(error)
            known[event.event_id] = outcome
            work.changes.append(Put("events", event.event_id, outcome))
        work.counters[f"rate_events_{outcome}"] += 1
        work.rows.append(AccountEventResult(event.event_id, outcome, reason, event.received_at))


def takes_effect_at(event: HistoryEvent) -> int:
    """Return when a suspension or its end acts.

    Effective times are rounded up to the minute; what was meant for now acts now, so that who has
    paid is back online in seconds.
    """
    is_now = event.effective_at - event.received_at < 60_000
    return min(event.received_at, event.effective_at) if is_now else event.effective_at


def _apply(work: Workspace, event: AccountEvent) -> None:
    payload = decode_payload(event.kind, event.payload)
    account = work.account(event.rating_key)
    account.newest_received_at = max(account.newest_received_at, event.received_at)
    if isinstance(payload, BALANCE_PAYLOADS):
        change_balance(work, account, event, payload)
        return
    if event.effective_at % 60_000:
        raise RefusedError("effective_at: expected a whole minute")
    has_plan = bool(account.plan_ref_at(event.effective_at))
    if isinstance(payload, PoolJoined | PoolLeft) and not has_plan:
        return  # A line whose only plan is its pool's joins and leaves: no segment opens here.
    plan_ref = _check(work, account, event, payload)
    if isinstance(payload, SubscriptionStarted):
        account.change(calendar=payload.calendar)
    _add_to_history(
        account,
        HistoryEvent(
            event.effective_at, event.received_at, event.event_id, event.kind, plan_ref or ""
        ),
    )
    if event.kind in OPENING_KINDS:
        _reprice_open_segments(work, account, event)
    work.add_timer(max(0, event.effective_at), account)


def _check(work: Workspace, account: Account, event: AccountEvent, payload: Payload) -> str:
    """Return the reference of the plan that the event brings, or raise why it is refused."""
    current = account.plan_ref_at(event.effective_at)
    if isinstance(payload, SubscriptionStarted):
        if current:
            raise RefusedError("already subscribed at that time: change the plan instead")
        if account.state.calendar not in (None, payload.calendar):
            raise RefusedError("calendar: a rating key keeps its first calendar")
    elif not current:
        raise RefusedError("no subscription at that time")
    if event.kind in OPENING_KINDS:
        _check_not_past(account, event)
    if not isinstance(payload, SubscriptionStarted | PlanChanged):
        return ""
    _check_currency(work, account, payload.plan)
    document = encode_plan(payload.plan)
    digest = hashlib.sha256(document.encode()).hexdigest()[:16]
    plan_ref = f"{payload.plan.plan_id}|{payload.plan.version}|{digest}"
    work.add_plan(plan_ref, document)
    return plan_ref


def _check_not_past(account: Account, event: AccountEvent) -> None:
    """Refuse to cut behind a segment that has opened, or to replace its plan."""
    for opened in account.state.periods:
        for segment in account.segments(opened.period):
            if segment.number not in opened.opened:
                continue
            if event.effective_at < segment.start_at:
                raise RefusedError("effective_at: a later segment has already opened")
            replaces_plan = event.kind in ("plan_changed", "subscription_ended")
            if event.effective_at == segment.start_at and replaces_plan:
                raise RefusedError("effective_at: the segment of that minute has already opened")


def _check_currency(work: Workspace, account: Account, plan: Plan) -> None:
    balance = work.balance(account.rating_key)
    held = {balance.currency} if balance else set()
    held |= {work.plan(ref).currency for _, ref in account.cuts if ref}
    others = held - {plan.currency}
    if others:
        raise RefusedError(f"currency: a rating key keeps its first, {min(others)}")


def _add_to_history(account: Account, event: HistoryEvent) -> None:
    history = list(account.state.history)
    bisect.insort(history, event, key=sort_key)
    account.change(history=tuple(history))


def _reprice_open_segments(work: Workspace, account: Account, event: AccountEvent) -> None:
    """A new cut shortens the segment before it: its allowance shrinks from now on."""
    for opened in account.state.periods:
        if opened.is_closed or opened.period.end_at <= event.effective_at:
            continue
        for segment in account.segments(opened.period):
            if segment.number in opened.opened:
                work.reprice(work.span(account, segment), event.received_at)
