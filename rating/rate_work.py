"""The working set of one rate step: what was read, what changes, what goes out.

A step reads each key once, works on copies and ends as one `StepResult`. The parts of the step
(`rate_events`, `rate_usage`, `rate_cells`, `rate_timers`, `rate_service`) are functions over a
`Workspace`.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import msgspec

from rating.adjustments import Adjuster, adjusted, adjusters_of
from rating.balances import charged
from rating.bands import week_of
from rating.buckets import Row, charge_row, place_of
from rating.config import RateConfig
from rating.engine import (
    Movement,
    Pricing,
    copy_meter,
    counts_sessions,
    fits,
    is_by_session,
    is_payable,
    move,
    open_meter,
    pricing_of,
    reprice,
    wait_at_opening,
)
from rating.money import ZERO, decode_exact, encode_exact, minor_decimals, to_wire
from rating.periods import MINUTE_MS, Period, day_end_at, local_day, period_at
from rating.plans import Plan, decode_plan, is_class_weighted, measured_by
from rating.ports import Delete, Put, StateView
from rating.rate_state import (
    BalanceState,
    CellState,
    KeyState,
    MeterState,
    OpenPeriod,
    WalletState,
    meters_prefix,
    timer_key,
)
from rating.segments import Segment, Stretch, calendar_share, plan_cuts, segments_of, stretch_of
from rating.thresholds import alert_base, alert_thresholds
from rating.wallet_rows import Origin, row_of

_decode_plan = functools.lru_cache(maxsize=4_096)(decode_plan)


Cause = tuple[int, int, bool]
"""What moved a counter: whole units, when the newest of it was received, whether that was late."""

NO_OCTETS = ("", 0, 0)
"""(traffic class, octets up, octets down) of a rated row that carries none."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What a segment is rated by; every account with the same plan and bounds shares one.

    weighted are those pricings whose meter tells traffic classes apart; direct are those that
    charge each row of the source as it comes: all but the weighted ones of accounting, which wait
    for the split of their cells. week has the time band of each quarter of a local week, and
    nothing where no meter weighs bands. limits are by meter_id.
    """

    plan: Plan
    timezone: str
    period_start_at: int
    close_at: int
    pricings: tuple[Pricing, ...]
    weighted: tuple[Pricing, ...]
    direct: tuple[Pricing, ...]
    by_meter: Mapping[str, Pricing]
    adjusters: tuple[Adjuster, ...]
    source: str
    by_class: bool
    by_session: bool
    week: tuple[str, ...]
    by_day: bool
    is_prepaid: bool
    minor_decimals: int
    limits: Mapping[str, Limit]

    @property
    def counters(self) -> tuple[Pricing, ...]:
        """The pricings of all counters: those of the meters, then of the adjustments."""
        return (*self.pricings, *(adjuster.pricing for adjuster in self.adjusters))


class Limit(NamedTuple):
    """What a meter's alerts are percentages of, and (percent, quantity reaching it), ascending."""

    base: int | None
    thresholds: tuple[tuple[int, int], ...]


_NO_LIMIT = Limit(None, ())


class Span(NamedTuple):
    """A segment of an account, with what rates it and what its counters' keys begin with."""

    account: Account
    segment: Segment
    terms: Terms
    meters_prefix: str


class Touched(msgspec.Struct):
    """A counter that this step changes, and its exact price so far."""

    span: Span
    pricing: Pricing
    state: MeterState
    amount: Fraction


