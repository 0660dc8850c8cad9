"""The rate plan: what an ISP sells, as one frozen document.

A plan is JSON at every border (API, `account.events`, the table `plan`) and this record inside.
Amounts are exact decimal strings in major units; quantities are whole base units (octets or
seconds), so ``{"unit_price": "5.00", "unit": 1000000000}`` is five per decimal gigabyte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import msgspec

from rating.bands import Band
from rating.curves import Curve, allowance_of, never_decreases
from rating.money import ZERO, check_currency, format_amount, parse_amount

OCTETS_PER_GIGABYTE = {"decimal": 10**9, "binary": 2**30}
"""What a page and a form of a plan call one GB, by `Plan.octets_unit`."""

VOLUME_METER = "volume"
"""meter_id of the `usage.rated` rows that carry octets and no charge; no plan may use it."""

PERCENT_MAX = {"markup": 1_000, "discount": 100}
"""Most percent of an adjustment, by kind."""

Weight = tuple[int, int]
"""(numerator, denominator): (0, 1) is zero-rated, (1, 2) counts half."""


class PlanError(ValueError):
    """A plan document is not valid; the message names the field and what was expected."""


class Meter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One counted quantity and its price.

    unit says what is counted; class_weights multiplies the octets of a traffic class (others
    count default_weight), band_weights octets and seconds of the plan's time bands (other hours
    count default_band_weight). Sessions are counted where they began. scope says over what the
    curve runs: a day's or a session's quantity is priced by itself and the prices are summed. Only
    period curves are prorated.
    """

    meter_id: str
    curve: Curve
    unit: Literal["octets", "octets_up", "octets_down", "seconds", "sessions"] = "octets"
    name: str = ""
    class_weights: Mapping[str, Weight] = {}
    default_weight: Weight = (1, 1)
    scope: Literal["period", "day", "session"] = "period"
    band_weights: Mapping[str, Weight] = {}
    default_band_weight: Weight = (1, 1)


class ThrottleStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fair use: from at_octets, or at_percent of the meter's allowance, the named profile."""

    meter_id: str
    profile: str
    at_octets: int | None = None
    at_percent: int | None = None


