"""Thresholds: percentages reached, throttle steps that apply."""

from __future__ import annotations

from fractions import Fraction

from rating.curves import AllowanceOverage, Flat
from rating.engine import pricing_of
from rating.plans import ThrottleStep
from rating.shares import WHOLE, Share
from rating.thresholds import alert_base, alert_thresholds, throttle_bound, throttle_profile
from tests.rating.rate_scene import meter, plan

STEPS = (
    ThrottleStep("data", "slow", at_percent=100),
    ThrottleStep("data", "slower", at_octets=300),
)
SOLD = plan(meter(AllowanceOverage(101, Fraction(1))), throttle_steps=STEPS)


def test_a_percentage_is_reached_with_the_whole_octet_above_it() -> None:
    assert alert_thresholds((100, 50, 50), 101) == ((50, 51), (100, 101))


def test_bounds_shrink_with_the_segment() -> None:
    half = pricing_of(SOLD.meters[0], Share(Fraction(0), Fraction(1, 2)))
    assert [throttle_bound(step, half) for step in STEPS] == [50, 150]
    assert alert_base(SOLD, half) == 50


def test_the_last_step_reached_applies() -> None:
    pricings = {"data": pricing_of(SOLD.meters[0], WHOLE)}
    assert throttle_profile(SOLD, pricings, lambda _: 100) == ""
    assert throttle_profile(SOLD, pricings, lambda _: 101) == "slow"
    assert throttle_profile(SOLD, pricings, lambda _: 300) == "slower"


def test_a_segment_of_no_whole_day_does_not_throttle() -> None:
    nothing = {"data": pricing_of(SOLD.meters[0], Share(Fraction(1), Fraction(1)))}
    assert throttle_profile(SOLD, nothing, lambda _: 10**12) == ""


def test_without_allowance_and_throttle_there_is_nothing_to_measure_against() -> None:
    unlimited = plan(meter(Flat(Fraction(900))))
    assert alert_base(unlimited, pricing_of(unlimited.meters[0], WHOLE)) is None
