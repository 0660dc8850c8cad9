"""What the rate stage answers, told as a clerk would: a month, a subscriber, an invoice line."""

from __future__ import annotations

from fractions import Fraction

import polars as pl
import pytest

from rating.config import RateConfig
from rating.curves import AllowanceOverage, Flat, Payg
from rating.events import PlanChanged, PoolJoined, SubscriptionEnded
from rating.metrics import COUNTERS
from rating.periods import Calendar
from rating.rows import PeriodClosing, UsageCharge, UsageCounter, UsageDay
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

PAYG = meter(Payg(Fraction("1.5"), GB))


def test_octets_above_the_allowance_are_charged_and_the_period_closes_after_the_bound() -> None:
    scene = Scene().feed(started(plan()), usage("01-10 10:00", 62 * GB), through="02-01 01:59")
    assert scene.charges() == 60
    assert not scene.of(UsageCharge)
    scene.feed(through="02-01 02:00")
    (line,) = scene.of(UsageCharge)
    assert (line.revision, line.quantity, line.amount_exact, line.amount_minor) == (
        0,
        62 * GB,
        "60/1",
        6000,
    )
    assert (line.description, line.closed_at) == ("Home: data", at("02-01 02:00"))
    (closing,) = scene.of(PeriodClosing)
    assert (closing.period_start_at, closing.period_end_at) == (at("01-01"), at("02-01"))
    assert closing.is_complete


def test_opening_a_period_posts_the_price_of_zero() -> None:
    scene = Scene().feed(started(plan(meter(Flat(Fraction(500))))), through="01-01")
    assert scene.charges() == 500
    scene.feed(through="02-01")
    assert scene.charges() == 1000
    scene.feed(through="03-01 02:00")
    assert [line.amount_minor for line in scene.of(UsageCharge)] == [50_000, 50_000]
    assert [day.day_on for day in scene.of(UsageDay)][:2] == ["2024-01-01", "2024-02-01"]


def test_the_periods_of_a_silent_subscriber_close_however_far_the_watermark_jumps() -> None:
    scene = Scene().feed(started(plan(), "01-10")).feed(through="06-15")
    assert [row.period_start_at for row in scene.of(PeriodClosing)] == [
        at(f"{month:02d}-01") for month in range(1, 6)
    ]
    assert scene.state.collections["timers"]


