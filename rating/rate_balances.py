"""Account events of a prepaid balance at work: top-up, debit, a bucket of money or quota."""

from __future__ import annotations

from fractions import Fraction

from rating.balances import charged, credited
from rating.buckets import FOREVER, Bucket, charge_row
from rating.events import BalanceDebited, BucketGranted, Payload, TopUp
from rating.money import format_minor, from_minor, to_minor
from rating.periods import MINUTE_MS
from rating.plans import Plan
from rating.rate_state import BalanceState
from rating.rate_work import Account, Workspace
from rating.records import AccountEvent
from rating.wallets import grant, standing

BALANCE_PAYLOADS = (TopUp, BalanceDebited, BucketGranted)
"""Payloads that `change_balance` acts on; they cut no segment."""


class RefusedError(Exception):
    """An account event that cannot be applied; the message is the reason."""


def change_balance(
    work: Workspace, account: Account, event: AccountEvent, payload: Payload
) -> None:
    """Apply one of BALANCE_PAYLOADS, or raise why it is refused."""
    if isinstance(payload, TopUp):
        _top_up(work, account, event, payload)
    elif isinstance(payload, BalanceDebited):
        _pay(work, account, event, payload.amount_minor, payload.currency)
    elif isinstance(payload, BucketGranted):
        _grant(work, account, event, payload)


def _top_up(work: Workspace, account: Account, event: AccountEvent, payload: TopUp) -> None:
    balance = _balance(work, account, event, payload.currency)
    work.set_balance(account.rating_key, credited(balance, payload.amount_minor, event.received_at))


def _pay(
    work: Workspace, account: Account, event: AccountEvent, amount_minor: int, currency: str
) -> None:
    """Take money that is there. Lots of money pay first, as for usage of the running minute."""
    balance = _balance(work, account, event, currency)
    amount = from_minor(amount_minor, currency)
    plan = _plan(work, account, event)
    floor = plan.balance_floor if plan else Fraction(0)
    free = standing(work, account, currency).money - max(floor, Fraction(0))
    if amount > free:
        have = format_minor(max(0, to_minor(free, currency)), currency)
        wanted = format_minor(amount_minor, currency)
        raise RefusedError(f"balance too low: {wanted} {currency} wanted, {have} free")
    work.set_balance(account.rating_key, charged(balance, amount, event.received_at))
    if account.state.has_wallet:
        minute = event.received_at // MINUTE_MS
        work.defer(account.rating_key, charge_row(minute, "", amount, event.received_at))


def _grant(work: Workspace, account: Account, event: AccountEvent, payload: BucketGranted) -> None:
    if event.effective_at % MINUTE_MS:
        raise RefusedError("effective_at: expected a whole minute")
    if payload.unit == "money":
        _balance(work, account, event, payload.currency)
    until = FOREVER
    if payload.valid_until_at is not None:
        until = payload.valid_until_at // MINUTE_MS
        if payload.valid_until_at <= event.effective_at:
            raise RefusedError("valid_until_at: expected after the effective time")
    first = event.effective_at // MINUTE_MS
    if payload.ends_with_period:
        if account.state.calendar is None:
            raise RefusedError("no subscription: without one there are no periods")
        until = account.period_at(first).end_at // MINUTE_MS
    wallet = work.wallet(account.rating_key)
    held = wallet.buckets if wallet else ()
    if any(bucket.bucket_id == payload.bucket_id for bucket in held):
        raise RefusedError(f"bucket_id: {payload.bucket_id!r} is held already")
    most = work.config.buckets_per_key_max
    if len(held) >= most:
        raise RefusedError(f"the key has {most} buckets already")
    if payload.price_minor:
        _pay(work, account, event, payload.price_minor, payload.currency)
    bucket = Bucket(
        bucket_id=payload.bucket_id,
        unit=payload.unit,
        amount=payload.amount,
        priority=payload.priority,
        from_minute=first,
        until_minute=until,
        meter_id=payload.meter_id,
        renews=payload.renews,
        rollover_max=payload.rollover_max,
    )
    grant(work, account, bucket, payload.currency, event.received_at)


def _plan(work: Workspace, account: Account, event: AccountEvent) -> Plan | None:
    plan_ref = account.plan_ref_at(max(event.received_at, event.effective_at))
    return work.plan(plan_ref) if plan_ref else None


def _balance(work: Workspace, account: Account, event: AccountEvent, currency: str) -> BalanceState:
    """Return the balance that an event of a currency changes, or raise why there is none."""
    plan = _plan(work, account, event)
    if plan is not None:
        if plan.kind != "prepaid":
            raise RefusedError("the plan is postpaid: it has no balance")
        if plan.currency != currency:
            raise RefusedError(f"currency: expected {plan.currency}, got {currency}")
    balance = work.balance(account.rating_key) or BalanceState(currency)
    if balance.currency != currency:
        raise RefusedError(f"currency: expected {balance.currency}, got {currency}")
    return balance
