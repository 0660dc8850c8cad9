"""Segments: what a history makes of a period."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Literal

import pytest

from rating.periods import Calendar, period_at
from rating.segments import HistoryEvent, calendar_share, plan_cuts, segments_of, sort_key
from tests.rating.rate_scene import at

JANUARY = period_at(Calendar(), at("01-15") // 60_000)


def happened(when: str, kind: str, plan_ref: str = "") -> HistoryEvent:
    return HistoryEvent(at(when), at(when) - 60_000, f"{when}{kind}", kind, plan_ref)


def test_a_change_cuts_and_an_end_leaves_a_gap() -> None:
    history = [
        happened("01-05", "subscription_started", "a"),
        happened("01-10", "plan_changed", "b"),
        happened("01-12", "suspended"),
        happened("01-20", "subscription_ended"),
        happened("01-25 10:30", "subscription_started", "c"),
        happened("02-10", "pool_joined"),
    ]
    segments = segments_of(plan_cuts(history), JANUARY)
    assert [(s.number, s.start_at, s.end_at, s.plan_ref) for s in segments] == [
        (0, at("01-05"), at("01-10"), "a"),
        (1, at("01-10"), at("01-20"), "b"),
        (2, at("01-25 10:30"), at("02-01"), "c"),
    ]
    february = period_at(Calendar(), at("02-15") // 60_000)
    assert [s.start_at for s in segments_of(plan_cuts(history), february)] == [
        at("02-01"),
        at("02-10"),
    ]


def test_events_of_one_minute_are_one_cut_in_any_arrival_order() -> None:
    events = [
        happened("01-05", "subscription_started", "a"),
        happened("01-10", "pool_joined"),
        happened("01-10", "pool_left"),
        happened("01-10", "plan_changed", "b"),
    ]
    cuts = [plan_cuts(sorted(order, key=sort_key)) for order in itertools.permutations(events)]
    assert all(cut == [(at("01-05"), "a"), (at("01-10"), "b")] for cut in cuts)


def test_a_change_before_any_subscription_means_nothing() -> None:
    assert plan_cuts([happened("01-05", "plan_changed", "a")]) == []


@pytest.mark.parametrize(
    ("proration", "start", "end", "part"),
    [
        ("day", "01-01", "02-01", Fraction(1)),
        ("day", "01-01", "01-11", Fraction(10, 31)),
        ("day", "01-11 14:30", "02-01", Fraction(21, 31)),  # the day of the change is new
        ("day", "01-11 14:30", "01-11 18:00", Fraction(0)),
        ("second", "01-01", "01-11 12:00", Fraction(21, 62)),
        ("none", "01-01", "01-11", Fraction(1)),
    ],
)
def test_the_share_of_a_period(
    proration: Literal["none", "day", "second"], start: str, end: str, part: Fraction
) -> None:
    share = calendar_share(proration, "UTC", JANUARY, at(start), at(end))
    assert share.amount(Fraction(1)) == part
