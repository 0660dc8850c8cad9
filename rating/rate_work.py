"""The working set of one rate step: what was read, what changes, what goes out.

A step reads each key once, works on copies and ends as one `StepResult`. The parts of the step
(`rate_events`, `rate_usage`, `rate_timers`, `rate_service`) are functions over a `Workspace`.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import functools
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

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
from rating.money import decode_exact, to_wire, wire_decimal
from rating.periods import MINUTE_MS, Period, day_end_at, local_day
from rating.plans import Plan, decode_plan, is_class_weighted, measured_by
from rating.ports import Delete, Put, StateView
from rating.rate_state import (
    BalanceState,
    CellState,
    KeyState,
    MeterState,
    OpenPeriod,
    meter_key,
    timer_key,
)
from rating.records import RatedUsage
from rating.segments import Segment, plan_cuts, segment_share, segments_of

_decode_plan = functools.lru_cache(maxsize=4_096)(decode_plan)


class Origin(NamedTuple):
    """Whose usage a charge row stands for: one subscriber's, up to a minute."""

    subscriber_id: str
    source: str
    session_id: str
    minute: int


class Cause(NamedTuple):
    """What moved a counter: whole units, and when the newest of it was received."""

    quantity: int
    received_at: int
    is_late: bool = False


class Touched(NamedTuple):
    """A counter that this step changed."""

    account: Account
    segment: Segment
    plan: Plan
    pricing: Pricing
    state: MeterState


class Terms(NamedTuple):
    """What a segment is rated by; every account with the same plan and bounds shares one.

    weighted are those pricings whose meter tells traffic classes apart.
    """

    plan: Plan
    pricings: tuple[Pricing, ...]
    weighted: tuple[Pricing, ...]
    source: str
    by_session: bool


class Account:
    """One rating key at work: its state, and its segments as they follow from it."""

    def __init__(self, rating_key: str, state: KeyState | None) -> None:
        self.rating_key = rating_key
        self.state = state or KeyState()
        self.is_dirty = False
        self.newest_received_at = 0
        self._periods = {p.period.start_at: p for p in self.state.periods}
        self._segments: dict[int, list[Segment]] = {}
        self.cuts = plan_cuts(self.state.history)

    def change(self, **changes: Any) -> None:
        """Change the state; what follows from a longer history is derived anew."""
        self.state = dataclasses.replace(self.state, **changes)
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
        index = bisect.bisect_right(self.cuts, instant, key=lambda cut: cut[0]) - 1
        return self.cuts[index][1] if index >= 0 else ""

    def open_period(self, start_at: int) -> OpenPeriod | None:
        """Return a period that is kept, None where it is not yet or no longer."""
        return self._periods.get(start_at)

    def add_period(self, period: Period) -> OpenPeriod:
        """Begin to keep a period."""
        opened = OpenPeriod(period)
        self._periods[period.start_at] = opened
        self._save_periods()
        return opened

    def drop_period(self, start_at: int) -> None:
        """Keep a period no longer."""
        del self._periods[start_at]
        self._save_periods()

    def change_period(self, kept: OpenPeriod, **changes: Any) -> OpenPeriod:
        """Return a kept period after changing it (never in place: the view may still hold it)."""
        changed = dataclasses.replace(kept, **changes)
        self._periods[kept.period.start_at] = changed
        self._save_periods()
        return changed

    def _save_periods(self) -> None:
        self.change(periods=tuple(self._periods[start] for start in sorted(self._periods)))


