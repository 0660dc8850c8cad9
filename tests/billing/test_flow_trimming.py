"""Hours of flows go from the business database a week behind the newest, never by the clock."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, func, select

from billing.adapters import tables
from billing.adapters.databases import reading, writing
from billing.adapters.flow_trimming import HOURS_PER_RUN, trim_flow_hours
from billing.adapters.office import BillingLoop
from billing.adapters.rows import write_rows
from billing.config import BillingConfig
from rating.rows import FlowHour, LossHour
from tests.billing.conftest import NewDatabase

NEWEST = 480_000


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    return new_database()


def fill(engine: Engine, hours: range) -> None:
    """Write two subscribers and one exporter for each hour."""
    flows = [FlowHour(name, hour, "r", 1, 1, 0, 0) for hour in hours for name in ("a", "b")]
    losses = [LossHour("r", "v9/0", hour, 1, 1, 0, 0) for hour in hours]
    with writing(engine) as connection:
        write_rows(connection, [*flows, *losses])


def kept(engine: Engine) -> tuple[int, int, int, int]:
    """Return the number of rows and the oldest hour of both tables."""
    with reading(engine) as connection:
        counted = [
            connection.execute(select(func.count(), func.min(table.c.hour))).one()
            for table in (tables.flow_hour, tables.loss_hour)
        ]
    return (*counted[0], *counted[1])


def test_what_is_older_goes_and_the_rest_stays(engine: Engine) -> None:
    fill(engine, range(NEWEST - 170, NEWEST + 1))
    assert trim_flow_hours(engine, 7) == 2 * (2 + 1)
    assert kept(engine) == (169 * 2, NEWEST - 168, 169, NEWEST - 168)
    assert trim_flow_hours(engine, 7) == 0


def test_a_run_deletes_a_day_at_most(engine: Engine) -> None:
    fill(engine, range(NEWEST - 300, NEWEST + 1))
    assert trim_flow_hours(engine, 7) == HOURS_PER_RUN * 3
    assert kept(engine)[1] == NEWEST - 300 + HOURS_PER_RUN


def test_an_engine_that_is_years_behind_loses_nothing(engine: Engine) -> None:
    fill(engine, range(5, 10))
    counts = BillingLoop(engine, BillingConfig()).run_once(NEWEST * 3_600_000)
    assert counts["flow_hours_deleted"] == 0
    assert kept(engine) == (10, 5, 5, 5)


def test_the_office_does_it_by_the_hour(engine: Engine) -> None:
    fill(engine, range(NEWEST - 170, NEWEST + 1))
    loop = BillingLoop(engine, BillingConfig())
    assert loop.run_once(0)["flow_hours_deleted"] == 6
    fill(engine, range(NEWEST - 170, NEWEST - 168))
    assert loop.run_once(3_599_000)["flow_hours_deleted"] == 0
    assert loop.run_once(3_600_000)["flow_hours_deleted"] == 6


def test_empty_tables_are_nothing_to_do(engine: Engine) -> None:
    assert trim_flow_hours(engine, 7) == 0
