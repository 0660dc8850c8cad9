"""The billing calendar: anchors, time zones, clock changes."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.periods import (
    Calendar,
    cell_of,
    day_end_at,
    day_start_at,
    local_day,
    next_period,
    period_at,
    period_of_day,
)

DATE = datetime.date


def minute(text: str) -> int:
    """Whole minutes since 1970 of an ISO instant in UTC."""
    return int(datetime.datetime.fromisoformat(text + "+00:00").timestamp()) // 60


@pytest.mark.parametrize(
    ("cycle", "anchor_day", "anchor_month", "day", "start_on", "end_on"),
    [
        ("daily", 1, 1, "2024-02-29", "2024-02-29", "2024-03-01"),
        ("weekly", 1, 1, "2024-02-29", "2024-02-26", "2024-03-04"),
        ("weekly", 5, 1, "2024-02-29", "2024-02-23", "2024-03-01"),
        ("monthly", 1, 1, "2024-02-29", "2024-02-01", "2024-03-01"),
        ("monthly", 15, 1, "2024-01-03", "2023-12-15", "2024-01-15"),
        ("monthly", 31, 1, "2024-02-28", "2024-01-31", "2024-02-29"),
        ("monthly", 31, 1, "2024-02-29", "2024-02-29", "2024-03-31"),
        ("quarterly", 30, 2, "2024-02-10", "2023-11-30", "2024-02-29"),
        ("quarterly", 30, 2, "2024-02-29", "2024-02-29", "2024-05-30"),
        ("yearly", 29, 2, "2025-02-28", "2025-02-28", "2026-02-28"),
        ("yearly", 29, 2, "2024-02-28", "2023-02-28", "2024-02-29"),
    ],
)
def test_the_period_of_a_day(
    cycle: str, anchor_day: int, anchor_month: int, day: str, start_on: str, end_on: str
) -> None:
    calendar = Calendar("UTC", cycle, anchor_day, anchor_month)  # type: ignore[arg-type]
    period = period_of_day(calendar, DATE.fromisoformat(day))
    assert (str(period.start_on), str(period.end_on)) == (start_on, end_on)


def test_a_month_with_a_clock_change_is_an_hour_short_but_whole_in_days() -> None:
    period = period_at(Calendar("Europe/Paris"), minute("2023-03-15T00:00"))
    assert period.days == 31
    assert period.end_at - period.start_at == (31 * 24 - 1) * 3_600_000


def test_kathmandu_days_begin_on_a_quarter_hour() -> None:
    start = day_start_at("Asia/Kathmandu", DATE(2024, 1, 1))
    assert start // 60_000 == minute("2023-12-31T18:15")
    assert local_day("Asia/Kathmandu", minute("2023-12-31T18:14")) == DATE(2023, 12, 31)
    assert local_day("Asia/Kathmandu", minute("2023-12-31T18:15")) == DATE(2024, 1, 1)


@pytest.mark.parametrize(
    ("timezone", "day"),
    [
        ("America/Sao_Paulo", "2018-11-04"),  # midnight is skipped
        ("Asia/Beirut", "2022-03-27"),  # midnight is skipped
        ("America/Havana", "2022-11-06"),  # midnight happens twice
        ("Pacific/Apia", "2011-12-29"),  # the next day does not exist
        ("Atlantic/Azores", "2022-10-30"),
    ],
)
def test_the_minutes_of_a_day_are_exactly_those_between_its_ends(timezone: str, day: str) -> None:
    date = DATE.fromisoformat(day)
    first = day_start_at(timezone, date) // 60_000
    last = day_end_at(timezone, date) // 60_000 - 1
    assert local_day(timezone, first) == local_day(timezone, last) == date
    assert local_day(timezone, first - 1) < date < local_day(timezone, last + 1)


@given(
    st.sampled_from(["daily", "weekly", "monthly", "quarterly", "yearly"]),
    st.integers(1, 7),
    st.integers(1, 12),
    st.sampled_from(["UTC", "Asia/Dhaka", "America/Santiago", "Australia/Lord_Howe"]),
    st.integers(20_000_000, 35_000_000),
)
def test_periods_follow_each_other_without_gap(
    cycle: str, anchor_day: int, anchor_month: int, timezone: str, at: int
) -> None:
    calendar = Calendar(timezone, cycle, anchor_day, anchor_month)  # type: ignore[arg-type]
    period = period_at(calendar, at)
    assert period.start_at <= at * 60_000 < period.end_at
    following = next_period(calendar, period)
    assert following.start_at == period.end_at
    assert period_at(calendar, period.end_at // 60_000) == following
    assert period_at(calendar, period.end_at // 60_000 - 1) == period


def test_a_cell_is_a_quarter_of_an_hour() -> None:
    assert cell_of(minute("2024-01-01T00:15")) == cell_of(minute("2024-01-01T00:29"))
    assert cell_of(minute("2024-01-01T00:14")) + 1 == cell_of(minute("2024-01-01T00:15"))


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(ValueError, match="timezone"):
        Calendar("Asia/Dacca_City")
    with pytest.raises(ValueError, match="anchor_day: expected 1 to 7"):
        Calendar(cycle="weekly", anchor_day=8)
