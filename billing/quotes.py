"""What a plan would charge for some usage, item by item, with the reasoning of every step.

The usage goes through the rate stage itself, over a state that is thrown away: what a quote says
is what would be billed, by the same code. Nothing here prices anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from billing.explanation import (
    Part,
    PriceStep,
    exact_text,
    explain_adjustment,
    explain_price,
    explain_scopes,
)
from billing.proration import local_day, portion, whole_days
from billing.quoted_usage import SUBJECT, PlacedUse, QuotedUsage, measured, placed_uses, start_of
from billing.taxes import TaxAmount, TaxTreatment, tax_amounts
from rating.config import RateConfig
from rating.engine import Pricing, pricing_of, scope_quantity
from rating.events import SubscriptionStarted, TopUp, account_event
from rating.money import decode_exact, encode_exact, format_amount, to_minor
from rating.periods import MINUTE_MS, Calendar, Period, next_period, period_at
from rating.plans import Meter, Plan, is_class_weighted, measured_by, names_of
from rating.ports import Batch, MemoryState
from rating.rate_state import MeterState, meters_prefix, timers_through
from rating.rate_step import step
from rating.records import AccountEvent, Usage, frame_of
from rating.rows import Alert, DesiredService, UsageCharge
from rating.segments import calendar_share
from rating.thresholds import throttle_bound

_CONFIG = RateConfig(closed_period_retention_days=36_500)


@dataclasses.dataclass(frozen=True, slots=True)
class QuoteLine:
    """One line: a fee (meter_id "") or a meter's charge; amount is exact, amount_minor rounded."""

    description: str
    meter_id: str
    unit: str
    quantity: int
    steps: tuple[PriceStep, ...]
    amount: Fraction
    amount_minor: int


@dataclasses.dataclass(frozen=True, slots=True)
class QuotePeriod:
    """One period's lines and what they come to, in minor units."""

    start_on: str
    end_on: str
    lines: tuple[QuoteLine, ...]
    taxes: tuple[TaxAmount, ...]
    net_minor: int
    tax_minor: int
    total_minor: int


@dataclasses.dataclass(frozen=True, slots=True)
class Happening:
    """Something that the usage brings about: an alert, a throttle, an empty balance; at is ms."""

    at: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Quote:
    """What a plan would charge, period by period, and what would happen on the way."""

    plan: Plan
    timezone: str
    periods: tuple[QuotePeriod, ...]
    happenings: tuple[Happening, ...]