class Workspace:
    """Everything one step has read and will answer."""

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
        self.rated: list[RatedUsage] = []
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
        if plan_ref not in self._plans:
            self._plans[plan_ref] = _decode_plan(self.view.get("plans", plan_ref))
        return self._plans[plan_ref]

    def terms(self, account: Account, segment: Segment) -> Terms:
        """Return what a segment is rated by."""
        assert account.state.calendar is not None
        period = segment.period
        key = (
            segment.plan_ref,
            account.state.calendar.timezone,
            *(period.start_at, period.end_at, segment.start_at, segment.end_at),
        )
        if key not in self._terms:
            plan = self.plan(segment.plan_ref)
            share = segment_share(plan.proration, account.state.calendar, segment)
            pricings = tuple(pricing_of(meter, share) for meter in plan.meters)
            self._terms[key] = Terms(
                plan=plan,
                pricings=pricings,
                weighted=tuple(p for p in pricings if is_class_weighted(p.meter)),
                source=measured_by(plan),
                by_session=any(p.meter.scope == "session" for p in pricings),
            )
        return self._terms[key]

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

    def meter(self, rating_key: str, segment: Segment, meter_id: str) -> MeterState | None:
        """Return a counter for reading, None where it was never opened."""
        key = meter_key(rating_key, segment.period.start_at, segment.number, meter_id)
        if key in self.touched:
            return self.touched[key].state
        if key not in self._meters:
            held = self.view.get("meters", key)
            if held is None:
                return None
            self._meters[key] = held
        return self._meters[key]

    def touch(self, account: Account, segment: Segment, plan: Plan, pricing: Pricing) -> MeterState:
        """Return a counter for changing; it is written and shown at the end of the step."""
        meter_id = pricing.meter.meter_id
        key = meter_key(account.rating_key, segment.period.start_at, segment.number, meter_id)
        if key not in self.touched:
            held = self.meter(account.rating_key, segment, meter_id)
            state = copy_meter(held) if held else MeterState()
            self.touched[key] = Touched(account, segment, plan, pricing, state)
        return self.touched[key].state

    def drop_meter(self, account: Account, segment: Segment, meter_id: str) -> None:
        """Forget a counter whose period is no longer kept."""
        key = meter_key(account.rating_key, segment.period.start_at, segment.number, meter_id)
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

    def open_segment(self, account: Account, segment: Segment) -> OpenPeriod:
        """Return the period of a segment, both opened: F(0) of every meter is posted once."""
        opened = account.open_period(segment.period.start_at)
        if opened is None:
            opened = account.add_period(segment.period)
            opened = self.add_posting(account, opened, self.close_at(segment.period))
            self.counters["rate_periods_opened"] += 1
        if segment.number in opened.opened:
            return opened
        opened = account.change_period(
            opened, opened=tuple(sorted((*opened.opened, segment.number)))
        )
        assert account.state.calendar is not None
        timezone = account.state.calendar.timezone
        minute = segment.start_at // MINUTE_MS
        day = local_day(timezone, minute)
        post_at = day_end_at(timezone, day) + self.config.lateness_bound_ms
        plan = self.plan(segment.plan_ref)
        for pricing in self.terms(account, segment).pricings:
            state = self.touch(account, segment, plan, pricing)
            state.updated_at = max(state.updated_at, segment.start_at)
            open_meter(state, pricing, day.isoformat(), post_at)
            if state.pending:
                opened = self.add_posting(account, opened, post_at)
            touched = Touched(account, segment, plan, pricing, state)
            cause = Cause(0, segment.start_at)
            self._charge(touched, Origin("", "", "", minute), Fraction(0), cause)
        return opened

    def move(
        self,
        account: Account,
        segment: Segment,
        pricing: Pricing,
        movement: Movement,
        origin: Origin,
    ) -> None:
        """Move a counter, emit its charge, and see that the movement gets posted.

        A movement that would leave the range of what is stored or paid is refused and counted; its
        volume is in the warehouse all the same.
        """
        opened = self.open_segment(account, segment)
        plan = self.plan(segment.plan_ref)
        post_at = movement.post_at
        if post_at <= opened.posted_at:
            # Cannot happen while watermarks keep their promise; if it does, the usage is kept.
            grid = self.config.late_posting_interval_ms
            post_at = (max(opened.posted_at, self.watermark_at) // grid + 1) * grid
            movement = movement._replace(post_at=post_at)
            self.counters["rate_usage_after_posting"] += 1
        state = self.touch(account, segment, plan, pricing)
        if not fits(state, pricing, movement):
            self.counters["rate_refused_movements"] += 1
            return
        quantity, amount = signed_quantity(state, pricing), decode_exact(state.amount)
        move(state, pricing, movement)
        if not is_payable(state):
            move(state, pricing, movement._replace(amount=-movement.amount))
            self.counters["rate_refused_movements"] += 1
            return
        self.add_posting(account, opened, post_at)
        account.newest_received_at = max(account.newest_received_at, movement.received_at)
        touched = Touched(account, segment, plan, pricing, state)
        moved = signed_quantity(state, pricing) - quantity
        is_late = post_at > self.close_at(segment.period)
        self._charge(touched, origin, amount, Cause(moved, movement.received_at, is_late))

    def reprice(self, account: Account, segment: Segment, at: int) -> None:
        """Charge what a changed share of the period changes for an open segment."""
        plan = self.plan(segment.plan_ref)
        for pricing in self.terms(account, segment).pricings:
            state = self.touch(account, segment, plan, pricing)
            touched = Touched(account, segment, plan, pricing, state)
            key = meter_key(
                account.rating_key,
                segment.period.start_at,
                segment.number,
                pricing.meter.meter_id,
            )
            self.touched[key] = touched
            amount = decode_exact(state.amount)
            reprice(state, pricing)
            self._charge(touched, Origin("", "", "", at // MINUTE_MS), amount, Cause(0, at))

    def _charge(
        self, touched: Touched, origin: Origin, amount_before: Fraction, cause: Cause
    ) -> None:
        """Emit the difference that a counter's price has made."""
        amount = decode_exact(touched.state.amount)
        wire = to_wire(amount) - to_wire(amount_before)
        if not wire and not cause.quantity:
            return
        account, plan = touched.account, touched.plan
        charge = wire_decimal(wire)
        is_prepaid = plan.kind == "prepaid"
        if is_prepaid:
            balance = self.balance(account.rating_key) or BalanceState(plan.currency)
            balance = charged(balance, amount - amount_before, cause.received_at)
            self.set_balance(account.rating_key, balance)
        self.rated.append(
            RatedUsage(
                rating_key=account.rating_key,
                subscriber_id=origin.subscriber_id,
                source=origin.source,
                session_id=origin.session_id,
                traffic_class="",
                minute=origin.minute,
                octets_up=0,
                octets_down=0,
                packets_up=0,
                packets_down=0,
                seconds=0,
                meter_id=touched.pricing.meter.meter_id,
                quantity=cause.quantity,
                charge=charge,
                currency=plan.currency,
                balance_effect=-charge if is_prepaid else wire_decimal(0),
                plan_id=plan.plan_id,
                plan_version=plan.version,
                period_start_at=touched.segment.period.start_at,
                is_late=cause.is_late,
                received_at=cause.received_at,
            )
        )

    def put_timers(self) -> None:
        """Put the timers that lie ahead."""
        for due_at, key in sorted(self.new_timers):
            self.changes.append(Put("timers", timer_key(due_at, key), key))
