"""Wallets at work: the buckets of a rating key, and the recent usage that may still draw anew.

A key whose balance is one sum has no wallet and costs nothing here. With one, movements wait until
the end of what a step was given; then the rows since the checkpoint are walked in the order of
their minutes and the difference to what was drawn before is posted. Rows older than the lateness
bound are folded into the buckets: nothing can come before them any more, since what is received
later takes its place in the walk by when it was received.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import msgspec

from rating.balances import available, charged, credited
from rating.buckets import (
    FOREVER,
    Bucket,
    Row,
    RowKey,
    expired_of,
    is_valid,
    merged,
    name_of,
    remaining,
    row_order,
    walk,
)
from rating.engine import Movement, Pricing, price_of_amount
from rating.money import ZERO, decode_exact, minor_decimals, round_half_up
from rating.periods import MINUTE_MS
from rating.ports import Delete, Put
from rating.rate_state import BalanceState, WalletState
from rating.rate_work import NO_OCTETS, Account, Span, Workspace
from rating.rows import BalanceBucket

BUCKET_METER = "bucket|"
"""What the meter_id of rated rows begins with that a bucket has covered; its name follows."""


class Standing(NamedTuple):
    """What a key may use now: money in major units, and whether a valid bucket has quota left."""

    money: Fraction
    has_quota: bool


def grant(work: Workspace, account: Account, bucket: Bucket, currency: str, at: int) -> None:
    """Add a bucket to a key's wallet; money is credited to its balance too."""
    state = work.wallet(account.rating_key) or WalletState()
    if bucket.unit == "money":
        balance = work.balance(account.rating_key) or BalanceState(currency)
        work.set_balance(account.rating_key, credited(balance, bucket.amount, at))
    work.set_wallet(
        account.rating_key, msgspec.structs.replace(state, buckets=(*state.buckets, bucket))
    )
    if not account.state.has_wallet:
        account.change(has_wallet=True)
    _set_timers(work, account, [bucket])


def settle(work: Workspace, rating_keys: Iterable[str] = ()) -> None:
    """Walk every wallet that waits or is named, post what that changes, and fold what is old."""
    waiting = work.deferred
    work.deferred = {}
    named = {key for key in rating_keys if work.account(key).state.has_wallet}
    for rating_key in sorted({*waiting, *named, *work.changed_wallets}):
        _settle(work, work.account(rating_key), waiting.get(rating_key, []))


def standing(work: Workspace, account: Account, currency: str) -> Standing:
    """Return what a key may use now; currency is that of a balance which nothing has begun yet.

    Not to be spent are lots of money that begin later, and lots that ended but may still be drawn
    on by usage from before their end.
    """
    balance = work.balance(account.rating_key) or BalanceState(currency)
    if not account.state.has_wallet:
        return Standing(available(balance), False)
    state = work.wallet(account.rating_key) or WalletState()
    minute = _now(work, account)
    walked = walk(
        state.buckets,
        state.rows,
        minute,
        period_end=_period_end(account),
        charge_of=_Prices(work, account, state.rows).charge_of,
    )
    locked = sum(
        (remaining(b) for b in walked.standing if b.unit == "money" and b.from_minute > minute),
        Fraction(0),
    )
    locked += sum(
        (expired_of(bucket, rolled) for bucket, rolled in walked.ended if bucket.unit == "money"),
        Fraction(0),
    )
    scale: int = 10 ** minor_decimals(balance.currency)
    has_quota = any(
        bucket.unit != "money" and is_valid(bucket, minute) and remaining(bucket) > 0
        for bucket in walked.standing
    )
    return Standing(available(balance) - locked / scale, has_quota)


def put_wallets(work: Workspace) -> None:
    """Put the wallets that have changed, and forget those that hold nothing."""
    for rating_key in sorted(work.changed_wallets):
        state = work.wallet(rating_key)
        assert state is not None
        if state.buckets or state.rows:
            work.changes.append(Put("wallets", rating_key, state))
        else:
            work.changes.append(Delete("wallets", rating_key))
            work.account(rating_key).change(has_wallet=False)


