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

from rating.balances import charged
from rating.config import RateConfig
from rating.engine import (
    Movement,
    Pricing,
    copy_meter,
    fits,
    is_payable,
    move,
    open_meter,
    pricing_of,
    reprice,
    signed_quantity,
)
from rating.money import ZERO, decode_exact, to_wire
from rating.periods import MINUTE_MS, Period, day_end_at, local_day, period_at
from rating.plans import Plan, decode_plan, is_class_weighted, measured_by
from rating.ports import Delete, Put, StateView
from rating.rate_state import (
    BalanceState,
    CellState,
    KeyState,
    MeterState,
    OpenPeriod,
    meters_prefix,
    timer_key,
)
from rating.segments import Segment, plan_cuts, segment_share, segments_of

_decode_plan = functools.lru_cache(maxsize=4_096)(decode_plan)


class Origin(NamedTuple):
    """Whose usage a rated row stands for: one subscriber's, up to a minute."""

    subscriber_id: str
    source: str
    session_id: str
    minute: int


class Cause(NamedTuple):
    """What moved a counter: whole units, and when the newest of it was received."""

    quantity: int
    received_at: int
    is_late: bool = False


NO_OCTETS = ("", 0, 0)
"""(traffic class, octets up, octets down) of a rated row that carries none."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What a segment is rated by; every account with the same plan and bounds shares one.

    weighted are those pricings whose meter tells traffic
    classes apart; direct are those that charge each row of the source as it comes: all but the
    weighted ones of accounting, which wait for the split of their cells.
    """

    plan: Plan
    timezone: str
    period_start_at: int
    close_at: int
    pricings: tuple[Pricing, ...]
    weighted: tuple[Pricing, ...]
    direct: tuple[Pricing, ...]
    by_meter: Mapping[str, Pricing]
    source: str
    by_class: bool
    by_session: bool


class Span(NamedTuple):
    """A segment of an account, with what rates it and what its counters' keys begin with."""

    account: Account
    segment: Segment
    terms: Terms
    meters_prefix: str


@dataclasses.dataclass(slots=True)
class Touched:
    """A counter that this step changes, and its exact price so far."""

    span: Span
    pricing: Pricing
    state: MeterState
    amount: Fraction


