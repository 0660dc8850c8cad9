"""Adjustments in the rate stage: minimum, cap, markup and discount over several meters."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from rating.adjustments import Adjuster, adjusted, adjusters_of
from rating.curves import Payg
from rating.events import PlanChanged, TopUp
from rating.plans import Adjustment, Plan
from rating.rows import Balance, UsageCharge, UsageDay
from rating.shares import WHOLE
from tests.rating.rate_scene import (
    GB,
    Scene,
    at,
    day_sums,
    event,
    meter,
    newest_charges,
    plan,
    started,
    usage,
)

TEN = Fraction(10)


def sold(*adjustments: Adjustment, **fields: Any) -> Plan:
    """2 per GB down, 1 per GB up, adjusted."""
    down = meter(Payg(Fraction(2), GB), "down", unit="octets_down")
    up = meter(Payg(Fraction(1), GB), "up", unit="octets_up")
    return plan(down, up, adjustments=adjustments, **fields)


def lines(scene: Scene) -> dict[str, int]:
    """Minor units by meter or adjustment, of January."""
    newest = newest_charges(scene.of(UsageCharge))
    return {key[3]: line.amount_minor for key, line in newest.items() if key[1] == at("01-01")}


def bill(plan_sold: Plan, down: int, up: int) -> dict[str, int]:
    scene = Scene().feed(started(plan_sold))
    scene.feed(usage("01-10", down, up=up), through="02-02")
    sums = day_sums(scene.of(UsageDay))
    newest = newest_charges(scene.of(UsageCharge))
    assert {key: sums.get(key, 0) for key in newest} == {
        key: line.amount_minor for key, line in newest.items()
    }
    return lines(scene)


@pytest.mark.parametrize(
    ("down", "up", "least"),
    [(0, 0, 1_000), (GB, GB, 700), (5 * GB, 0, 0), (9 * GB, GB, 0)],
)
def test_a_minimum_asks_for_what_is_missing(down: int, up: int, least: int) -> None:
    assert bill(sold(Adjustment("least", "minimum", TEN)), down, up)["least"] == least


@pytest.mark.parametrize(
    ("down", "up", "most"), [(0, 0, 0), (5 * GB, 0, 0), (5 * GB, GB, -100), (50 * GB, 0, -9_000)]
)
def test_a_cap_gives_back_what_is_above(down: int, up: int, most: int) -> None:
    assert bill(sold(Adjustment("most", "cap", TEN)), down, up)["most"] == most


def test_one_may_look_at_some_meters_and_at_adjustments_before_it() -> None:
    answer = bill(
        sold(
            Adjustment("least", "minimum", TEN, meters=("down",)),
            Adjustment("partner", "markup", percent=Fraction(20), meters=("down", "least")),
            Adjustment("loyal", "discount", percent=Fraction(50)),
        ),
        GB,
        4 * GB,
    )
    assert answer == {"down": 200, "up": 400, "least": 800, "partner": 200, "loyal": -800}


def test_at_least_ten_is_never_ten_and_a_cent() -> None:
    """Two meters of 0.335 round to 0.34 each; what is missing is to the sum as printed."""
    third = GB * 335 // 1000
    answer = bill(sold(Adjustment("least", "minimum", TEN)), third // 2, third)
    assert sum(answer.values()) == 1_000


def test_the_minimum_is_prorated_by_the_days_of_each_plan() -> None:
    minimum = sold(Adjustment("least", "minimum", Fraction(31)))
    other = plan(meter(Payg(Fraction(0))), plan_id="other")
    scene = Scene().feed(started(minimum))
    scene.feed(event("change", PlanChanged(other), "01-11"), through="02-02")
    assert lines(scene)["least"] == 1_000
    assert day_sums(scene.of(UsageDay))["sub-1", at("01-01"), 0, "least"] == 1_000


def test_late_usage_moves_an_adjustment_by_a_revision() -> None:
    scene = Scene().feed(started(sold(Adjustment("least", "minimum", TEN))), through="02-02")
    assert lines(scene)["least"] == 1_000
    scene.feed(usage("01-20", GB, received="02-03"), through="02-04")
    assert lines(scene) == {"down": 200, "up": 0, "least": 800}
    assert scene.charges() == 10 + 10  # January, and February's minimum as it opened.


def test_a_cap_holds_on_a_prepaid_balance_at_once() -> None:
    capped = sold(Adjustment("most", "cap", TEN), kind="prepaid")
    scene = Scene().feed(started(capped), event("pay", TopUp(1_500, "BDT"), "01-01"))
    scene.feed(usage("01-02", 4 * GB), usage("01-03", 40 * GB))
    (balance,) = scene.of(Balance)
    assert balance.amount_minor == 500


def test_what_an_adjustment_adds_is_a_function_of_prices() -> None:
    (adjuster,) = adjusters_of(sold(Adjustment("least", "minimum", TEN)), WHOLE)
    assert isinstance(adjuster, Adjuster)
    assert adjusted(adjuster, {"down": Fraction(3), "up": Fraction(2)}) == 5


@pytest.mark.parametrize(
    ("adjustment", "message"),
    [
        (Adjustment("", "cap"), r"adjustments\[0\].adjustment_id: expected a name"),
        (Adjustment("down", "cap"), r"adjustments\[0\].adjustment_id: 'down' is repeated"),
        (Adjustment("a", "cap", meters=("b",)), r"adjustments\[0\].meters: no meter or earlier"),
        (Adjustment("a", "cap", meters=("up", "up")), r"meters: each may be named once"),
        (Adjustment("a", "cap", Fraction(-1)), r"adjustments\[0\].amount: expected 0 or more"),
        (Adjustment("a", "markup"), r"adjustments\[0\].percent: expected more than 0"),
        (Adjustment("a", "discount", percent=Fraction(101)), "at most 100, and no amount"),
    ],
)
def test_a_wrong_adjustment_is_named(adjustment: Adjustment, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sold(adjustment)
