"""Every price model's steps read well and add up to the price that rating charged."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.explanation import Part, exact_text, explain_price
from rating.curves import price, scaled
from rating.plans import Plan, plan_from
from rating.shares import Share

MB, GB = 10**6, 10**9
WHOLE_PERIOD = Part()
ONE_DAY = Part(Share(Fraction(29, 30), Fraction(1)), 1, 30)

TIERS: list[dict[str, Any]] = [
    {"up_to": 10 * GB, "unit_price": "0"},
    {"up_to": 50 * GB, "unit_price": "3", "unit": GB, "flat_fee": "20"},
    {"up_to": None, "unit_price": "2", "unit": GB, "increment": GB},
]
CURVES: dict[str, dict[str, Any]] = {
    "allowance_overage": {"allowance": 60 * MB, "unit_price": "4", "unit": 10 * MB},
    "flat": {"amount": "300"},
    "payg": {"unit_price": "0.50", "unit": MB},
    "graduated": {"tiers": TIERS},
    "volume": {"tiers": TIERS},
    "package": {"size": 10 * GB, "package_price": "50", "free": GB},
    "percentage": {"percent": "2.5", "free": 100, "unit": 100},
    "capped": {"cap": "30", "curve": {"model": "payg", "unit_price": "1", "unit": MB}},
    "minimum": {"minimum": "30", "curve": {"model": "payg", "unit_price": "1", "unit": MB}},
}


def plan_of(model: str, **meter: Any) -> Plan:
    curve = {"model": model, **CURVES[model]}
    meters = [{"meter_id": "data", "curve": curve, **meter}]
    head = {"plan_id": "p", "version": 1, "name": "P", "currency": "BDT"}
    return plan_from({**head, "meters": meters})


def told(model: str, quantity: int, part: Part = WHOLE_PERIOD, **meter: Any) -> list[str]:
    """Return the steps as a clerk reads them: words, and the amount where there is one."""
    plan = plan_of(model, **meter)
    curve = scaled(plan.meters[0].curve, part.share)
    steps = explain_price(plan, plan.meters[0], part, quantity, price(curve, quantity))
    return [
        step.text + ("" if step.amount is None else f" = {exact_text(step.amount, 'BDT')}")
        for step in steps
    ]


def test_an_allowance_of_one_day() -> None:
    assert told("allowance_overage", 60 * MB, ONE_DAY) == [
        "60 MB used",
        "2 MB included (1 of 30 days of 60 MB)",
        "58 MB × 4.00 per 10 MB = 23.20",
    ]


def test_usage_within_the_allowance() -> None:
    assert told("allowance_overage", 12_345_678)[1:] == [
        "60 MB included",
        "nothing above it = 0.00",
    ]
    assert told("allowance_overage", 12_345_678)[0] == "12.34 MB (12,345,678 octets) used"


@pytest.mark.parametrize(
    ("model", "quantity", "steps"),
    [
        ("flat", 5 * GB, ["flat price = 300.00"]),
        ("payg", 3 * MB, ["3 MB × 0.50 per MB = 1.50"]),
        (
            "graduated",
            60 * GB + MB,
            [
                "first 10 GB included, tier to 10 GB = 0.00",
                "entering the tier = 20.00",
                "next 40 GB × 3.00 per GB, tier to 50 GB = 120.00",
                "next 10 GB, per started GB 11 GB, × 2.00 per GB = 22.00",
            ],
        ),
        (
            "volume",
            20 * GB,
            [
                "the tier's fee = 20.00",
                "20 GB × 3.00 per GB, the price for all of it up to 50 GB = 60.00",
            ],
        ),
        (
            "package",
            12 * GB,
            ["1 GB included", "11 GB is 2 started packages of 10 GB × 50.00 = 100.00"],
        ),
        ("percentage", 10_100, ["100 B included", "2.50 % of 10,000 / 100 = 2.50"]),
        ("capped", 40 * MB, ["40 MB × 1.00 per MB = 40.00", "at most 30.00 = −10.00"]),
        ("minimum", 5 * MB, ["5 MB × 1.00 per MB = 5.00", "at least 30.00 = 25.00"]),
    ],
)
def test_each_model(model: str, quantity: int, steps: list[str]) -> None:
    assert told(model, quantity)[1:] == steps


def test_a_part_of_the_period_in_fees_and_limits() -> None:
    assert told("flat", GB, ONE_DAY)[1:] == ["flat price (1 of 30 days of 300.00) = 10.00"]
    assert told("minimum", 0, ONE_DAY)[-1] == "at least 1.00 (1 of 30 days of 30.00) = 1.00"
    by_second = Part(Share(Fraction(0), Fraction(1, 7)), 4, 30)
    assert told("flat", GB, by_second)[1].startswith("flat price (14.29 % of the period of 300.00)")


def test_classes_that_count_otherwise_are_named() -> None:
    weights = {"cdn": [0, 1], "bdix": [1, 2], "international": [1, 1]}
    assert told("payg", MB, class_weights=weights)[1] == (
        "of which count: bdix half, cdn not at all, everything else in full"
    )


def test_days_priced_by_themselves_are_one_step() -> None:
    plan = plan_of("payg", scope="day")
    steps = explain_price(plan, plan.meters[0], WHOLE_PERIOD, MB, Fraction("12.5"))
    assert [(step.text, step.amount) for step in steps] == [
        ("1 MB used", None),
        ("each day is priced by itself; together", Fraction("12.5")),
    ]


def test_steps_that_do_not_lead_to_the_price_are_not_shown() -> None:
    plan = plan_of("payg")
    steps = explain_price(plan, plan.meters[0], WHOLE_PERIOD, MB, Fraction(7))
    assert [step.text for step in steps] == ["1 MB used", "as rating priced it"]


@given(
    st.sampled_from(sorted(CURVES)),
    st.integers(0, 200 * GB),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_the_steps_add_up_to_the_price(model: str, quantity: int, one: int, other: int) -> None:
    first, last = sorted((one, other))
    if first == last:
        first, last = 0, 30
    share = Share(Fraction(first, 30), Fraction(last, 30))
    plan = plan_of(model)
    amount = price(scaled(plan.meters[0].curve, share), quantity)
    steps = explain_price(plan, plan.meters[0], Part(share, last - first, 30), quantity, amount)
    assert sum(step.amount or 0 for step in steps) == amount
    assert all(step.text != "as rating priced it" for step in steps)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Fraction("23.2"), "23.20"),
        (Fraction("1234.005"), "1,234.005"),
        (Fraction(1, 3), "0.333333…"),
        (Fraction("-0.5"), "−0.50"),
        (Fraction(0), "0.00"),
    ],
)
def test_exact_amounts(amount: Fraction, text: str) -> None:
    assert exact_text(amount, "BDT") == text