class Account:
    """One rating key at work: its state, and its segments as they follow from it."""

    def __init__(self, rating_key: str, state: KeyState | None) -> None:
        self.rating_key = rating_key
        self.state = state or KeyState()
        self.is_dirty = False
        self.newest_received_at = 0
        self._segments: dict[int, list[Segment]] = {}
        self.cuts = plan_cuts(self.state.history)

    def change(self, **changes: Any) -> None:
        """Change the state; what follows from a longer history is derived anew."""
        self.state = msgspec.structs.replace(self.state, **changes)
        self.is_dirty = True
        if "history" in changes:
            self.cuts = plan_cuts(self.state.history)
            self._segments.clear()

    def segments(self, period: Period) -> list[Segment]:
        """Return the segments of a period as known now."""
        if period.start_at not in self._segments:
            self._segments[period.start_at] = segments_of(self.cuts, period)
        return self._segments[period.start_at]

    def segments_as_of(self, period: Period, at: int) -> list[Segment]:
        """Return the segments of a period as known from events received before an instant."""
        if all(event.received_at < at for event in self.state.history):
            return self.segments(period)
        known = [event for event in self.state.history if event.received_at < at]
        return segments_of(plan_cuts(known), period)

    def plan_ref_at(self, instant: int) -> str:
        """Return which plan applies at an instant, "" for none."""
        for start_at, plan_ref in reversed(self.cuts):
            if start_at <= instant:
                return plan_ref
        return ""

    def period_at(self, minute: int) -> Period:
        """Return the period that a minute lies in: mostly one that is kept already."""
        instant = minute * MINUTE_MS
        for kept in self.state.periods:
            if kept.period.start_at <= instant < kept.period.end_at:
                return kept.period
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
        self.change(periods=tuple(changed if p is kept else p for p in self.state.periods))
        return changed


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
        self.changes: list[Put | Delete] = []
        self.rows: list[Any] = []
        self.rated: list[tuple[Any, ...]] = []
        self.counters: collections.Counter[str] = collections.Counter()
        self.new_timers: set[tuple[int, str]] = set()
        self._meters: dict[str, MeterState] = {}
        self._plans: dict[str, Plan] = {}
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
        plan = self._plans.get(plan_ref)
        if plan is None:
            plan = self._plans[plan_ref] = _decode_plan(self.view.get("plans", plan_ref))
        return plan

    def span(self, account: Account, segment: Segment) -> Span:
        """Return a segment of an account with what rates it."""
        assert account.state.calendar is not None
        period = segment.period
        timezone = account.state.calendar.timezone
        key = (
            segment.plan_ref,
            timezone,
            period.start_at,
            period.end_at,
            segment.start_at,
            segment.end_at,
        )
        terms = self._terms.get(key)
        if terms is None:
            terms = self._terms[key] = self._new_terms(account, segment, timezone)
        prefix = meters_prefix(account.rating_key, period.start_at, segment.number)
        return Span(account, segment, terms, prefix)

    def _new_terms(self, account: Account, segment: Segment, timezone: str) -> Terms:
        assert account.state.calendar is not None
        plan = self.plan(segment.plan_ref)
        share = segment_share(plan.proration, account.state.calendar, segment)
        pricings = tuple(pricing_of(meter, share) for meter in plan.meters)
        weighted = tuple(p for p in pricings if is_class_weighted(p.meter))
        by_flows = measured_by(plan) == "flows"
        return Terms(
            plan=plan,
            timezone=timezone,
            period_start_at=segment.period.start_at,
            close_at=self.close_at(segment.period),
            pricings=pricings,
            weighted=weighted,
            direct=tuple(p for p in pricings if by_flows or not is_class_weighted(p.meter)),
            by_meter={pricing.meter.meter_id: pricing for pricing in pricings},
            source=measured_by(plan),
            by_class=bool(weighted) and by_flows,
            by_session=any(p.meter.scope == "session" for p in pricings),
        )

    def add_plan(self, plan_ref: str, plan: Plan, document: str) -> None:
        """Keep a plan that an event has brought."""
        if plan_ref not in self._plans and self.view.get("plans", plan_ref) is None:
            self.changes.append(Put("plans", plan_ref, document))
        self._plans[plan_ref] = plan

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
            held = self._held_meter(key)
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
        opened = account.open_period(segment.period.start_at)
        if opened is None:
            opened = account.add_period(segment.period)
            opened = self.add_posting(account, opened, terms.close_at)
            self.counters["rate_periods_opened"] += 1
        if segment.number in opened.opened:
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
            cause = Cause(0, segment.start_at)
            self._charge(touched, ZERO, Origin("", "", "", minute), cause)
        return opened

    def move(self, span: Span, pricing: Pricing, movement: Movement, origin: Origin) -> None:
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
        state, before = touched.state, touched.amount
        if not fits(state, pricing, movement):
            self.counters["rate_refused_movements"] += 1
            return
        quantity = signed_quantity(state, pricing)
        amount = move(state, pricing, movement, before)
        if not is_payable(amount):
            back = movement._replace(amount=-movement.amount)
            touched.amount = move(state, pricing, back, amount)
            self.counters["rate_refused_movements"] += 1
            return
        touched.amount = amount
        account = span.account
        self.add_posting(account, opened, movement.post_at)
        account.newest_received_at = max(account.newest_received_at, movement.received_at)
        moved = signed_quantity(state, pricing) - quantity
        is_late = movement.post_at > span.terms.close_at
        self._charge(touched, before, origin, Cause(moved, movement.received_at, is_late))

    def reprice(self, span: Span, at: int) -> None:
        """Charge what a changed share of the period changes for an open segment."""
        for pricing in span.terms.pricings:
            touched = self.touch(span, pricing)
            touched.span, touched.pricing = span, pricing
            before = touched.amount
            touched.amount = reprice(touched.state, pricing, before)
            self._charge(touched, before, Origin("", "", "", at // MINUTE_MS), Cause(0, at))

    def _charge(self, touched: Touched, before: Fraction, origin: Origin, cause: Cause) -> None:
        """Emit the difference that a counter's price has made."""
        amount = touched.amount
        wire = to_wire(amount) - to_wire(before) if amount is not before else 0
        if not wire and not cause.quantity:
            return
        account, terms = touched.span.account, touched.span.terms
        is_prepaid = terms.plan.kind == "prepaid"
        if is_prepaid:
            balance = self.balance(account.rating_key) or BalanceState(terms.plan.currency)
            balance = charged(balance, amount - before, cause.received_at)
            self.set_balance(account.rating_key, balance)
        effect = -wire if is_prepaid else 0
        meter_id = touched.pricing.meter.meter_id
        self.add_rated(touched.span, origin, cause, meter_id, charges=(wire, effect))

    def add_rated(
        self,
        span: Span,
        origin: Origin,
        cause: Cause,
        meter_id: str,
        *,
        octets: tuple[str, int, int] = NO_OCTETS,
        charges: tuple[int, int] = (0, 0),
    ) -> None:
        """Add a row to `usage.rated`.

        octets are as `NO_OCTETS`; charges are (charge, balance effect) in wire units.
        """
        plan, (traffic_class, octets_up, octets_down) = span.terms.plan, octets
        self.rated.append(
            (
                span.account.rating_key,
                origin.subscriber_id,
                origin.source,
                origin.session_id,
                traffic_class,
                origin.minute,
                octets_up,
                octets_down,
                0,  # Packets and seconds are with the rows of volume as measured.
                0,
                0,
                meter_id,
                cause.quantity,
                charges[0],
                plan.currency,
                charges[1],
                plan.plan_id,
                plan.version,
                span.terms.period_start_at,
                cause.is_late,
                cause.received_at,
            )
        )

    def put_timers(self) -> None:
        """Put the timers that lie ahead."""
        for due_at, key in sorted(self.new_timers):
            self.changes.append(Put("timers", timer_key(due_at, key), key))
