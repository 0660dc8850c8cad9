"""Why is my bill 600? The line leads to its price in steps, its total and its days."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from sqlalchemy import Connection, Engine, insert, select, update

from billing.adapters import tables
from billing.adapters.billing_run import run_billing
from billing.adapters.databases import reading, writing
from billing.adapters.evidence import LineEvidence, explain_line
from billing.adapters.repositories import create
from billing.adapters.rows import write_rows
from billing.config import BillingConfig
from billing.explanation import exact_text
from rating.money import encode_exact, to_minor
from rating.rows import UsageCharge, UsageDay
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import (
    GB,
    add_customer,
    add_subscription,
    at,
    close_month,
    home_plan,
    revise_month,
)

NOVEMBER = "inv_karim_2026-11-01_BDT"


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim")
    return engine


def bill(engine: Engine, fill: Callable[[Connection], None], day: str = "2026-12-01") -> None:
    with writing(engine) as connection:
        fill(connection)
    run_billing(engine, BillingConfig(), at(day, 12))


def told(found: LineEvidence) -> list[str]:
    return [
        step.text + ("" if step.amount is None else f" = {exact_text(step.amount, 'BDT')}")
        for step in found.steps
    ]


def test_a_usage_line_leads_to_its_price_its_total_and_its_days(engine: Engine) -> None:
    days = {"2026-11-08": 20000, "2026-11-09": 40000}
    bill(
        engine,
        lambda c: close_month(c, "karim", "2026-11", gigabytes=620, minor=60000, days=days),
    )
    with reading(engine) as connection:
        found = explain_line(connection, NOVEMBER, 2)
        for line in (1, 3, 9):
            with pytest.raises(LookupError, match="no metered line"):
                explain_line(connection, NOVEMBER, line)
    assert told(found) == [
        "620 GB used",
        "500 GB included",
        "120 GB × 5.00 per GB = 600.00",
    ]
    assert (found.amount_minor, found.days_minor, found.quantity) == (60000, 60000, 620 * GB)
    assert [(day.day_on, day.amount_minor) for day in found.days] == sorted(days.items())
    assert [charge.amount_exact for charge in found.charges] == ["60000/100"]
    assert (found.from_at, found.until_at) == (at("2026-11-01"), at("2026-12-01"))
    assert found.timezone == "Asia/Dhaka"


def test_a_late_line_stands_on_what_was_posted_behind_the_line_before(engine: Engine) -> None:
    bill(engine, lambda c: close_month(c, "karim", "2026-11", gigabytes=620, minor=60000))

    def december(connection: Connection) -> None:
        close_month(connection, "karim", "2026-12", gigabytes=1, minor=0, days={})
        revise_month(
            connection, "karim", "2026-11", revision=1, gigabytes=630, minor=65000,
            day_minor=5000, closed_at=at("2026-12-05"),
        )  # fmt: skip

    bill(engine, december, "2027-01-01")
    with reading(engine) as connection:
        found = explain_line(connection, "inv_karim_2026-12-01_BDT", 3)
    assert found.kind == "adjustment"
    assert told(found)[-1] == "130 GB × 5.00 per GB = 650.00"
    assert (found.amount_minor, found.days_minor) == (5000, 5000)
    assert [charge.revision for charge in found.charges] == [0, 1]
    assert (found.from_at, found.until_at) == (at("2026-11-01"), at("2026-12-01"))


def test_each_plan_of_a_month_has_its_days_and_its_part_of_the_allowance(engine: Engine) -> None:
    """Karim changes on the 21st at noon: 20 of 30 days of 500 GB, then 10 of 30."""
    starts, ends = at("2026-11-01"), at("2026-12-01")

    def november(connection: Connection) -> None:
        create(connection, home_plan(2))
        connection.execute(update(tables.subscription).values(ends_at=at("2026-11-21", 12)))
        add_subscription(connection, "karim", "karim", version=2, since="2026-11-21")
        connection.execute(
            update(tables.subscription)
            .where(tables.subscription.c.plan_version == 2)
            .values(starts_at=at("2026-11-21", 12))
        )
        close_month(connection, "karim", "2026-11", gigabytes=333, minor=0, days={})
        connection.exec_driver_sql("delete from usage_charge")
        connection.exec_driver_sql("update usage_counter set allowance = 333333333333")
        for number, gigabytes, included in ((0, 353, 333_333_333_333), (1, 200, 166_666_666_667)):
            amount = Fraction((gigabytes * GB - included) * 5, GB)
            minor = to_minor(amount, "BDT")
            write_rows(
                connection,
                [
                    UsageCharge(
                        "karim", starts, number, "data", 0, ends, "home", number + 1,
                        gigabytes * GB, encode_exact(amount), minor, "BDT", "", ends,
                    ),
                    UsageDay(
                        "karim", "data", "2026-11-21", number, 0, starts, GB, minor, "BDT", ends
                    ),
                ],
            )  # fmt: skip

    bill(engine, november)
    with reading(engine) as connection:
        usage = [explain_line(connection, NOVEMBER, line) for line in (3, 4)]
    assert [(one.from_at, one.until_at) for one in usage] == [
        (starts, at("2026-11-21", 12)),
        (at("2026-11-21", 12), ends),
    ]
    assert told(usage[0])[1] == "333.33 GB included (20 of 30 days of 500 GB)"
    assert told(usage[1])[1] == "166.66 GB included (10 of 30 days of 500 GB)"
    assert [len(one.days) for one in usage] == [1, 1]


def test_an_adjustment_is_a_line_whose_price_is_what_it_does(engine: Engine) -> None:
    least = {"adjustment_id": "least", "name": "Commitment", "kind": "minimum", "amount": "700"}

    def november(connection: Connection) -> None:
        document = home_plan(adjustments=[least]).document
        connection.execute(update(tables.plan).values(document=document))
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
        (charge,) = connection.execute(select(tables.usage_charge)).mappings().all()
        changes = {"meter_id": "least", "quantity": 0, "amount_exact": "100/1"}
        connection.execute(
            insert(tables.usage_charge).values({**charge, **changes, "amount_minor": 10000})
        )

    bill(engine, november)
    with reading(engine) as connection:
        lines = [explain_line(connection, NOVEMBER, line) for line in (2, 3)]
    assert [(found.amount_minor, told(found)) for found in lines] == [
        (60000, ["620 GB used", "500 GB included", "120 GB × 5.00 per GB = 600.00"]),
        (10000, ["at least 700.00 for a whole period, of all of the above together = 100.00"]),
    ]
