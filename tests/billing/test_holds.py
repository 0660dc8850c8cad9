"""Vacation holds: how long one may be, and what a plan's fee is meanwhile."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import insert

from billing.adapters import service_tables
from billing.adapters.billing_run import run_billing
from billing.adapters.databases import writing
from billing.adapters.repositories import create
from billing.config import BillingConfig
from billing.holds import HoldLimits, why_not
from billing.services import Hold
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import ZONE, add_customer, at, close_month, home_plan

LIMITS = HoldLimits(days_min=7, days_per_year_max=30)


def hold(since: str, until: str, target_id: str = "", fee_percent: str = "0") -> Hold:
    return Hold(
        f"{since}/{target_id}", "dhk", "karim", target_id, "vacation", fee_percent,
        at(since), at(until),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "others", "expected"),
    [
        (hold("2026-11-01", "2026-11-08"), [], ""),
        (hold("2026-11-01", "2026-11-07"), [], "at least 7 days, got 6"),
        (hold("2026-11-08", "2026-11-01"), [], "it must end after it starts"),
        (hold("2026-11-01", "2026-12-01"), [], ""),
        (hold("2026-11-01", "2026-12-02"), [], "at most 30 days in 2026, with this it were 31"),
        # the days of a year, whatever the holds
        (hold("2026-11-01", "2026-11-11"), [hold("2026-03-01", "2026-03-21")], ""),
        (hold("2026-11-01", "2026-11-12"), [hold("2026-03-01", "2026-03-21")],
         "at most 30 days in 2026, with this it were 31"),
        # over the turn of the year each year counts its own days
        (hold("2026-12-10", "2027-01-30"), [], ""),
        (hold("2026-12-01", "2027-01-05"), [], "at most 30 days in 2026, with this it were 31"),
        # a day rests once, also where two services of the account do
        (hold("2026-11-01", "2026-12-01", "tv"), [hold("2026-11-01", "2026-12-01", "phone")], ""),
        (hold("2026-11-01", "2026-11-20"), [hold("2026-11-19", "2026-11-27")],
         "no day of hold '2026-11-19/'"),
    ],
)  # fmt: skip
def test_how_long_a_hold_may_be(wanted: Hold, others: list[Hold], expected: str) -> None:
    assert why_not(wanted, others, LIMITS, ZONE) == expected


@pytest.mark.parametrize(
    ("resting", "description", "minor"),
    [
        (hold("2026-11-11", "2026-11-26"), "Home 50, Karim (15 of 30 days)", 50000),
        (hold("2026-10-11", "2026-12-26"), "Home 50, Karim (0 of 30 days)", 0),
        (hold("2026-11-11", "2026-11-26", fee_percent="20"),
         "Home 50, Karim (18 of 30 days)", 60000),
        (hold("2026-11-11", "2026-11-26", "karim-home-1-2026-01-01"),
         "Home 50, Karim (15 of 30 days)", 50000),
        (hold("2026-11-11", "2026-11-26", "another"), "Home 50, Karim", 100000),
        (hold("2026-12-01", "2026-12-26"), "Home 50, Karim", 100000),
    ],
)  # fmt: skip
def test_a_plans_fee_rests_too(
    new_database: NewDatabase, resting: Hold, description: str, minor: int
) -> None:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
        connection.execute(insert(service_tables.hold), [dataclasses.asdict(resting)])
    run_billing(engine, BillingConfig(), at("2026-12-01", 12))
    fees = [line for line in world.lines(engine, "karim", "2026-11") if line[0] == "recurring"]
    assert fees == ([("recurring", description, minor)] if minor else [])
