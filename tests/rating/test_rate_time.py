"""Sessions, minutes and hours in the rate stage: fees per login, increments, time bands."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rating.bands import Band
from rating.curves import Graduated, Increments, Payg, Tier
from rating.periods import Calendar
from rating.records import Usage
from rating.rows import UsageCharge
from tests.rating.rate_scene import GB, Scene, at, meter, newest_charges, plan, started, usage

LOGINS = plan(meter(Payg(Fraction(2)), "logins", unit="sessions"))
NIGHT = Band("night", "00:00", "06:00")


def session(name: str, began: str) -> str:
    return f"nas-1/{name}/{at(began) // 60_000}"


def lines(scene: Scene) -> dict[tuple[int, str], tuple[int, int]]:
    """Quantity and minor units by (period start, meter)."""
    return {
        (line.period_start_at, line.meter_id): (line.quantity, line.amount_minor)
        for line in newest_charges(scene.of(UsageCharge)).values()
    }


def test_a_login_is_charged_once_in_the_period_it_began_in() -> None:
    over_midnight = session("a", "01-31 23:50")
    scene = Scene().feed(started(LOGINS))
    scene.feed(
        usage("01-31 23:50", GB, session=over_midnight),
        usage("01-31 23:59", GB, session=over_midnight),
        usage("02-01 00:01", GB, session=over_midnight),
        usage("02-01 09:00", 0, seconds=30, session=session("b", "02-01 09:00")),
        usage("02-01 10:00", GB, session=session("a", "02-01 10:00")),
        through="03-02",
    )
    assert lines(scene) == {
        (at("01-01"), "logins"): (1, 200),
        (at("02-01"), "logins"): (2, 400),
    }


def test_a_session_that_a_correction_takes_back_costs_nothing() -> None:
    began = session("a", "01-10 10:00")
    scene = Scene().feed(started(LOGINS))
    scene.feed(usage("01-10 10:00", GB, session=began))
    assert scene.charges() == 2
    scene.feed(usage("01-10 10:00", -GB, session=began, received="01-10 11:00"), through="02-02")
    assert scene.charges() == 0
    assert lines(scene) == {(at("01-01"), "logins"): (0, 0)}


def test_logins_may_be_tiered() -> None:
    tiers = Graduated((Tier(2, Fraction(0)), Tier(None, Fraction(5))))
    scene = Scene().feed(started(plan(meter(tiers, "logins", unit="sessions"))))
    days = [f"01-{day:02d} 08:00" for day in range(1, 6)]
    scene.feed(*(usage(day, 1, session=session("x", day)) for day in days), through="02-02")
    assert lines(scene) == {(at("01-01"), "logins"): (5, 1_500)}


def test_each_session_has_its_own_first_increment_and_connect_fee() -> None:
    curve = Increments(30, 6, Fraction("0.60"), 60, connect_fee=Fraction("0.10"))
    sold = plan(meter(curve, "time", unit="seconds", scope="session"))
    scene = Scene().feed(started(sold))
    scene.feed(
        usage("01-02 10:00", seconds=20, session="one"),
        usage("01-02 10:01", seconds=11, session="one"),
        usage("01-02 10:01", seconds=31, session="two"),
        through="02-02",
    )
    assert lines(scene) == {(at("01-01"), "time"): (62, 2 * 46)}


@pytest.mark.parametrize(
    ("zone", "when", "counted"),
    [
        ("UTC", "01-10 05:59", 0),
        ("UTC", "01-10 06:00", GB),
        ("Asia/Dhaka", "01-10 00:30", GB),  # 06:30 in Dhaka
        ("Asia/Dhaka", "01-10 18:30", 0),  # 00:30 of the next day
        ("Asia/Kathmandu", "01-10 00:14", 0),  # 05:59
        ("Asia/Kathmandu", "01-10 00:15", GB),  # 06:00
    ],
)
def test_nights_are_free_by_the_local_clock(zone: str, when: str, counted: int) -> None:
    free = meter(Payg(Fraction(5), GB), band_weights={"night": (0, 1)})
    sold = plan(free, bands=(NIGHT,))
    scene = Scene().feed(started(sold, "01-02", calendar=Calendar(zone)))
    scene.feed(usage(when, GB), through="02-03")
    quantities = [line.quantity for line in newest_charges(scene.of(UsageCharge)).values()]
    assert quantities == [0, counted] or quantities == [counted]


def test_a_band_may_have_a_curve_of_its_own() -> None:
    day = meter(Payg(Fraction(5), GB), "day", band_weights={"night": (0, 1)})
    night = meter(
        Payg(Fraction(1), GB),
        "night",
        band_weights={"night": (1, 1)},
        default_band_weight=(0, 1),
    )
    scene = Scene().feed(started(plan(day, night, bands=(NIGHT,))))
    scene.feed(usage("01-10 03:00", 2 * GB), usage("01-10 13:00", 3 * GB), through="02-02")
    assert lines(scene) == {
        (at("01-01"), "day"): (3 * GB, 1_500),
        (at("01-01"), "night"): (2 * GB, 200),
    }


def test_bands_and_classes_multiply() -> None:
    sold = plan(
        meter(
            Payg(Fraction(1), GB),
            class_weights={"local": (1, 2)},
            band_weights={"night": (1, 3)},
        ),
        bands=(NIGHT,),
    )
    flows: list[Usage] = [
        usage("01-10 03:00", 6 * GB, source="flows", traffic_class="local", session=""),
        usage("01-10 13:00", 6 * GB, source="flows", traffic_class="local", session=""),
    ]
    scene = Scene().feed(started(sold))
    scene.feed(usage("01-10 03:00", 6 * GB), usage("01-10 13:00", 6 * GB), *flows, through="02-02")
    assert lines(scene) == {(at("01-01"), "data"): (4 * GB, 400)}
