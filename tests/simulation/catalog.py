"""The plans of the simulated ISP, each twice: as the API takes it and as the auditor reads it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tests.simulation.tariffs import Measure, Step, Tariff

MEGABYTE = 1_000_000

TARIFFS: tuple[Tariff, ...] = (
    Tariff(
        "overage",
        (Measure("data", "overage", Fraction("0.731"), MEGABYTE, allowance=900 * MEGABYTE),),
        fee=Fraction("499.95"),
        tax_percent=15,
    ),
    Tariff(
        "graduated",
        (
            Measure(
                "data",
                "graduated",
                steps=(
                    Step(100 * MEGABYTE, Fraction(0), Fraction("10.01")),
                    Step(333_333_333, Fraction("0.40"), Fraction("7.77")),
                    Step(None, Fraction("0.125")),
                ),
            ),
        ),
        fee=Fraction("2500.00"),
        tax_percent=5,
    ),
    Tariff(
        "volume",
        (
            Measure(
                "data",
                "volume",
                steps=(
                    Step(200 * MEGABYTE, Fraction("0.9"), Fraction("1.00")),
                    Step(500 * MEGABYTE, Fraction("0.7"), Fraction("3.00")),
                    Step(None, Fraction("0.5")),
                ),
            ),
        ),
        tax_percent=10,
        is_tax_included=True,
    ),
    Tariff(
        "prepaid",
        (
            Measure("data", "payg", Fraction("0.537"), MEGABYTE),
            Measure("rent", "flat", amount=Fraction("31.00")),
        ),
        tax_percent=15,
        is_prepaid=True,
    ),
    Tariff(
        "fair-use",
        (Measure("data", "flat", amount=Fraction(0), allowance=300 * MEGABYTE),),
        fee=Fraction("700.00"),
        tax_percent=15,
    ),
    Tariff(
        "family",
        (Measure("data", "overage", Fraction("0.3"), MEGABYTE, allowance=2_500 * MEGABYTE),),
        fee=Fraction("1200.00"),
        tax_percent=5,
    ),
    Tariff(
        "two-way",
        (
            Measure("up", "payg", Fraction("1.9"), MEGABYTE, counts="up"),
            Measure("down", "overage", Fraction("0.21"), 10**6, 40 * MEGABYTE, counts="down"),
            Measure("time", "payg", Fraction("0.6"), 60, counts="seconds"),
        ),
        fee=Fraction("99.00"),
        tax_percent=15,
        proration="second",
    ),
    Tariff(
        "by-the-day",
        (
            Measure("day", "overage", Fraction("0.5"), MEGABYTE, 50 * MEGABYTE, per="day"),
            Measure("visit", "overage", Fraction("0.1"), MEGABYTE, 5 * MEGABYTE, per="session"),
        ),
        fee=Fraction("150.00"),
        tax_percent=0,
        proration="none",
    ),
    Tariff(
        "weighted",
        (
            Measure(
                "data",
                "payg",
                Fraction("0.8"),
                MEGABYTE,
                weights={"cdn": (1, 3), "local_exchange": (0, 1)},
            ),
        ),
        fee=Fraction("350.00"),
        tax_percent=15,
    ),
    Tariff(
        "leased",
        (
            Measure("data", "overage", Fraction("0.15"), MEGABYTE, 100 * MEGABYTE),
            Measure("abroad", "payg", Fraction("0.33"), MEGABYTE, weights={"cdn": (0, 1)}),
        ),
        fee=Fraction("9000.00"),
        tax_percent=15,
        by_flows=True,
    ),
)

_UNITS = {"octets": "octets", "up": "octets_up", "down": "octets_down", "seconds": "seconds"}


def document_of(tariff: Tariff, currency: str) -> dict[str, Any]:
    """Return the plan document that the API takes for a tariff."""
    document: dict[str, Any] = {
        "currency": currency,
        "recurring_fee": _decimal(tariff.fee),
        "tax_rate": _decimal(Fraction(tariff.tax_percent, 100)),
        "tax_inclusive": tariff.is_tax_included,
        "proration": tariff.proration,
        "kind": "prepaid" if tariff.is_prepaid else "postpaid",
        "meters": [_meter_of(measure) for measure in tariff.measures],
    }
    if tariff.by_flows:
        document["measured_by"] = "flows"
    if tariff.plan_id == "fair-use":
        document["throttle_steps"] = [
            {"meter_id": "data", "profile": "slow", "at_percent": 100},
        ]
    return document


def _meter_of(measure: Measure) -> dict[str, Any]:
    return {
        "meter_id": measure.name,
        "curve": _curve_of(measure),
        "unit": _UNITS[measure.counts],
        "scope": measure.per,
        "class_weights": {name: list(weight) for name, weight in measure.weights.items()},
    }


def _curve_of(measure: Measure) -> dict[str, Any]:
    price, unit = _decimal(measure.price), measure.unit
    if measure.kind == "flat":
        curve = {"model": "flat", "amount": _decimal(measure.amount)}
        return {**curve, "allowance": measure.allowance} if measure.allowance else curve
    if measure.kind == "payg":
        return {"model": "payg", "unit_price": price, "unit": unit}
    if measure.kind == "overage":
        allowance = measure.allowance
        return {
            "model": "allowance_overage",
            "allowance": allowance,
            "unit_price": price,
            "unit": unit,
        }
    tiers = [
        {
            "up_to": step.up_to,
            "unit_price": _decimal(step.price),
            "flat_fee": _decimal(step.fee),
            "unit": unit,
        }
        for step in measure.steps
    ]
    return {"model": measure.kind, "tiers": tiers}


def _decimal(amount: Fraction) -> str:
    """Return an exact decimal; every price of the catalogue has at most six places."""
    scaled = amount * 10**6
    assert scaled.denominator == 1, f"{amount} has no exact decimal of six places"
    return f"{int(scaled) // 10**6}.{int(scaled) % 10**6:06d}"