class Account:
    """One rating key at work: its state, and its segments as they follow from it."""

    __slots__ = ("is_dirty", "newest_received_at", "rating_key", "state")

    def __init__(self, rating_key: str, state: KeyState | None) -> None:
        self.rating_key = rating_key
        self.state = state or KeyState()
        self.is_dirty = False
        self.newest_received_at = 0

    @property
    def cuts(self) -> list[tuple[int, str]]:
        """(start_at, plan_ref) of every stretch, as `segments.plan_cuts`."""
        return self.state.derived.cuts

    def change(self, **changes: Any) -> None:
        """Change the state; what follows from its history is derived anew."""
        self.state = self.state.changed(**changes)
        self.is_dirty = True

    def segments(self, period: Period) -> list[Segment]:
        """Return the segments of a period as known now."""
        return [stretch.segment for stretch in self.state.stretches(period)]

    def segments_as_of(self, period: Period, at: int) -> list[Segment]:
        """Return the segments of a period as known from events received before an instant."""
        if all(event.received_at < at for event in self.state.history):
            return self.segments(period)
        known = [event for event in self.state.history if event.received_at < at]
        return segments_of(plan_cuts(known), period)

    def plan_ref_at(self, instant: int) -> str:
        """Return which plan applies at an instant, "" for none."""
        for start_at, plan_ref in reversed(self.state.derived.cuts):
            if start_at <= instant:
                return plan_ref
        return ""

    def stretch_at(self, instant: int) -> Stretch | None:
        """Return the segment that rates an instant, None where none does."""
        for stretch in self.state.stretches(self.period_at(instant // MINUTE_MS)):
            if stretch.segment.start_at <= instant < stretch.segment.end_at:
                return stretch
        return None

    def period_at(self, minute: int) -> Period:
        """Return the period that a minute lies in: mostly one that is kept already."""
        kept = self.state.period_at(minute * MINUTE_MS)
        if kept is not None:
            return kept
        assert self.state.calendar is not None
        return period_at(self.state.calendar, minute)

    def open_period(self, start_at: int) -> OpenPeriod | None:
        """Return a period that is kept, None where it is not yet or no longer."""
        for kept in self.state.periods:
            if kept.period.start_at == start_at:
                return kept
        return None

    def add_period(self, period: Period) -> OpenPeriod:
        """Begin to keep a period."""
        opened = OpenPeriod(period)
        periods = sorted((*self.state.periods, opened), key=lambda kept: kept.period.start_at)
        self.change(periods=tuple(periods))
        return opened

    def drop_period(self, start_at: int) -> None:
        """Keep a period no longer."""
        self.change(periods=tuple(p for p in self.state.periods if p.period.start_at != start_at))

    def change_period(self, kept: OpenPeriod, **changes: Any) -> OpenPeriod:
        """Return a kept period after changing it (never in place: the view may still hold it)."""
        changed = msgspec.structs.replace(kept, **changes)
        self.change(periods=tuple([changed if p is kept else p for p in self.state.periods]))
        return changed


@functools.lru_cache(maxsize=4_096)
def _terms_of(document: str, timezone: str, segment: Segment, close_at: int) -> Terms:
    """Return the terms of a plan's document in a segment: the same for many steps."""
    plan = _decode_plan(document)
    period = segment.period
    share = calendar_share(plan.proration, timezone, period, segment.start_at, segment.end_at)
    pricings = tuple(pricing_of(meter, share) for meter in plan.meters)
    weighted = tuple(p for p in pricings if is_class_weighted(p.meter))
    adjusters = adjusters_of(plan, share)
    by_flows = measured_by(plan) == "flows"
    limits = {pricing.meter.meter_id: _limit_of(plan, pricing) for pricing in pricings}
    limits |= {adjuster.pricing.meter.meter_id: _NO_LIMIT for adjuster in adjusters}
    return Terms(
        plan=plan,
        timezone=timezone,
        period_start_at=period.start_at,
        close_at=close_at,
        pricings=pricings,
        weighted=weighted,
        direct=tuple(p for p in pricings if by_flows or not is_class_weighted(p.meter)),
        by_meter={pricing.meter.meter_id: pricing for pricing in pricings},
        adjusters=adjusters,
        source=measured_by(plan),
        by_class=bool(weighted) and by_flows,
        by_session=any(is_by_session(p) for p in pricings),
        week=week_of(plan.bands) if any(p.meter.band_weights for p in pricings) else (),
        by_day=any(p.meter.scope == "day" for p in pricings),
        is_prepaid=plan.kind == "prepaid",
        minor_decimals=minor_decimals(plan.currency),
        limits=limits,
    )


def _limit_of(plan: Plan, pricing: Pricing) -> Limit:
    base = alert_base(plan, pricing)
    return Limit(base, alert_thresholds(plan.alert_percents, base) if base else ())


class Workspace:
    """Everything one step has read and will answer.

    rated holds rows of `RatedUsage` as `frame_of_values` takes them.
    """

    def __init__(self, view: StateView, config: RateConfig, watermark_at: int) -> None:
        self.view = view
        self.config = config
        self.watermark_at = watermark_at
        self.accounts: dict[str, Account] = {}
        self.touched: dict[str, Touched] = {}
        self.cells: dict[str, CellState] = {}
        self.balances: dict[str, BalanceState] = {}
        self.changed_balances: set[str] = set()
        self.wallets: dict[str, WalletState] = {}
        self.changed_wallets: set[str] = set()
        self.deferred: dict[str, list[Row]] = {}
        self.changes: list[Put | Delete] = []
        self.rows: list[Any] = []
        self.rated: list[tuple[Any, ...]] = []
        self.counters: collections.Counter[str] = collections.Counter()
        self.new_timers: set[tuple[int, str]] = set()
        self._meters: dict[str, MeterState] = {}
        self._documents: dict[str, str] = {}
        self._terms: dict[tuple[str, str, int, int, int, int], Terms] = {}

    def load(self, rating_keys: Iterable[str]) -> None:
        """Read many accounts, and all that their counters may need, at once."""
        wanted = [key for key in rating_keys if key not in self.accounts]
        held = self.view.get_many("keys", wanted)
        for key in wanted:
            self.accounts[key] = Account(key, held.get(key))

    def load_meters(self, keys: Iterable[str]) -> None:
        """Read many counters at once."""
        wanted = [key for key in keys if key not in self._meters and key not in self.touched]
        self._meters.update(self.view.get_many("meters", wanted))

    def account(self, rating_key: str) -> Account:
        """Return one account."""
        if rating_key not in self.accounts:
            self.load([rating_key])
        return self.accounts[rating_key]

    def plan(self, plan_ref: str) -> Plan:
        """Return a plan by its reference."""
        return _decode_plan(self._document(plan_ref))

    def _document(self, plan_ref: str) -> str:
        document = self._documents.get(plan_ref)
        if document is None:
            document = self._documents[plan_ref] = self.view.get("plans", plan_ref)
        return document

    def span(self, account: Account, segment: Segment) -> Span:
        """Return a segment of an account with what rates it."""
        assert account.state.calendar is not None
        return self.span_of(account, stretch_of(segment, account.state.calendar.timezone))

    def span_of(self, account: Account, stretch: Stretch) -> Span:
        """Return a segment of an account, as its state keeps it, with what rates it."""
        segment = stretch.segment
        terms = self._terms.get(stretch.terms_key)
        if terms is None:
            document = self._document(segment.plan_ref)
            close_at, timezone = self.close_at(segment.period), stretch.terms_key[1]
            # The number is an account's own matter, and terms are of many.
            terms = _terms_of(document, timezone, segment._replace(number=0), close_at)
            self._terms[stretch.terms_key] = terms
        prefix = meters_prefix(account.rating_key, terms.period_start_at, segment.number)
        return Span(account, segment, terms, prefix)

    def add_plan(self, plan_ref: str, document: str) -> None:
        """Keep a plan that an event has brought."""
        if plan_ref not in self._documents and self.view.get("plans", plan_ref) is None:
            self.changes.append(Put("plans", plan_ref, document))
        self._documents[plan_ref] = document

    def balance(self, rating_key: str) -> BalanceState | None:
        """Return a prepaid balance, None where there is none."""
        if rating_key not in self.balances:
            held = self.view.get("balances", rating_key)
            if held is None:
                return None
            self.balances[rating_key] = held
        return self.balances[rating_key]

    def set_balance(self, rating_key: str, state: BalanceState) -> None:
        """Change a prepaid balance."""
        self.balances[rating_key] = state
        self.changed_balances.add(rating_key)

    def wallet(self, rating_key: str) -> WalletState | None:
        """Return a key's buckets and what may still draw on them, None where it has no wallet."""
        if rating_key not in self.wallets:
            held = self.view.get("wallets", rating_key)
            if held is None:
                return None
            self.wallets[rating_key] = held
        return self.wallets[rating_key]

    def set_wallet(self, rating_key: str, state: WalletState) -> None:
        """Change a wallet."""
        self.wallets[rating_key] = state
        self.changed_wallets.add(rating_key)

    def defer(self, rating_key: str, row: Row) -> None:
        """Have a row of a key with a wallet wait for the walk."""
        self.deferred.setdefault(rating_key, []).append(row)

    def meter(self, span: Span, pricing: Pricing) -> MeterState | None:
        """Return a counter for reading, None where it was never opened."""
        key = span.meters_prefix + pricing.meter.meter_id
        touched = self.touched.get(key)
        return touched.state if touched else self._held_meter(key)

    def _held_meter(self, key: str) -> MeterState | None:
        held = self._meters.get(key)
        if held is None:
            held = self.view.get("meters", key)
            if held is not None:
                self._meters[key] = held
        return held

    def touch(self, span: Span, pricing: Pricing) -> Touched:
        """Return a counter for changing; it is written and shown at the end of the step."""
        key = span.meters_prefix + pricing.meter.meter_id
        touched = self.touched.get(key)
        if touched is None:
            held = self._meters.get(key) or self._held_meter(key)
            state = copy_meter(held) if held else MeterState()
            touched = Touched(span, pricing, state, decode_exact(state.amount))
            self.touched[key] = touched
        return touched

    def drop_meter(self, span: Span, pricing: Pricing) -> None:
        """Forget a counter whose period is no longer kept."""
        key = span.meters_prefix + pricing.meter.meter_id
        self.touched.pop(key, None)
        self.changes.append(Delete("meters", key))

    def add_timer(self, due_at: int, account: Account) -> None:
        """Have an account looked at when the watermark reaches an instant."""
        self.new_timers.add((due_at, account.rating_key))

    def add_posting(self, account: Account, opened: OpenPeriod, at: int) -> OpenPeriod:
        """Have a period posted at an instant."""
        if at in opened.posts:
            return opened
        self.add_timer(at, account)
        return account.change_period(opened, posts=tuple(sorted((*opened.posts, at))))

    def close_at(self, period: Period) -> int:
        """Return when a period closes: usage received before it is on time."""
        return period.end_at + self.config.lateness_bound_ms

    def open_segment(self, span: Span) -> OpenPeriod:
        """Return the period of a segment, both opened: F(0) of every meter is posted once."""
        account, segment, terms, _ = span
        opened = account.open_period(terms.period_start_at)
        if opened is None:
            opened = account.add_period(segment.period)
            opened = self.add_posting(account, opened, terms.close_at)
            self.counters["rate_periods_opened"] += 1
        elif segment.number in opened.opened:
            return opened
        opened = account.change_period(
            opened, opened=tuple(sorted((*opened.opened, segment.number)))
        )
        minute = segment.start_at // MINUTE_MS
        day = local_day(terms.timezone, minute)
        post_at = day_end_at(terms.timezone, day) + self.config.lateness_bound_ms
        for pricing in terms.pricings:
            touched = self.touch(span, pricing)
            state = touched.state
            state.updated_at = max(state.updated_at, segment.start_at)
            touched.amount = open_meter(state, pricing, day.isoformat(), post_at)
            if state.pending:
                opened = self.add_posting(account, opened, post_at)
            self._charge_apart(touched, ZERO, minute, segment.start_at)
        if terms.adjusters:
            self._adjust(span, ("", "", "", minute), (0, segment.start_at, False))
            for adjuster in terms.adjusters:
                touched = self.touch(span, adjuster.pricing)
                if touched.amount:
                    wait_at_opening(touched.state, day.isoformat(), post_at)
                    opened = self.add_posting(account, opened, post_at)
        return opened

    def move(self, span: Span, pricing: Pricing, movement: Movement, origin: Origin) -> None:
        """Move a counter, or let the movement wait where a bucket may cover it."""
        if span.account.state.has_wallet:
            if counts_sessions(pricing):
                self._charge_session(span, pricing, movement, origin)
                return
            self.open_segment(span)
            row = row_of(movement, origin, pricing, self.config.lateness_bound_ms)
            self.defer(span.account.rating_key, row)
        else:
            self.move_now(span, pricing, movement, origin)

    def _charge_session(
        self, span: Span, pricing: Pricing, movement: Movement, origin: Origin
    ) -> None:
        """Count a session at once: no bucket holds sessions, but money may pay for them."""
        before = self.touch(span, pricing).amount
        self.move_now(span, pricing, movement, origin)
        charge = self.touch(span, pricing).amount - before
        if charge:
            received_at, minute = movement.received_at, origin[3]
            place = place_of(minute, received_at, self.config.lateness_bound_ms)
            row = charge_row(place, pricing.meter.meter_id, charge, received_at)
            self.defer(span.account.rating_key, row)

    def move_now(self, span: Span, pricing: Pricing, movement: Movement, origin: Origin) -> None:
        """Move a counter, emit its charge, and see that the movement gets posted.

        A movement that would leave the range of what is stored or paid is refused and counted; its
        volume is in the warehouse all the same.
        """
        opened = self.open_segment(span)
        if movement.post_at <= opened.posted_at:
            # Cannot happen while watermarks keep their promise; if it does, the usage is kept.
            grid = self.config.late_posting_interval_ms
            post_at = (max(opened.posted_at, self.watermark_at) // grid + 1) * grid
            movement = movement._replace(post_at=post_at)
            self.counters["rate_usage_after_posting"] += 1
        touched = self.touch(span, pricing)
        state, before, held = touched.state, touched.amount, touched.state.total
        if not fits(state, pricing, movement):
            self.counters["rate_refused_movements"] += 1
            return
        amount = move(state, pricing, movement, before)
        if amount is not ZERO and not is_payable(amount):
            back = movement._replace(amount=-movement.amount)
            touched.amount = move(state, pricing, back, amount)
            self.counters["rate_refused_movements"] += 1
            return
        touched.amount = amount
        account, denominator = span.account, pricing.denominator
        if movement.post_at not in opened.posts:
            self.add_posting(account, opened, movement.post_at)
        received_at = movement.received_at
        if received_at > account.newest_received_at:
            account.newest_received_at = received_at
        moved = state.total // denominator - held // denominator
        is_late = movement.post_at > span.terms.close_at
        self._charge(touched, before, origin, (moved, received_at, is_late))
        if span.terms.adjusters:
            self._adjust(span, origin, (0, received_at, is_late))

    def reprice(self, span: Span, at: int) -> None:
        """Charge what a changed share of the period changes for an open segment."""
        for pricing in span.terms.pricings:
            touched = self.touch(span, pricing)
            touched.span, touched.pricing = span, pricing
            before = touched.amount
            touched.amount = reprice(touched.state, pricing, before)
            self._charge_apart(touched, before, at // MINUTE_MS, at)
        if span.terms.adjusters:
            self._adjust(span, ("", "", "", at // MINUTE_MS), (0, at, False))

    def _adjust(self, span: Span, origin: Origin, cause: Cause) -> None:
        """Bring the adjustments of a segment to what its meters cost now, and charge them."""
        amounts = {name: self._amount(span, p) for name, p in span.terms.by_meter.items()}
        for adjuster in span.terms.adjusters:
            touched = self.touch(span, adjuster.pricing)
            touched.span, touched.pricing = span, adjuster.pricing
            before, state = touched.amount, touched.state
            amount = amounts[adjuster.adjustment.adjustment_id] = adjusted(adjuster, amounts)
            if amount != before:
                touched.amount, state.amount = amount, encode_exact(amount)
                state.updated_at = max(state.updated_at, cause[1])
                self._charge(touched, before, origin, cause)

    def _amount(self, span: Span, pricing: Pricing) -> Fraction:
        """Return a counter's price so far."""
        touched = self.touched.get(span.meters_prefix + pricing.meter.meter_id)
        if touched is not None:
            return touched.amount
        held = self.meter(span, pricing)
        return decode_exact(held.amount) if held else ZERO

    def _charge_apart(self, touched: Touched, before: Fraction, minute: int, at: int) -> None:
        """Emit a charge without usage: F(0), or a new share of the period."""
        origin = ("", "", "", minute)
        self._charge(touched, before, origin, (0, at, False))
        span, charge = touched.span, touched.amount - before
        if charge and span.terms.is_prepaid and span.account.state.has_wallet:
            meter_id = touched.pricing.meter.meter_id
            self.defer(span.account.rating_key, charge_row(minute, meter_id, charge, at))

    def _charge(self, touched: Touched, before: Fraction, origin: Origin, cause: Cause) -> None:
        """Emit the difference that a counter's price has made."""
        amount, span = touched.amount, touched.span
        wire = to_wire(amount) - to_wire(before) if amount is not before else 0
        quantity, received_at, _ = cause
        if not wire and not quantity:
            return
        charges = (wire, 0)
        if span.terms.is_prepaid:
            rating_key = span.account.rating_key
            balance = self.balance(rating_key) or BalanceState(span.terms.plan.currency)
            self.set_balance(rating_key, charged(balance, amount - before, received_at))
            charges = (wire, -wire)
        self.add_rated(span, origin, cause, touched.pricing.meter.meter_id, NO_OCTETS, charges)

    def add_rated(
        self,
        span: Span,
        origin: Origin,
        cause: Cause,
        meter_id: str,
        octets: tuple[str, int, int],
        charges: tuple[int, int] = (0, 0),
    ) -> None:
        """Add a row to `usage.rated`.

        octets are as `NO_OCTETS`; charges are (charge, balance effect) in wire units.
        """
        plan = span.terms.plan
        traffic_class, octets_up, octets_down = octets
        subscriber_id, source, session_id, minute = origin
        quantity, received_at, is_late = cause
        charge, balance_effect = charges
        self.rated.append(
            (
                span.account.rating_key,
                subscriber_id,
                source,
                session_id,
                traffic_class,
                minute,
                octets_up,
                octets_down,
                0,  # Packets and seconds are with the rows of volume as measured.
                0,
                0,
                meter_id,
                quantity,
                charge,
                plan.currency,
                balance_effect,
                plan.plan_id,
                plan.version,
                span.terms.period_start_at,
                is_late,
                received_at,
            )
        )

    def put_timers(self) -> None:
        """Put the timers that lie ahead."""
        for due_at, key in sorted(self.new_timers):
            self.changes.append(Put("timers", timer_key(due_at, key), key))
