"""Whole local calendar days, `[start, end)`."""

from __future__ import annotations

import datetime
import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.proration import portion, whole_days
from rating.money import round_half_up
from rating.periods import day_start_at
from tests.billing.world import ZONE, at
from tests.corpus import corpus_path

NOVEMBER = (at("2026-11-01"), at("2026-12-01"))


@pytest.mark.parametrize(
    ("starts", "ends", "mode", "part"),
    [
        (at("2026-01-01"), None, "day", Fraction(1)),
        (at("2026-11-01"), at("2026-12-01"), "day", Fraction(1)),
        (at("2026-11-21"), None, "day", Fraction(10, 30)),
        (at("2026-11-21", 15), None, "day", Fraction(10, 30)),  # the day it starts on counts
        (at("2026-01-01"), at("2026-11-21", 15), "day", Fraction(20, 30)),  # the last does not
        (at("2026-11-21", 9), at("2026-11-21", 15), "day", Fraction(0)),
        (at("2026-12-01"), None, "day", Fraction(0)),
        (at("2026-01-01"), at("2026-11-01"), "day", Fraction(0)),
        (at("2026-11-21"), None, "none", Fraction(1)),
        (at("2026-12-01"), None, "none", Fraction(0)),
        (at("2026-11-16"), None, "second", Fraction(1, 2)),
        (at("2026-11-30", 12), None, "second", Fraction(1, 60)),
    ],
)
def test_part_of_november(starts: int, ends: int | None, mode: str, part: Fraction) -> None:
    assert portion((starts, ends), NOVEMBER, ZONE, mode) == part


@given(st.integers(*NOVEMBER), st.sampled_from(["day", "second"]))
def test_a_plan_change_charges_each_day_once(change_at: int, mode: str) -> None:
    old = portion((0, change_at), NOVEMBER, ZONE, mode)
    new = portion((change_at, None), NOVEMBER, ZONE, mode)
    assert old + new == 1


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="none of none, day, second"):
        portion((0, None), NOVEMBER, ZONE, "week")


def cases(kind: str) -> list[dict[str, Any]]:
    found = json.loads(corpus_path("rating/cases.json").read_text())
    return [case for case in found if case["kind"] == kind]


def utc(day: str) -> int:
    return day_start_at("UTC", datetime.date.fromisoformat(day))


def test_the_public_examples_in_actual_days() -> None:
    compared = 0
    for case in cases("proration.fraction"):
        given = case["inputs"]
        if given["days"] != "actual":
            continue  # fixed months of 30 days are not our rule
        period = (utc(given["period_start"]), utc(given["period_end"]))
        part = portion((utc(given["from"]), utc(given["to"])), period, "UTC", "day")
        digits = round_half_up(part, int(given["scale"]))
        assert f"0.{digits}" == case["expected"]["fraction"]
        compared += 1
    assert compared


def test_a_month_with_a_clock_change_has_31_days() -> None:
    (case,) = cases("calendar.days_local_ceil")
    start, end = (
        int(datetime.datetime.fromisoformat(case["inputs"][name]).timestamp() * 1000)
        for name in ("from", "to")
    )
    days = whole_days(start, end + 1000, case["inputs"]["tz"])  # theirs ends a second early
    assert str(days) == case["expected"]["days"]


def test_twenty_two_of_thirty_one_days_of_fifty() -> None:
    (case,) = cases("proration.days")
    period = (utc("2022-08-01"), utc("2022-09-01"))
    part = portion((utc("2022-08-10"), None), period, "UTC", "day")
    assert part == Fraction(int(case["expected"]["days"]), 31)
    assert f"{round_half_up(50 * part, 2) / 100}" == case["expected"]["amount"]