def _settle(work: Workspace, account: Account, waiting: Sequence[Row]) -> None:
    state = work.wallet(account.rating_key) or WalletState()
    rows = merged(state.rows, waiting)
    limit = max(0, (work.watermark_at - work.config.lateness_bound_ms) // MINUTE_MS)
    old = sum(row.minute < limit for row in rows)
    period_end, prices = _period_end(account), _Prices(work, account, state.rows)
    folded = walk(
        state.buckets, rows[:old], limit, period_end=period_end, charge_of=prices.charge_of
    )
    now = max(limit, _now(work, account))
    rest = walk(folded.standing, rows[old:], now, period_end=period_end, charge_of=prices.charge_of)
    walked = [
        msgspec.structs.replace(row, parts=parts)
        for row, parts in zip(rows, [*folded.parts, *rest.parts], strict=True)
    ]
    _post(work, account, {row_order(row): row for row in state.rows}, walked)
    _expire(work, account, folded.ended)
    after = WalletState(tuple(folded.standing), tuple(walked[old:]))
    if after != state:
        work.set_wallet(account.rating_key, after)
    _set_timers(work, account, rest.standing)
    for bucket, rolled in folded.ended:
        _show(work, account, bucket, rolled, is_final=True)
    for bucket, rolled in rest.ended:
        _show(work, account, bucket, rolled, is_final=False)
    for bucket in rest.standing:
        _show(work, account, bucket, 0, is_final=False)


class _Prices:
    """What rows cost in the order of the walk: a counter's price moves from row to row.

    Counters begin where they stand without the rows that were posted before.
    """

    def __init__(self, work: Workspace, account: Account, posted: Sequence[Row]) -> None:
        self._work = work
        self._account = account
        self._rows = posted
        self._totals: dict[tuple[str, str], int] = {}

    def charge_of(self, row: Row, left: int) -> Fraction:
        """Return what a row costs in minor units when so much of it is left to the curve."""
        balance = self._work.balance(self._account.rating_key)
        scale = 10 ** minor_decimals(balance.currency) if balance else 1
        if row.unit == "money":
            return decode_exact(row.charge) * scale
        placed = _place(self._work, self._account, row)
        if placed is None:
            return ZERO
        span, pricing = placed
        key = _counter_of(span, pricing, row)
        if key not in self._totals:
            self._totals[key] = self._begin(span, pricing, key)
        before = self._totals[key]
        after = self._totals[key] = before + left
        return (price_of_amount(pricing, after) - price_of_amount(pricing, before)) * scale

    def _begin(self, span: Span, pricing: Pricing, key: tuple[str, str]) -> int:
        state = self._work.meter(span, pricing)
        if state is None:
            return 0
        held = state.total if pricing.meter.scope == "period" else state.scopes.get(key[1], 0)
        return held - self._posted[key]

    @functools.cached_property
    def _posted(self) -> collections.Counter[tuple[str, str]]:
        """What the rows have moved of each day, session or period of a counter."""
        sums: collections.Counter[tuple[str, str]] = collections.Counter()
        for row in self._rows:
            placed = _place(self._work, self._account, row)
            if placed is not None:
                sums[_counter_of(*placed, row)] += row.chargeable
        return sums


def _counter_of(span: Span, pricing: Pricing, row: Row) -> tuple[str, str]:
    """Return which counter a row moves, and which day or session of it ("" for the period)."""
    scope = {"period": "", "day": row.day_on, "session": row.session_id}[pricing.meter.scope]
    return span.meters_prefix + pricing.meter.meter_id, scope


def _place(work: Workspace, account: Account, row: Row) -> tuple[Span, Pricing] | None:
    """Return the span that a row was used in, and its meter's pricing there."""
    stretch = account.stretch_at(row.event_minute * MINUTE_MS)
    if stretch is None:
        return None
    span = work.span_of(account, stretch)
    pricing = span.terms.by_meter.get(row.meter_id)
    return None if pricing is None else (span, pricing)


def _post(
    work: Workspace, account: Account, before: Mapping[RowKey, Row], rows: Sequence[Row]
) -> None:
    """Move counters by what rows leave to them now beyond what they left before."""
    for row in rows:
        held = before.get(row_order(row))
        moved = row.chargeable - (held.chargeable if held else 0)
        parts = held.parts if held else ()
        if row.unit == "money" or (not moved and parts == row.parts):
            continue
        placed = _place(work, account, row)
        assert placed is not None, "only usage that a plan rates becomes a row"
        span, pricing = placed
        origin = (row.subscriber_id, row.source, row.session_id, row.event_minute)
        if moved:
            movement = Movement(row.day_on, row.session_id, row.post_at, moved, row.received_at)
            work.move_now(span, pricing, movement, origin)
        is_late = row.post_at > span.terms.close_at
        for name, units in _covered(row, parts).items():
            if units:
                cause = (units, row.received_at, is_late)
                work.add_rated(span, origin, cause, BUCKET_METER + name, NO_OCTETS)


def _covered(row: Row, before: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Return by how many whole units each bucket covers more, or less, than before."""
    changes = {name: amount // row.denominator for name, amount in row.parts}
    for name, amount in before:
        changes[name] = changes.get(name, 0) - amount // row.denominator
    return changes


def _expire(work: Workspace, account: Account, ended: Sequence[tuple[Bucket, int]]) -> None:
    """Take off the balance what lots of money leave to nobody."""
    for bucket, rolled in ended:
        balance = work.balance(account.rating_key)
        expired = expired_of(bucket, rolled)
        if bucket.unit == "money" and expired and balance is not None:
            amount = expired / 10 ** minor_decimals(balance.currency)
            at = bucket.until_minute * MINUTE_MS
            work.set_balance(account.rating_key, charged(balance, amount, at))
            work.counters["rate_money_expired"] += 1


def _show(
    work: Workspace, account: Account, bucket: Bucket, rolled: int, *, is_final: bool
) -> None:
    spent = decode_exact(bucket.spent)
    until = bucket.until_minute
    work.rows.append(
        BalanceBucket(
            rating_key=account.rating_key,
            bucket_id=name_of(bucket),
            unit=bucket.unit,
            meter_id=bucket.meter_id,
            priority=bucket.priority,
            amount=bucket.amount,
            spent=round_half_up(spent),
            rolled_over=rolled,
            expired=round_half_up(expired_of(bucket, rolled)) if is_final else 0,
            valid_from_at=bucket.from_minute * MINUTE_MS,
            valid_until_at=None if until == FOREVER else until * MINUTE_MS,
            is_final=is_final,
        )
    )


def _set_timers(work: Workspace, account: Account, buckets: Sequence[Bucket]) -> None:
    """Have a key looked at when a bucket begins, when it ends, and when its end is final."""
    for bucket in buckets:
        ends_at = bucket.until_minute * MINUTE_MS
        final_at = ends_at + work.config.lateness_bound_ms + MINUTE_MS
        for at in (bucket.from_minute * MINUTE_MS, ends_at, final_at):
            if at > work.watermark_at and bucket.until_minute < FOREVER:
                work.add_timer(at, account)


def _now(work: Workspace, account: Account) -> int:
    return max(work.watermark_at, account.newest_received_at) // MINUTE_MS


def _period_end(account: Account) -> Callable[[int], int]:
    return lambda minute: account.period_at(minute).end_at // MINUTE_MS
