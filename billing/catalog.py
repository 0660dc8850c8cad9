"""What billing needs to know of a rate plan: fee, proration, tax, and how usage is settled."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from fractions import Fraction

from billing.taxes import TaxTreatment
from rating.money import format_amount
from rating.plans import OCTETS_PER_GIGABYTE, decode_plan


@dataclasses.dataclass(frozen=True, slots=True)
class MeterTerms:
    """How a meter reads on paper: its name, and the unit that its quantity counts."""

    name: str
    unit: str


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """The billing side of one plan version.

    recurring_fee is exact, in major units of the currency, per period. is_prepaid: usage is
    taken from a balance as it happens, so an invoice shows it and asks nothing for it.
    """

    plan_id: str
    plan_version: int
    name: str
    currency: str
    recurring_fee: Fraction
    proration: str
    tax: TaxTreatment
    is_prepaid: bool
    octets_per_gigabyte: int
    speed_profile: str
    meters: Mapping[str, MeterTerms]


@functools.lru_cache(maxsize=4096)
def terms_of(document: str) -> Terms:
    """Return the billing side of a plan's JSON document. rating.plans.PlanError: not a plan."""
    plan = decode_plan(document)
    return Terms(
        plan_id=plan.plan_id,
        plan_version=plan.version,
        name=plan.name,
        currency=plan.currency,
        recurring_fee=plan.recurring_fee,
        proration=plan.proration,
        tax=TaxTreatment(format_amount(plan.tax_rate * 100), plan.tax_inclusive, plan.tax_code),
        is_prepaid=plan.kind == "prepaid",
        octets_per_gigabyte=OCTETS_PER_GIGABYTE[plan.octets_unit],
        speed_profile=plan.speed_profile,
        meters={m.meter_id: MeterTerms(m.name or m.meter_id, m.unit) for m in plan.meters}
        | {a.adjustment_id: MeterTerms(a.name or a.adjustment_id, "") for a in plan.adjustments},
    )
