"""Two years in five time zones, recomputed to the cent by an auditor that shares no code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.years import Years
from tests.simulation.years_comparison import fingerprint, years_differences


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Years]:
    """Two years that were lived through, with deaths of engine and office."""
    made = Years(tmp_path_factory.mktemp("years"), seed=1, months=24, death_probability=0.01)
    try:
        made.live()
        yield made
    finally:
        made.close()


def test_not_a_cent_of_two_years_differs(years: Years) -> None:
    assert years_differences(years) == []


def test_every_office_has_closed_its_months(years: Years) -> None:
    assert [len(years.periods(office)) for office in years.offices] == [24, 24, 24, 24, 25]


def test_it_was_no_quiet_life(years: Years) -> None:
    assert years.deaths > 10
    joined = sum(len(office.accounts) for office in years.offices)
    assert joined > 100
    assert any(amount < 0 for amount in years.paid().values()) or len(years.paid()) > 30


def test_a_second_run_of_the_office_changes_nothing(years: Years) -> None:
    before = fingerprint(years)
    years.bill()
    years.bill()
    assert fingerprint(years) == before


def test_the_auditor_finds_one_minute_more(years: Years) -> None:
    login = next(name for name in years.truth.used if years.truth.used[name])
    used = years.truth.used[login]
    used.append(used[0])
    try:
        assert years_differences(years) != []
    finally:
        used.pop()