class Adjustment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What several meters cost together in a period: at least or at most an amount, or a part more.

    meters names meters and adjustments that stand before this one, all of them where it is empty.
    minimum and cap take amount, which is prorated; markup (a partner's, roaming) and discount take
    percent.
    """

    adjustment_id: str
    kind: Literal["minimum", "cap", "markup", "discount"]
    amount: Fraction = ZERO
    percent: Fraction = ZERO
    meters: tuple[str, ...] = ()
    name: str = ""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version of a rate plan. See docs/decisions/0201 for what is prorated and how.

    measured_by null means the NAS's default, accounting. tax_rate is a part of one ("0.15");
    tax_code names rates that billing keeps by day and place instead. recurring_fee is invoiced by
    billing; a prepaid plan takes a flat meter instead, so that the fee meets the balance.
    balance_floor is where a prepaid service is blocked. bands are hours that meters may weigh;
    where several hold an hour, the first does.
    """

    plan_id: str
    version: int
    name: str
    currency: str
    kind: Literal["postpaid", "prepaid"] = "postpaid"
    measured_by: Literal["accounting", "flows"] | None = None
    recurring_fee: Fraction = ZERO
    proration: Literal["none", "day", "second"] = "day"
    tax_rate: Fraction = ZERO
    tax_inclusive: bool = False
    tax_code: str = ""
    octets_unit: Literal["decimal", "binary"] = "decimal"
    meters: tuple[Meter, ...] = ()
    throttle_steps: tuple[ThrottleStep, ...] = ()
    alert_percents: tuple[int, ...] = (50, 80, 100)
    speed_profile: str = ""
    balance_floor: Fraction = ZERO
    bands: tuple[Band, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()

    def __post_init__(self) -> None:
        _check_plan(self)


def decode_plan(document: str | bytes) -> Plan:
    """Return the plan of a JSON document; PlanError names the field that is wrong."""
    try:
        return msgspec.json.decode(document, type=Plan, dec_hook=decode_hook)
    except msgspec.DecodeError as error:
        raise PlanError(str(error)) from None


def encode_plan(plan: Plan) -> str:
    """Return the JSON document of a plan; equal plans give equal text."""
    return msgspec.json.encode(plan, enc_hook=encode_hook).decode()


def plan_from(document: Mapping[str, Any]) -> Plan:
    """Return the plan of a document of plain dicts and lists; PlanError as `decode_plan`."""
    try:
        return msgspec.convert(document, type=Plan, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        raise PlanError(str(error)) from None


def decode_hook(kind: type, value: object) -> object:
    """Turn an exact decimal string of a document into a Fraction (msgspec's dec_hook)."""
    if kind is Fraction:
        if not isinstance(value, str):
            raise ValueError(f"expected an exact decimal as a string, got {value!r}")
        return parse_amount(value)
    raise NotImplementedError(kind)


def encode_hook(value: object) -> object:
    """Turn a Fraction into its exact decimal string (msgspec's enc_hook)."""
    if isinstance(value, Fraction):
        return format_amount(value)
    raise NotImplementedError(type(value))


def is_class_weighted(meter: Meter) -> bool:
    """Return whether traffic classes count differently, so that the split must be known."""
    default = Fraction(*meter.default_weight)
    return any(Fraction(*weight) != default for weight in meter.class_weights.values())


class WholeWeights(NamedTuple):
    """Weights as whole multiples of 1 / denominator: of some names, and of all others."""

    denominator: int
    by_name: Mapping[str, int]
    default: int


def whole_weights(weights: Mapping[str, Weight], default: Weight) -> WholeWeights:
    """Return weights over their least common denominator, 1 without fractions."""
    denominator = math.lcm(default[1], *(weight[1] for weight in weights.values()))
    return WholeWeights(
        denominator,
        {name: over * (denominator // under) for name, (over, under) in weights.items()},
        default[0] * (denominator // default[1]),
    )


def names_of(plan: Plan) -> dict[str, str]:
    """Return what the meters and adjustments of a plan are called, by id."""
    names = {meter.meter_id: meter.name or meter.meter_id for meter in plan.meters}
    return names | {one.adjustment_id: one.name or one.adjustment_id for one in plan.adjustments}


def measured_by(plan: Plan) -> str:
    """Return the source that is charged: ``accounting`` or ``flows``."""
    return plan.measured_by or "accounting"


def _check_plan(plan: Plan) -> None:
    check_currency(plan.currency)
    for field in ("plan_id", "name"):
        if not getattr(plan, field):
            raise ValueError(f"{field}: may not be empty")
    if plan.version < 1:
        raise ValueError("version: must be 1 or more")
    if plan.recurring_fee < 0:
        raise ValueError("recurring_fee: may not be negative")
    if not 0 <= plan.tax_rate <= 1:
        raise ValueError("tax_rate: expected a part of one, such as '0.15'")
    if plan.tax_code and plan.tax_rate:
        raise ValueError("tax_code: give either a code or tax_rate")
    if any(not 1 <= percent <= 1000 for percent in plan.alert_percents):
        raise ValueError("alert_percents: expected 1 to 1000 each")
    seen: set[str] = set()
    for number, meter in enumerate(plan.meters):
        _check_meter(plan, meter, f"meters[{number}]")
        _check_bands(plan, meter, f"meters[{number}]")
        if meter.meter_id in seen:
            raise ValueError(f"meters[{number}].meter_id: {meter.meter_id!r} is repeated")
        seen.add(meter.meter_id)
    for number, adjustment in enumerate(plan.adjustments):
        _check_adjustment(adjustment, seen, f"adjustments[{number}]")
        seen.add(adjustment.adjustment_id)
    for number, step in enumerate(plan.throttle_steps):
        _check_step(plan, step, f"throttle_steps[{number}]")
    if plan.kind == "prepaid" and plan.recurring_fee:
        raise ValueError("recurring_fee: a prepaid plan charges its fee by a flat meter")


def _check_meter(plan: Plan, meter: Meter, field: str) -> None:
    if not meter.meter_id or "|" in meter.meter_id or meter.meter_id == VOLUME_METER:
        raise ValueError(f"{field}.meter_id: expected a name without '|', not {VOLUME_METER!r}")
    weights = {**meter.class_weights, "default_weight": meter.default_weight}
    _check_weights(weights, f"{field}.class_weights")
    if meter.unit == "seconds" and (meter.class_weights or measured_by(plan) == "flows"):
        raise ValueError(f"{field}.unit: seconds come from accounting and have no classes")
    if meter.unit == "sessions":
        _check_sessions(plan, meter, field)
    if meter.class_weights and meter.scope == "session":
        raise ValueError(f"{field}.class_weights: flows do not tell one session from another")
    if plan.kind == "prepaid" and not never_decreases(meter.curve):
        raise ValueError(f"{field}.curve: a prepaid price may not fall as usage grows")


def _check_sessions(plan: Plan, meter: Meter, field: str) -> None:
    """A session counts as one, whatever moved in it and whenever: it has no weights."""
    if measured_by(plan) == "flows":
        raise ValueError(f"{field}.unit: sessions come from accounting")
    if meter.scope != "period":
        raise ValueError(f"{field}.scope: sessions are counted over the period")
    weights = (*meter.class_weights.values(), *meter.band_weights.values())
    if weights or meter.default_weight != (1, 1) or meter.default_band_weight != (1, 1):
        raise ValueError(f"{field}: sessions have no weights")


def _check_bands(plan: Plan, meter: Meter, field: str) -> None:
    known = {band.name for band in plan.bands}
    weights = {**meter.band_weights, "default_band_weight": meter.default_band_weight}
    _check_weights(weights, f"{field}.band_weights")
    for name in meter.band_weights:
        if name not in known:
            raise ValueError(f"{field}.band_weights.{name}: no band {name!r} in this plan")


def _check_weights(weights: Mapping[str, Weight], field: str) -> None:
    for name, (numerator, denominator) in weights.items():
        if numerator < 0 or denominator < 1:
            raise ValueError(f"{field}.{name}: expected [0 or more, 1 or more]")


def _check_adjustment(adjustment: Adjustment, before: set[str], field: str) -> None:
    name = adjustment.adjustment_id
    if not name or "|" in name or name == VOLUME_METER:
        raise ValueError(f"{field}.adjustment_id: expected a name without '|', not 'volume'")
    if name in before:
        raise ValueError(f"{field}.adjustment_id: {name!r} is repeated")
    for other in adjustment.meters:
        if other not in before:
            raise ValueError(f"{field}.meters: no meter or earlier adjustment {other!r}")
    if len(set(adjustment.meters)) != len(adjustment.meters):
        raise ValueError(f"{field}.meters: each may be named once")
    if adjustment.kind in ("minimum", "cap"):
        if adjustment.percent or adjustment.amount < 0:
            raise ValueError(f"{field}.amount: expected 0 or more, and no percent")
    elif adjustment.amount or not 0 < adjustment.percent <= PERCENT_MAX[adjustment.kind]:
        most = PERCENT_MAX[adjustment.kind]
        raise ValueError(f"{field}.percent: expected more than 0, at most {most}, and no amount")


def _check_step(plan: Plan, step: ThrottleStep, field: str) -> None:
    meters = {meter.meter_id: meter for meter in plan.meters}
    meter = meters.get(step.meter_id)
    if meter is None:
        raise ValueError(f"{field}.meter_id: no meter {step.meter_id!r} in this plan")
    if meter.scope == "session" or meter.unit == "sessions":
        raise ValueError(f"{field}.meter_id: a session's quantity cannot throttle")
    if not step.profile:
        raise ValueError(f"{field}.profile: may not be empty")
    if (step.at_octets is None) == (step.at_percent is None):
        raise ValueError(f"{field}: give either at_octets or at_percent")
    if step.at_percent is not None and not allowance_of(meter.curve):
        raise ValueError(f"{field}.at_percent: the meter's curve has no allowance")
    if (step.at_octets or step.at_percent or 0) < 1:
        raise ValueError(f"{field}: the threshold must be 1 or more")
