"""Alerts, throttles, balances and suspensions: what the rate stage decides in time."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from rating.curves import AllowanceOverage, Flat, Payg
from rating.events import (
    PlanChanged,
    PoolJoined,
    Resumed,
    SubscriptionEnded,
    SubscriptionStarted,
    Suspended,
    TopUp,
)
from rating.periods import Calendar
from rating.plans import Plan, ThrottleStep
from rating.records import AccountEvent
from rating.rows import AccountEventResult, Alert, Balance, DesiredService
from tests.rating.rate_scene import GB, KEY, Scene, at, event, meter, plan, started, usage

SLOW = (
    ThrottleStep("data", "slow-5m", at_percent=100),
    ThrottleStep("data", "slow-1m", at_octets=80 * GB),
)
PREPAID = plan(meter(Payg(Fraction(1), GB)), kind="prepaid")


def target(scene: Scene) -> str:
    (service,) = scene.of(DesiredService)
    return str(service.target)


def percents(scene: Scene) -> list[int]:
    return [alert.percent for alert in scene.of(Alert)]


def test_each_percentage_of_the_allowance_is_told_once_a_period() -> None:
    scene = Scene().feed(started(plan()), through="01-01")
    scene.feed(usage("01-05 10:00", 25 * GB - 1))
    assert percents(scene) == []
    scene.feed(usage("01-05 10:01", 1))
    (alert,) = scene.of(Alert)
    assert (alert.percent, alert.quantity, alert.threshold) == (50, 25 * GB, 25 * GB)
    assert alert.raised_at == at("01-05 10:02")
    scene.feed(usage("01-06 10:00", 40 * GB))
    assert sorted(percents(scene)) == [50, 80, 100]
    scene.feed(usage("01-06 10:00", -60 * GB)).feed(usage("01-07 10:00", 60 * GB))
    assert scene.counters["rate_alerts"] == 3
    scene.feed(usage("02-05 10:00", 60 * GB), through="02-05 11:00")
    assert scene.counters["rate_alerts"] == 6


def test_a_meter_without_allowance_is_measured_against_its_first_throttle() -> None:
    steps = (ThrottleStep("data", "slow", at_octets=10 * GB),)
    unlimited = plan(meter(Flat(Fraction(900))), throttle_steps=steps)
    scene = Scene().feed(started(unlimited), usage("01-05 10:00", 8 * GB), through="01-05")
    assert sorted(percents(scene)) == [50, 80]


def test_fair_use_throttles_in_steps_and_ends_with_the_period() -> None:
    scene = Scene().feed(started(plan(throttle_steps=SLOW)), through="01-01")
    assert target(scene) == "active"
    scene.feed(usage("01-05 10:00", 50 * GB), through="01-05 10:02")
    assert target(scene) == "profile:slow-5m"
    scene.feed(usage("01-06 10:00", 30 * GB), through="01-06 10:02")
    assert target(scene) == "profile:slow-1m"
    scene.feed(through="01-31 23:59")
    assert target(scene) == "profile:slow-1m"
    scene.feed(through="02-01")
    assert target(scene) == "active"


def test_a_correction_takes_back_the_throttle_it_caused() -> None:
    scene = Scene().feed(started(plan(throttle_steps=SLOW)), through="01-05 10:00")
    scene.feed(usage("01-05 10:00", 50 * GB))
    scene.feed(usage("01-05 10:00", -GB))
    assert target(scene) == "active"


def test_a_daily_limit_throttles_until_local_midnight() -> None:
    steps = (ThrottleStep("data", "slow", at_octets=2 * GB),)
    daily = plan(meter(Flat(Fraction(0)), scope="day"), throttle_steps=steps)
    calendar = Calendar("Asia/Dhaka")
    scene = Scene().feed(started(daily, calendar=calendar), through="01-01")
    scene.feed(usage("01-05 10:00", 2 * GB), through="01-05 10:02")
    assert target(scene) == "profile:slow"
    scene.feed(through="01-05 17:59")
    assert target(scene) == "profile:slow"
    scene.feed(through="01-05 18:00")  # midnight in Dhaka
    assert target(scene) == "active"
    assert sorted(percents(scene)) == [50, 80, 100]
    scene.feed(usage("01-06 10:00", 2 * GB), through="01-06 10:02")
    assert scene.counters["rate_alerts"] == 6


def test_a_better_plan_ends_the_throttle() -> None:
    big = plan(meter(AllowanceOverage(500 * GB, Fraction(5), GB)), plan_id="big")
    scene = Scene().feed(started(plan(throttle_steps=SLOW)), through="01-05 10:00")
    scene.feed(usage("01-05 10:00", 60 * GB), through="01-05 10:05")
    scene.feed(event("up", PlanChanged(big), "01-05 10:10"), through="01-05 10:09")
    assert target(scene).startswith("profile:")
    scene.feed(through="01-05 10:10")
    assert target(scene) == "active"
    assert scene.of(DesiredService)[0].reason == "plan big version 1"


def test_a_prepaid_service_lives_on_its_balance() -> None:
    scene = Scene().feed(started(PREPAID), through="01-01 00:01")
    assert target(scene) == "blocked"
    assert percents(scene) == []
    paid = event("pay-1", TopUp(1000, "BDT"), "01-02 10:01", received="01-02 10:00")
    scene.feed(paid, through="01-02 10:00")
    assert target(scene) == "active"  # at once, not at the next whole minute
    scene.feed(usage("01-03 10:00", 4 * GB))
    (balance,) = scene.of(Balance)
    assert (balance.amount_exact, balance.amount_minor) == ("6/1", 600)
    scene.feed(usage("01-04 10:00", 6 * GB))
    assert target(scene) == "blocked"
    assert percents(scene) == [0]
    scene.feed(event("pay-2", TopUp(500, "BDT"), "01-05 10:00"), through="01-05 10:00")
    assert target(scene) == "active"
    scene.feed(usage("01-06 10:00", 5 * GB), through="01-06 10:02")
    assert percents(scene) == [0, 0]
    effects = sum(Fraction(effect) for effect in scene.rated["balance_effect"].to_list())
    assert effects == -15


def test_a_prepaid_fee_is_a_flat_meter_that_meets_the_balance_each_period() -> None:
    monthly = plan(meter(Flat(Fraction(300))), kind="prepaid")
    scene = Scene().feed(event("pay", TopUp(70_000, "BDT"), "01-01"), through="01-01")
    scene.feed(started(monthly), through="01-01 00:01")
    assert scene.of(Balance)[0].amount_minor == 40_000
    scene.feed(through="02-01")
    assert (scene.of(Balance)[0].amount_minor, target(scene)) == (10_000, "active")
    scene.feed(through="03-01")
    assert (scene.of(Balance)[0].amount_minor, target(scene)) == (-20_000, "blocked")


def test_a_balance_may_have_another_floor() -> None:
    lenient = plan(meter(Payg(Fraction(1), GB)), kind="prepaid", balance_floor=Fraction(-5))
    scene = Scene().feed(started(lenient), through="01-01")
    assert target(scene) == "active"
    scene.feed(usage("01-03 10:00", 5 * GB))
    assert target(scene) == "blocked"


def test_a_suspension_blocks_and_still_counts_until_it_ends() -> None:
    scene = Scene().feed(started(plan(throttle_steps=SLOW)), through="01-05")
    scene.feed(event("s", Suspended("dunning"), "01-06"), through="01-05 23:59")
    assert target(scene) == "active"
    scene.feed(through="01-06")
    assert target(scene) == "blocked"
    scene.feed(usage("01-06 10:00", 60 * GB))
    resumed = event("r", Resumed(), "01-07 10:01", received="01-07 10:00:20")
    scene.feed(resumed, through="01-07 10:00:21")
    assert target(scene) == "profile:slow-5m"


def test_the_end_of_a_subscription_blocks() -> None:
    scene = Scene().feed(started(plan()), through="01-05")
    scene.feed(event("e", SubscriptionEnded(), "01-06"), through="01-06")
    assert (target(scene), scene.of(DesiredService)[0].reason) == ("blocked", "subscription ended")
    again = event("again", SubscriptionStarted(plan(), Calendar()), "01-08")
    scene.feed(again, through="01-08")
    assert target(scene) == "active"


def test_a_repeated_event_has_no_second_effect() -> None:
    paid = event("pay", TopUp(1000, "BDT"), "01-02")
    scene = Scene().feed(started(PREPAID), paid, paid, through="01-02").feed(paid)
    assert scene.of(Balance)[0].amount_minor == 1000
    results = {row.event_id: (row.outcome, row.reason) for row in scene.of(AccountEventResult)}
    assert results["pay"] == ("duplicate", "answered before: applied")
    assert scene.counters["rate_events_duplicate"] == 2


YEN = Plan("y", 1, "Y", "JPY")


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (event("x", PlanChanged(plan()), "01-10", key="nobody"), "no subscription"),
        (event("x", Suspended(), "01-10", key="nobody"), "no subscription"),
        (started(plan(), "01-10"), "already subscribed"),
        (event("x", PlanChanged(YEN), "01-10"), "currency: a rating key keeps its first"),
        (event("x", TopUp(5, "BDT"), "01-10"), "postpaid"),
        (event("x", PlanChanged(plan()), "01-01"), "already opened"),
        (event("x", PoolJoined("s"), "01-02"), "a later segment has already opened"),
        (AccountEvent("x", KEY, "refund", "{}", 0, 0), "kind: expected one of"),
        (AccountEvent("x", KEY, "plan_changed", "{}", 0, 0), "plan_changed: .*plan"),
        (AccountEvent("x", KEY, "resumed", "{}", 61_000, 0), "effective_at: expected a whole"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_what_cannot_be_applied_is_refused_with_a_reason(
    refused: AccountEvent, reason: str
) -> None:
    scene = Scene().feed(started(plan()), through="01-05")
    scene.feed(event("change", PoolJoined("a"), "01-04"), through="01-05")
    if refused.event_id.startswith("start"):
        refused = event("x", SubscriptionStarted(plan(), Calendar()), "01-10")
    before = scene.state.get("keys", KEY)
    scene.feed(refused, through="01-05")
    (answer,) = [row for row in scene.of(AccountEventResult) if row.event_id == "x"]
    assert answer.outcome == "refused"
    assert re.search(reason, answer.reason), answer.reason
    assert scene.state.get("keys", KEY) == before


def test_a_rating_key_keeps_its_calendar() -> None:
    scene = Scene().feed(started(plan()), through="01-05")
    scene.feed(event("e", SubscriptionEnded(), "01-06"), through="01-06")
    other = SubscriptionStarted(plan(), Calendar("Asia/Dhaka"))
    scene.feed(event("again", other, "01-08"))
    results = {row.event_id: row.reason for row in scene.of(AccountEventResult)}
    assert results["again"] == "calendar: a rating key keeps its first calendar"