def test_a_line_is_rounded_once_and_its_days_sum_to_it() -> None:
    scene = Scene().feed(started(plan(PAYG)), through="01-01")
    for day in range(1, 31):
        scene.feed(usage(f"01-{day:02d} 12:00", GB // 9), through=f"01-{day:02d} 13:00")
    scene.feed(through="02-01 02:00")
    (line,) = scene.of(UsageCharge)
    exact = Fraction("1.5") * (30 * (GB // 9)) / GB
    assert line.amount_exact == f"{exact.numerator}/{exact.denominator}"
    assert line.amount_minor == 500  # 30 pieces of 16.67 would have been 501
    assert set(day_sums(scene.of(UsageDay)).values()) == {500}
    assert {day.amount_minor for day in scene.of(UsageDay)} == {16, 17}


def test_usage_received_before_the_bound_is_on_time_however_late_its_period_ended() -> None:
    scene = Scene().feed(started(plan(PAYG)), through="02-01 01:30")
    scene.feed(usage("01-31 23:59", 2 * GB, received="02-01 01:59"), through="02-01 02:00")
    (line,) = scene.of(UsageCharge)
    assert (line.revision, line.amount_minor) == (0, 300)
    assert not scene.rated["is_late"].any()


def test_late_usage_never_enters_the_first_line_even_when_it_is_processed_before_closing() -> None:
    """A batch may hold rows beyond the watermark; lateness is a property of the row."""
    late = usage("01-31 23:59", 2 * GB, received="02-01 02:00")
    scene = Scene().feed(started(plan(PAYG)), through="01-01")
    scene.feed(usage("01-20 10:00", GB), late, through="02-01 01:30").feed(through="02-01 02:30")
    assert [line.amount_minor for line in scene.of(UsageCharge)] == [150]
    scene.feed(through="02-01 03:00")
    assert [line.amount_minor for line in scene.of(UsageCharge)] == [150, 450]
    assert scene.rated.filter(pl.col("is_late"))["charge"].sum() == 3
    assert set(day_sums(scene.of(UsageDay)).values()) == {450}


def test_late_usage_of_one_hour_is_one_revision() -> None:
    scene = Scene().feed(started(plan(PAYG)), through="02-01 03:00")
    for minute in (10, 20, 50):
        received = f"02-03 04:{minute}"
        scene.feed(usage("01-05 10:00", GB, received=received), through=received)
    assert [line.revision for line in scene.of(UsageCharge)] == [0]
    scene.feed(through="02-03 05:00")
    assert [(line.revision, line.quantity) for line in scene.of(UsageCharge)] == [
        (0, 0),
        (1, 3 * GB),
    ]


def test_late_usage_of_a_day_moves_the_days_after_it_across_the_allowance() -> None:
    scene = Scene().feed(started(plan()), through="01-01")
    scene.feed(usage("01-05 10:00", 40 * GB), usage("01-06 10:00", 12 * GB), through="01-07 02:00")
    scene.feed(usage("01-05 11:00", 4 * GB, received="01-08 10:10"), through="01-08 11:00")
    days = [(d.day_on, d.revision, d.quantity, d.amount_minor) for d in scene.of(UsageDay)]
    assert days == [
        ("2024-01-05", 0, 40 * GB, 0),
        ("2024-01-05", 1, 44 * GB, 0),
        ("2024-01-06", 0, 12 * GB, 1000),
        ("2024-01-06", 1, 12 * GB, 2000),
    ]


def test_a_plan_change_cuts_the_month_and_prorates_both_allowances_in_whole_octets() -> None:
    big = plan(meter(AllowanceOverage(100 * GB, Fraction(2), GB)), plan_id="big")
    scene = Scene().feed(started(plan()), usage("01-05 10:00", 30 * GB), through="01-06")
    assert scene.charges() == 0
    scene.feed(event("change", PlanChanged(big), "01-11"), through="01-11")
    allowance = 50 * GB * 10 // 31
    assert scene.charges() == _wire(Fraction(5 * (30 * GB - allowance), GB))
    scene.feed(usage("01-20 10:00", 80 * GB), through="02-01 02:00")
    first, second = scene.of(UsageCharge)
    assert (first.plan_id, first.segment_number, first.quantity) == ("home", 0, 30 * GB)
    assert first.amount_exact == _exact(Fraction(5 * (30 * GB - allowance), GB))
    rest = 100 * GB - 100 * GB * 10 // 31
    assert (second.plan_id, second.segment_number, second.quantity) == ("big", 1, 80 * GB)
    assert second.amount_exact == _exact(Fraction(2 * (80 * GB - rest), GB))
    sums = day_sums(scene.of(UsageDay))
    lines = newest_charges(scene.of(UsageCharge))
    assert sums == {key: line.amount_minor for key, line in lines.items()}


def test_usage_follows_the_plan_of_its_minute() -> None:
    change = event("change", PlanChanged(plan(PAYG, plan_id="big")), "01-11 10:07")
    scene = Scene().feed(started(plan(PAYG)), change, through="01-11 11:00")
    scene.feed(usage("01-11 10:06", GB), usage("01-11 10:07", 2 * GB))
    quantities = {row.segment_number: row.quantity for row in scene.of(UsageCounter)}
    assert quantities == {0: GB, 1: 2 * GB}


def test_a_pool_is_charged_as_one_and_a_join_opens_a_segment() -> None:
    family = started(plan(), key="pool")
    scene = Scene().feed(family, through="01-01")
    scene.feed(
        usage("01-05 10:00", 30 * GB, key="pool", subscriber="ann"),
        usage("01-05 10:00", 30 * GB, key="pool", subscriber="bob"),
        through="01-05 11:00",
    )
    assert scene.charges() == 50
    by_subscriber = scene.rated.filter(pl.col("meter_id") == "data")
    assert set(by_subscriber["subscriber_id"]) == {"ann", "bob"}
    scene.feed(event("join", PoolJoined("cid"), "01-11", key="pool"), through="02-01 02:00")
    assert [line.segment_number for line in scene.of(UsageCharge)] == [0, 1]


def test_usage_that_nobody_subscribed_to_is_kept_without_a_plan() -> None:
    scene = Scene().feed(
        usage("01-05 10:00", 5, key="stranger"),
        usage("01-05 10:00", 7, key="unattributed:flows", source="flows", session=""),
    )
    assert scene.rated["octets_down"].sum() == 12
    assert set(scene.rated["plan_id"]) == {""}
    assert scene.counters["rate_unsubscribed_rows"] == 1
    assert scene.counters["rate_unattributed_rows"] == 1
    scene.feed(started(plan(PAYG)), usage("01-05 09:00", GB, key="sub-1"))
    assert scene.charges() == Fraction("1.5")


def test_usage_before_the_start_and_after_the_end_is_not_charged() -> None:
    scene = Scene().feed(started(plan(PAYG), "01-10"), through="01-10")
    scene.feed(event("end", SubscriptionEnded(), "01-20"), through="01-20")
    scene.feed(
        usage("01-09 23:59", GB),
        usage("01-10 00:00", GB),
        usage("01-19 23:59", GB),
        usage("01-20 00:00", GB),
        through="02-01 02:00",
    )
    (line,) = scene.of(UsageCharge)
    assert line.quantity == 2 * GB
    assert scene.counters["rate_unsubscribed_rows"] == 2
    assert len(scene.of(PeriodClosing)) == 1
    scene.feed(through="06-01")
    assert len(scene.of(PeriodClosing)) == 1


def test_days_are_the_branch_s_days() -> None:
    calendar = Calendar("Asia/Kathmandu")
    scene = Scene().feed(started(plan(PAYG), calendar=calendar), through="01-01")
    scene.feed(usage("01-05 18:14", GB), usage("01-05 18:15", 2 * GB), through="01-08")
    days = {day.day_on: day.quantity for day in scene.of(UsageDay)}
    assert days == {"2024-01-05": GB, "2024-01-06": 2 * GB}


def test_a_curve_over_the_day_starts_anew_each_day() -> None:
    daily = meter(AllowanceOverage(GB, Fraction(10), GB), scope="day")
    scene = Scene().feed(started(plan(daily)), through="01-01")
    for day in ("01-05", "01-06"):
        scene.feed(usage(f"{day} 10:00", GB), usage(f"{day} 11:00", GB // 2))
    scene.feed(through="02-01 02:00")
    (line,) = scene.of(UsageCharge)
    assert (line.quantity, line.amount_minor) == (3 * GB, 1000)
    assert {day.amount_minor for day in scene.of(UsageDay)} == {500}


def test_a_curve_over_the_session_starts_anew_with_each_session() -> None:
    ticket = meter(AllowanceOverage(3600, Fraction(1), 60), unit="seconds", scope="session")
    scene = Scene().feed(started(plan(ticket)), through="01-01")
    scene.feed(usage("01-05 23:00", seconds=3000, session="a"))
    scene.feed(usage("01-06 00:10", seconds=1200, session="a"))
    scene.feed(usage("01-06 12:00", seconds=3600, session="b"), through="02-01 02:00")
    (line,) = scene.of(UsageCharge)
    assert (line.quantity, line.amount_minor) == (7800, 1000)
    assert {d.day_on: d.amount_minor for d in scene.of(UsageDay)} == {
        "2024-01-05": 0,
        "2024-01-06": 1000,
    }


@pytest.mark.parametrize(
    ("unit", "quantity"), [("octets_up", 3), ("octets_down", 4), ("octets", 7)]
)
def test_a_meter_counts_its_direction(unit: str, quantity: int) -> None:
    scene = Scene().feed(started(plan(meter(Payg(Fraction(1)), unit=unit))), through="01-01")
    scene.feed(usage("01-05 10:00", 4, up=3))
    assert scene.of(UsageCounter)[0].quantity == quantity


def test_a_correction_takes_back_what_it_corrects() -> None:
    scene = Scene().feed(started(plan()), through="01-01")
    scene.feed(usage("01-05 10:00", 60 * GB))
    scene.feed(usage("01-05 10:00", -20 * GB))
    assert scene.of(UsageCounter)[0].quantity == 40 * GB
    assert scene.charges() == 0


def test_a_period_long_closed_takes_no_more_usage_and_its_state_goes() -> None:
    scene = Scene(RateConfig(closed_period_retention_days=10))
    scene.feed(started(plan(PAYG)), usage("01-05 10:00", GB), through="01-05 11:00")
    assert list(scene.state.collections["cells"])
    scene.feed(through="02-20")
    assert not scene.state.collections["cells"]
    assert len(scene.state.collections["meters"]) == 1
    scene.feed(usage("01-05 10:00", GB, received="02-20 10:00"), through="02-21")
    assert scene.counters["rate_expired_rows"] == 1
    assert len(scene.of(UsageCharge)) == 1
    assert scene.rated["octets_down"].sum() == 2 * GB


def test_timers_beyond_the_limit_fire_in_the_next_step() -> None:
    scene = Scene(RateConfig(timers_per_step_limit=2))
    keys = [f"sub-{number}" for number in range(5)]
    scene.feed(*(started(plan(), key=key) for key in keys), through="01-01")
    scene.feed(through="02-01 02:00")
    assert len(scene.of(PeriodClosing)) == 2
    scene.feed().feed()
    assert len(scene.of(PeriodClosing)) == 5


def test_every_counter_is_declared() -> None:
    scene = Scene().feed(started(plan()), usage("01-05 10:00", 60 * GB), through="03-01")
    assert scene.counters.keys() <= COUNTERS.keys()


def test_a_step_without_anything_answers_nothing() -> None:
    scene = Scene().feed(through="01-01")
    assert not scene.state.collections
    assert not scene.rows


def _wire(amount: Fraction) -> Fraction:
    return Fraction(amount.numerator * 10**18 // amount.denominator, 10**18)


def _exact(amount: Fraction) -> str:
    return f"{amount.numerator}/{amount.denominator}"


def test_a_line_without_a_plan_is_seen_once() -> None:
    scene = Scene().feed(
        usage("01-10 10:00", 100, session="s1"),
        usage("01-10 10:00", 90, session="s1", source="flows", traffic_class="cdn"),
        usage("01-10 10:00", 70, session="", source="flows", traffic_class="cdn"),
        through="01-10 11:00",
    )
    seen = scene.rated.group_by("source").agg(pl.col("octets_down").sum())
    assert dict(seen.iter_rows()) == {"accounting": 100, "flows": 70}