def quote(plan: Plan, usage: QuotedUsage) -> Quote:
    """Return what the plan charges for the usage in every period that it touches.

    DocumentError names the field of the usage that cannot be used.
    """
    start_at = start_of(usage)
    uses = placed_uses(usage, start_at)
    calendar = Calendar(usage.timezone, usage.cycle, usage.anchor_day)
    run = _Run(plan, calendar, start_at, usage.balance)
    for one in uses:
        run.feed(one)
    last_at = max([start_at, *(max(one.start_at, one.end_at - 1) for one in uses)])
    run.close(period_at(calendar, last_at // MINUTE_MS))
    periods = []
    period = period_at(calendar, start_at // MINUTE_MS)
    while period.start_at <= last_at:
        periods.append(_period(run, period))
        period = next_period(calendar, period)
    happenings = sorted(run.happenings, key=lambda one: one.at)
    return Quote(plan, usage.timezone, tuple(periods), tuple(happenings))


class _Run:
    """The rate stage over a state of its own, and what it has answered."""

    def __init__(self, plan: Plan, calendar: Calendar, start_at: int, balance: Fraction) -> None:
        self.plan, self.calendar, self.start_at = plan, calendar, start_at
        self.state = MemoryState()
        self.charges: dict[int, list[UsageCharge]] = {}
        self.happenings: list[Happening] = []
        self._target = ""
        weighs = any(is_class_weighted(meter) for meter in plan.meters)
        source = measured_by(plan)
        is_split = weighs and source == "accounting"
        self._sources = ("accounting", "flows") if is_split else (source,)
        events = [
            account_event(
                "start",
                SUBJECT,
                SubscriptionStarted(plan, calendar),
                effective_at=start_at,
                received_at=start_at,
            )
        ]
        if plan.kind == "prepaid" and balance:
            credit = TopUp(to_minor(balance, plan.currency), plan.currency)
            events.append(
                account_event(
                    "credit", SUBJECT, credit, effective_at=start_at, received_at=start_at
                )
            )
        self._step(start_at, events=events)

    def feed(self, one: PlacedUse) -> None:
        """Rate one use; all that came before it has been received."""
        self._pass_time(one.start_at)
        self._step(one.start_at, usage=measured(one, self._sources))

    def close(self, period: Period) -> None:
        """Let time pass until the period is closed."""
        close_at = period.end_at + _CONFIG.lateness_bound_ms
        self._pass_time(close_at)
        self._step(close_at)

    def _pass_time(self, until_at: int) -> None:
        """Let every timer before an instant fire in its time, as a watermark that creeps would."""
        while True:
            timers = self.state.scan("timers", high=timers_through(until_at - 1))
            due = next((int(key[:15]) for key, _ in timers), None)
            if due is None:
                return
            self._step(due)

    def _step(
        self,
        watermark_at: int,
        usage: Sequence[Usage] = (),
        events: Sequence[AccountEvent] = (),
    ) -> None:
        frames = {
            "usage.measured": [frame_of(Usage, usage)],
            "account.events": [frame_of(AccountEvent, events)],
        }
        result = step(self.state, Batch(frames), watermark_at=watermark_at, config=_CONFIG)
        self.state.apply(result)
        for row in result.rows:
            if isinstance(row, UsageCharge):
                self.charges.setdefault(row.period_start_at, []).append(row)
            elif isinstance(row, Alert):
                self.happenings.append(Happening(row.raised_at, _alert_text(row, self.plan)))
            elif isinstance(row, DesiredService):
                self._serve(row)

    def _serve(self, row: DesiredService) -> None:
        """Note that the service becomes another, other than by beginning."""
        if self._target and row.target != self._target:
            words = {"active": "full speed", "blocked": "blocked"}
            target = words.get(row.target, row.target.replace("profile:", "speed profile "))
            self.happenings.append(Happening(row.decided_at, f"{target}: {row.reason}"))
        self._target = row.target

    def meter_state(self, charge: UsageCharge) -> MeterState | None:
        """Return the counter behind a charge."""
        prefix = meters_prefix(SUBJECT, charge.period_start_at, charge.segment_number)
        state: MeterState | None = self.state.get("meters", prefix + charge.meter_id)
        return state


def _alert_text(row: Alert, plan: Plan) -> str:
    if row.percent == 0:
        return "the balance is used up"
    return f"{row.percent} % of {names_of(plan).get(row.meter_id, row.meter_id)} used"


def _period(run: _Run, period: Period) -> QuotePeriod:
    plan = run.plan
    lines = [] if plan.kind == "prepaid" else _fee(run, period)
    lines += [_line(run, charge, period) for charge in run.charges.get(period.start_at, [])]
    treatment = TaxTreatment(format_amount(plan.tax_rate * 100), plan.tax_inclusive)
    # What a balance pays was paid, tax and all, with the top-up.
    is_taxed = plan.kind == "postpaid" and plan.tax_rate
    taxes = tax_amounts((treatment, line.amount_minor) for line in lines) if is_taxed else []
    lines_minor = sum(line.amount_minor for line in lines)
    tax_minor = sum(tax.tax_minor for tax in taxes)
    net_minor = sum(tax.net_minor for tax in taxes) if taxes else lines_minor
    return QuotePeriod(
        str(period.start_on),
        str(period.end_on),
        tuple(lines),
        tuple(taxes),
        net_minor,
        tax_minor,
        net_minor + tax_minor,
    )


def _fee(run: _Run, period: Period) -> list[QuoteLine]:
    plan, timezone = run.plan, run.calendar.timezone
    if not plan.recurring_fee:
        return []
    bounds = (period.start_at, period.end_at)
    part = portion((run.start_at, None), bounds, timezone, plan.proration)
    amount = plan.recurring_fee * part
    days = whole_days(*bounds, timezone)
    words = "recurring fee"
    if part != 1:
        counted = part * days
        words += f", {counted} of {days} days" if counted.denominator == 1 else ", in part"
    steps = (PriceStep(words, amount),)
    minor = to_minor(amount, plan.currency)
    return [QuoteLine(plan.name, "", "period", 1, steps, amount, minor)]


def _line(run: _Run, charge: UsageCharge, period: Period) -> QuoteLine:
    plan = run.plan
    amount = decode_exact(charge.amount_exact)
    meter = next((meter for meter in plan.meters if meter.meter_id == charge.meter_id), None)
    if meter is None:
        adjustment = next(a for a in plan.adjustments if a.adjustment_id == charge.meter_id)
        steps = explain_adjustment(plan, adjustment, amount)
    else:
        steps = _meter_steps(run, charge, period, meter)
    return QuoteLine(
        charge.description,
        charge.meter_id,
        meter.unit if meter else "",
        charge.quantity,
        tuple(steps),
        amount,
        charge.amount_minor,
    )


def _meter_steps(run: _Run, charge: UsageCharge, period: Period, meter: Meter) -> list[PriceStep]:
    plan, amount, part = run.plan, decode_exact(charge.amount_exact), _part(run, period)
    pricing = pricing_of(meter, part.share)
    if meter.scope != "period":
        return explain_scopes(plan, meter, _scopes(run, charge, pricing), amount)
    steps = explain_price(plan, meter, part, charge.quantity, amount)
    return steps + _throttles(plan, pricing, charge.quantity)


def _part(run: _Run, period: Period) -> Part:
    timezone, start_at = run.calendar.timezone, max(run.start_at, period.start_at)
    share = calendar_share(run.plan.proration, timezone, period, start_at, period.end_at)
    days = (period.end_on - local_day(start_at, timezone)).days
    return Part(share, days, period.days)


def _scopes(run: _Run, charge: UsageCharge, pricing: Pricing) -> Mapping[str, int]:
    """Return the quantity of each day or session of a charge."""
    state = run.meter_state(charge)
    if state is None:
        return {}
    return {name: scope_quantity(state, pricing, name) for name in sorted(state.scopes)}


def _throttles(plan: Plan, pricing: Pricing, quantity: int) -> list[PriceStep]:
    """Return which throttle steps of a meter over the period its quantity has reached."""
    meter = pricing.meter
    unit = meter.unit.replace("_", " ")
    return [
        PriceStep(f"fair use: speed profile {one.profile} from {bound:,} {unit}")
        for one in plan.throttle_steps
        if one.meter_id == meter.meter_id
        for bound in (throttle_bound(one, pricing),)
        if bound and quantity >= bound
    ]


def quote_document(quoted: Quote) -> dict[str, Any]:
    """Return a quote as plain members: exact amounts as text, rounded ones in minor units."""
    plan = quoted.plan
    return {
        "plan_id": plan.plan_id,
        "plan_name": plan.name,
        "currency": plan.currency,
        "timezone": quoted.timezone,
        "pays": "balance" if plan.kind == "prepaid" else "invoice",
        "periods": [_period_document(period, plan.currency) for period in quoted.periods],
        "happenings": [{"at": one.at, "text": one.text} for one in quoted.happenings],
        "total_minor": sum(period.total_minor for period in quoted.periods),
    }


def _period_document(period: QuotePeriod, currency: str) -> dict[str, Any]:
    return {
        "start_on": period.start_on,
        "end_on": period.end_on,
        "lines": [
            {
                "description": line.description,
                "meter_id": line.meter_id,
                "unit": line.unit,
                "quantity": line.quantity,
                "steps": [
                    {
                        "text": one.text,
                        "amount": None if one.amount is None else exact_text(one.amount, currency),
                    }
                    for one in line.steps
                ],
                "amount_exact": _exact(line.amount),
                "amount_minor": line.amount_minor,
            }
            for line in period.lines
        ],
        "taxes": [
            {
                "percent": tax.percent,
                "is_inclusive": tax.is_inclusive,
                "net_minor": tax.net_minor,
                "tax_minor": tax.tax_minor,
            }
            for tax in period.taxes
        ],
        "net_minor": period.net_minor,
        "tax_minor": period.tax_minor,
        "total_minor": period.total_minor,
    }


def _exact(amount: Fraction) -> str:
    """Return an exact amount: a decimal where one is exact, else ``numerator/denominator``."""
    try:
        return format_amount(amount)
    except ValueError:
        return encode_exact(amount)
