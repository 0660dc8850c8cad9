"""Numbers and times as people read them, and back."""

from __future__ import annotations

import itertools

import pytest

from api.instants import from_text, next_minute, to_text
from api.models.values import Money, amount_text, minor_units
from api.problems import Problem
from api.web import charts, formats

N = "\u202f"
U = "\u00a0"


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, f"0{U}B"),
        (999, f"999{U}B"),
        (1000, f"1.00{U}kB"),
        (999_499, f"999{U}kB"),
        (999_500, f"1.00{U}MB"),
        (81_400_000_000, f"81.4{U}GB"),
        (100_000_000_000, f"100{U}GB"),
        (99_960_000_000, f"100{U}GB"),
        (-1_500_000, f"−1.50{U}MB"),
        (10**19, f"10000{U}PB"),
    ],
)
def test_octets(octets: int, text: str) -> None:
    assert formats.octets(octets) == text


@pytest.mark.parametrize(
    ("minor", "currency", "text", "shown"),
    [
        (181_250, "BDT", "1812.50", f"৳{N}1{N}812.50"),
        (-5, "USD", "-0.05", f"−${N}0.05"),
        (5000, "JPY", "5000", f"¥{N}5{N}000"),
        (1_234, "KWD", "1.234", f"KWD{N}1.234"),
    ],
)
def test_money(minor: int, currency: str, text: str, shown: str) -> None:
    assert amount_text(minor, currency) == text
    assert formats.money(Money.of(minor, currency)) == shown


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [("500", "BDT", 50_000), (" 1,250.5 ", "BDT", 125_050), ("7", "JPY", 7), ("0.001", "KWD", 1)],
)
def test_an_amount_that_a_person_types(text: str, currency: str, minor: int) -> None:
    assert minor_units(text, currency) == minor


@pytest.mark.parametrize("text", ["", "0", "-1", "1e3", "1.005", "NaN", "9" * 40, "5 0"])
def test_an_amount_that_is_none(text: str) -> None:
    with pytest.raises(Problem):
        minor_units(text, "BDT")


def test_instants_go_round() -> None:
    for at in (0, 1, 999, 1000, 1_795_256_107_123, 253_402_300_799_999):
        assert from_text(to_text(at)) == at
    assert from_text("1969-12-31T23:59:59.999Z") == -1
    assert next_minute(60_000) == 120_000
    assert next_minute(59_999) == 60_000


def test_periods_by_their_local_days() -> None:
    start, end = from_text("2026-10-31T18:00:00Z"), from_text("2026-11-30T18:00:00Z")
    assert formats.period(start, end, "Asia/Dhaka") == "1–30 Nov 2026"
    assert formats.period(start, end, "UTC") == "31 Oct 2026 – 30 Nov 2026"


def test_durations() -> None:
    shown = [formats.duration(ms) for ms in (12, 9_600, 59_000, 3_599_000, 7_200_000, 180_000_000)]
    assert [s.replace(U, " ") for s in shown] == ["12 ms", "9.6 s", "59 s", "59 min", "2 h", "2 d"]


def test_days_of_a_chart_are_local_even_where_the_clock_changes() -> None:
    now = from_text("2026-10-26T12:00:00Z")
    starts = charts.bounds(charts.RANGES["month"], now, "Europe/Berlin")
    widths = {b - a for a, b in itertools.pairwise(starts)}
    assert {w // 3_600_000 for w in widths} == {24, 25}


def test_hours_of_kathmandu_begin_on_its_own_clock() -> None:
    now = from_text("2026-11-21T10:20:00Z")
    starts = charts.bounds(charts.RANGES["day"], now, "Asia/Kathmandu")
    assert to_text(starts[-1]) == "2026-11-21T10:15:00Z"
