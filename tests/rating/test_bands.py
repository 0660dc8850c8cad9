"""Time bands: local hours of the week, over midnight and over clock changes."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest

from rating.bands import WEEKDAYS, Band, band_at, week_of

NIGHT = Band("night", "22:00", "06:00")
WEEKEND = Band("weekend", days=("sat", "sun"))
FRIDAY_NIGHT = Band("party", "22:00", "04:00", ("fri",))


def band(bands: tuple[Band, ...], zone: str, local: str, fold: int = 0) -> str:
    moment = datetime.datetime.fromisoformat(local).replace(tzinfo=zoneinfo.ZoneInfo(zone))
    cell = int(moment.replace(fold=fold).timestamp()) // 900
    return band_at(week_of(bands), zone, cell)


@pytest.mark.parametrize(
    ("zone", "local", "expected"),
    [
        ("Asia/Dhaka", "2026-11-04T21:45", ""),
        ("Asia/Dhaka", "2026-11-04T22:00", "night"),
        ("Asia/Dhaka", "2026-11-05T05:45", "night"),
        ("Asia/Dhaka", "2026-11-05T06:00", ""),
        ("Asia/Kathmandu", "2026-11-05T05:45", "night"),
        ("Asia/Kathmandu", "2026-11-05T06:00", ""),
        ("Asia/Dhaka", "2026-11-07T00:00", "weekend"),
        ("Asia/Dhaka", "2026-11-08T23:45", "weekend"),
        ("Asia/Dhaka", "2026-11-09T00:00", "night"),
    ],
)
def test_hours_are_local_and_the_first_band_holds(zone: str, local: str, expected: str) -> None:
    assert band((WEEKEND, NIGHT), zone, local) == expected


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2026-11-06T03:45", ""),
        ("2026-11-06T22:00", "party"),
        ("2026-11-07T03:45", "party"),
        ("2026-11-07T04:00", ""),
        ("2026-11-07T22:00", ""),
    ],
)
def test_after_midnight_a_band_is_of_the_day_it_began_on(local: str, expected: str) -> None:
    assert band((FRIDAY_NIGHT,), "UTC", local) == expected


def test_an_hour_lived_twice_is_in_its_band_twice() -> None:
    early = Band("early", "02:00", "03:00")
    for fold in (0, 1):
        assert band((early,), "Europe/Berlin", "2026-10-25T02:30", fold) == "early"
    begins = datetime.datetime(2026, 3, 29, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    first = int(begins.timestamp()) // 900
    week = week_of((early,))
    assert "early" not in {band_at(week, "Europe/Berlin", first + n) for n in range(23 * 4)}


def test_a_band_of_sunday_night_goes_on_into_monday() -> None:
    late = Band("late", "23:00", "01:00", ("sun",))
    assert band((late,), "UTC", "2026-11-09T00:45") == "late"
    assert week_of((late,)).count("late") == 8


def test_equal_times_are_a_whole_day() -> None:
    assert week_of((Band("all", "08:00", "08:00"),)).count("all") == 7 * 96
    assert len(WEEKDAYS) == 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name"),
        ({"start": "7:00"}, "start: expected a quarter"),
        ({"end": "06:10"}, "end: expected a quarter"),
        ({"end": "24:15"}, "end: expected a quarter"),
        ({"days": ()}, "days: expected at least one"),
    ],
)
def test_a_wrong_band_is_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Band(**{"name": "night", **fields})  # type: ignore[arg-type]
