"""Re-rating: what closed usage would have cost had a plan been right, beside what was billed.

Of each counter the quantity is kept, so R(history) is F of it under the corrected curve. A counter
is corrected only where the plan as it was reproduces what was billed, exactly: then its segment,
share and days are known to be understood. What was corrected before counts as billed, so a second
run, or one behind late usage, corrects only what still differs.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from billing.charges import TARIFF_CORRECTION, Charge
from billing.taxes import TaxTreatment
from rating.engine import pricing_of
from rating.money import ZERO, encode_exact, format_amount, to_minor
from rating.periods import Period
from rating.plans import Meter, Plan
from rating.rows import UsageCharge
from rating.segments import calendar_share


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """One meter's closed segment: its newest revision, whose it is, and what was corrected.

    segment is [start, end) in ms, None where no subscription tells it. day_quantities are the
    newest of each local day. corrected_minor is the sum of `corrections` earlier corrections.
    """

    charge: UsageCharge
    branch_id: str
    account_id: str
    subject: str
    timezone: str
    period: Period
    segment: tuple[int, int] | None
    day_quantities: tuple[int, ...]
    corrected_minor: int = 0
    corrections: int = 0

    @property
    def counter(self) -> str:
        """The business key: rating key, period, segment and meter."""
        charge = self.charge
        parts = (charge.rating_key, charge.period_start_at, charge.segment_number, charge.meter_id)
        return "/".join(map(str, parts))


@dataclasses.dataclass(frozen=True, slots=True)
class Correction:
    """What a counter was billed, earlier corrections in it, and what is right (minor units)."""

    counted: Counted
    before_minor: int
    after_minor: int

    @property
    def difference_minor(self) -> int:
        """What is still to be asked for, or (negative) given back."""
        return self.after_minor - self.before_minor


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """A counter that is not corrected, and why."""

    counted: Counted
    reason: str


def check_correction(old: Plan, new: Plan) -> None:
    """Raise ValueError, naming the field, where more than prices differ.

    Quantities were counted by the old plan's meters, and a fee is no usage: what changes those is
    a plan change. Prepaid usage was taken from a balance, which is rate's own.
    """
    if old.kind == "prepaid":
        raise ValueError("kind: expected postpaid; prepaid usage was taken from a balance")
    for field in ("kind", "currency", "proration", "recurring_fee", "measured_by", "bands",
                  "tax_rate", "tax_inclusive", "tax_code"):  # fmt: skip
        was, said = getattr(old, field), getattr(new, field)
        if was != said:
            expected, got = _shown(was), _shown(said)
            raise ValueError(f"{field}: expected {expected} as in version {old.version}, got {got}")
    if [m.meter_id for m in old.meters] != [m.meter_id for m in new.meters]:
        names = ", ".join(meter.meter_id for meter in old.meters)
        raise ValueError(f"meters: expected the same, {names}")
    for number, (was, said) in enumerate(zip(old.meters, new.meters, strict=True)):
        if msgspec.structs.replace(said, curve=was.curve, name=was.name) != was:
            raise ValueError(f"meters[{number}]: expected the same but for curve and name")


def _shown(value: object) -> str:
    return format_amount(value) if isinstance(value, Fraction) else repr(value)


def correct(counted: Counted, old: Plan, new: Plan) -> Correction | LeftOut:
    """Return what a counter of the old plan should have cost by the new one, or why not."""
    if counted.segment is None:
        return LeftOut(counted, "no subscription says when its segment began and ended")
    before = _amount(counted, old)
    if before is None:
        return LeftOut(counted, "it is priced per session, whose quantities are not kept")
    if encode_exact(before) != counted.charge.amount_exact:
        return LeftOut(counted, "the plan does not reproduce what was billed")
    after = _amount(counted, new)
    assert after is not None
    currency = counted.charge.currency
    billed_minor = counted.charge.amount_minor + counted.corrected_minor
    return Correction(counted, billed_minor, to_minor(after, currency))


def _amount(counted: Counted, plan: Plan) -> Fraction | None:
    """Return a counter's price under a plan; None for a meter of sessions."""
    meter = _meter(plan, counted.charge.meter_id)
    if meter.scope == "session":
        return None
    assert counted.segment is not None
    share = calendar_share(plan.proration, counted.timezone, counted.period, *counted.segment)
    pricing = pricing_of(meter, share)
    if meter.scope == "period":
        return pricing.price_of(counted.charge.quantity)
    return sum((pricing.price_of(q) for q in counted.day_quantities if q), ZERO)


def _meter(plan: Plan, meter_id: str) -> Meter:
    return next(meter for meter in plan.meters if meter.meter_id == meter_id)


def correction_charges(
    corrections: Sequence[Correction], name: str, tax: TaxTreatment, due_at: int
) -> list[Charge]:
    """Return what puts corrections on their accounts' next invoices; none for no difference.

    name is the plan's, as printed. The id says which correction of which counter it is, so two
    runs at once are one.
    """
    return [
        Charge(
            charge_id=f"{TARIFF_CORRECTION}/{item.counted.counter}/{item.counted.corrections + 1}",
            branch_id=item.counted.branch_id,
            account_id=item.counted.account_id,
            kind=TARIFF_CORRECTION,
            description=_description(item, name),
            amount_minor=item.difference_minor,
            currency=item.counted.charge.currency,
            due_at=due_at,
            subject=item.counted.subject,
            product_id=item.counted.charge.plan_id,
            service_id=item.counted.counter,
            tax_percent=tax.percent,
            tax_inclusive=tax.is_inclusive,
            tax_code=tax.code,
            covers_from_at=item.counted.charge.period_start_at,
            covers_until_at=item.counted.charge.period_end_at,
        )
        for item in corrections
        if item.difference_minor
    ]


def _description(item: Correction, name: str) -> str:
    period = item.counted.period
    last_on = period.end_on - datetime.timedelta(days=1)
    return f"Tariff correction {period.start_on} to {last_on}: {name}"
