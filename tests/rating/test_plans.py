"""Plans: one document, and errors that name the field."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import pytest

from rating.curves import AllowanceOverage
from rating.plans import (
    PlanError,
    decode_plan,
    encode_plan,
    is_class_weighted,
    plan_from,
    whole_weights,
)

DOCUMENT: dict[str, Any] = {
    "plan_id": "home-50",
    "version": 3,
    "name": "Home 50",
    "currency": "BDT",
    "recurring_fee": "812.50",
    "tax_rate": "0.15",
    "meters": [
        {
            "meter_id": "data",
            "class_weights": {"local": [1, 2], "cdn": [0, 1], "night": [1, 3]},
            "curve": {
                "model": "allowance_overage",
                "allowance": 50_000_000_000,
                "unit_price": "5.00",
                "unit": 1_000_000_000,
            },
        }
    ],
    "throttle_steps": [{"meter_id": "data", "at_percent": 100, "profile": "slow-1m"}],
}


def test_a_document_round_trips() -> None:
    plan = plan_from(DOCUMENT)
    assert decode_plan(encode_plan(plan)) == plan
    assert plan.recurring_fee == Fraction(1625, 2)
    assert plan.meters[0].curve == AllowanceOverage(50 * 10**9, Fraction(5), 10**9)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("currency", "XXX", "currency: unknown currency 'XXX'"),
        ("version", 0, "version"),
        ("name", "", "name"),
        ("recurring_fee", "1e3", r"plain decimal.*recurring_fee"),
        ("recurring_fee", "-1", "recurring_fee"),
        ("tax_rate", "15", "tax_rate"),
        ("kind", "free", r"\$.kind"),
        ("measured_by", "snmp", r"\$.measured_by"),
        ("proration", "week", r"\$.proration"),
        ("alert_percents", [0], "alert_percents"),
        ("colour", "red", "colour"),
        ("meters.0.meter_id", "a|b", r"meters\[0\].meter_id"),
        ("meters.0.meter_id", "volume", r"meters\[0\].meter_id"),
        ("meters.0.unit", "bytes", r"\$.meters\[0\].unit"),
        ("meters.0.unit", "seconds", r"meters\[0\].unit"),
        ("meters.0.scope", "week", r"\$.meters\[0\].scope"),
        ("meters.0.class_weights.local", [1, 0], r"meters\[0\].class_weights.local"),
        ("meters.0.curve.model", "magic", r"\$.meters\[0\].curve.model"),
        ("meters.0.curve.unit_price", 5.0, r"\$.meters\[0\].curve.unit_price"),
        ("meters.0.curve.unit", 0, r"unit.*\$.meters\[0\].curve"),
        ("meters.0.curve.alowance", 1, r"alowance.*\$.meters\[0\].curve"),
        ("throttle_steps.0.meter_id", "voice", r"throttle_steps\[0\].meter_id"),
        ("throttle_steps.0.at_octets", 5, r"throttle_steps\[0\]: give either"),
        ("throttle_steps.0.profile", "", r"throttle_steps\[0\].profile"),
    ],
)
def test_a_wrong_field_is_named(path: str, value: object, message: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    node: Any = document
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part) if part.isdigit() else part]
    node[last] = value
    with pytest.raises(PlanError, match=message):
        plan_from(document)


def test_a_percentage_needs_an_allowance() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["meters"][0]["curve"] = {"model": "payg", "unit_price": "1"}
    with pytest.raises(PlanError, match=r"throttle_steps\[0\].at_percent"):
        plan_from(document)


def test_prepaid_refuses_prices_that_fall_and_fees_outside_the_balance() -> None:
    document = copy.deepcopy(DOCUMENT) | {"kind": "prepaid"}
    with pytest.raises(PlanError, match="recurring_fee: a prepaid plan"):
        plan_from(document)
    document["recurring_fee"] = "0"
    assert plan_from(document).kind == "prepaid"
    tiers = [{"up_to": 10, "unit_price": "2"}, {"up_to": None, "unit_price": "1"}]
    document["meters"][0]["curve"] = {"model": "volume", "tiers": tiers}
    document["throttle_steps"] = []
    with pytest.raises(PlanError, match=r"meters\[0\].curve: a prepaid price may not fall"):
        plan_from(document)


def test_meters_are_told_apart_by_their_ids() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["meters"] *= 2
    with pytest.raises(PlanError, match=r"meters\[1\].meter_id: 'data' is repeated"):
        plan_from(document)


def test_weights_are_whole_multiples_of_their_common_denominator() -> None:
    meter = plan_from(DOCUMENT).meters[0]
    assert is_class_weighted(meter)
    denominator, weights, default = whole_weights(meter.class_weights, meter.default_weight)
    assert denominator == 6
    assert {**weights, "other": default} == {"local": 3, "cdn": 0, "night": 2, "other": 6}
