"""What services owe: by period, in advance or in arrears, less what was billed before."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, update

from billing.accounts import Account
from billing.adapters import service_tables
from billing.adapters.billing_run import run_billing
from billing.adapters.databases import reading, writing
from billing.adapters.ledger import trial_balance
from billing.adapters.repositories import create
from billing.config import BillingConfig
from billing.services import (
    Billed,
    Hold,
    Horizon,
    Product,
    Service,
    ServiceInput,
    due_charges,
    service_calendar,
)
from rating.periods import Calendar, Period, next_period, period_of_day
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import add_customer, at, close_month, home_plan

DHAKA = Calendar("Asia/Dhaka")
TV = Product("tv", 1, "dhk", "TV", "tv", "BDT", "300.00", "advance", "", "day", "15", False, 0)
PHONE = dataclasses.replace(TV, product_id="phone", name="Phone", kind="phone", charging="arrears")


def a_service(product: Product, since: str, until: str | None = None, **changes: Any) -> Service:
    made = Service(
        f"karim-{product.product_id}", "dhk", "karim", "", product.product_id, 1, 1,
        at(since), at(until) if until else None,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def month(day: str, calendar: Calendar = DHAKA) -> Period:
    return period_of_day(calendar, datetime.date.fromisoformat(day))


def owed(
    service: Service,
    product: Product,
    on: str,
    holds: tuple[Hold, ...] = (),
    billed: dict[int, Billed] | None = None,
    calendar: Calendar = DHAKA,
) -> list[tuple[str, int]]:
    """What the invoice of the period that holds a day asks for."""
    period = month(on, calendar)
    horizon = Horizon(
        period.start_at - 100 * 86_400_000, period.end_at, next_period(calendar, period).end_at
    )
    item = ServiceInput(
        service, product, service_calendar(product, service, calendar), "", holds, billed or {}
    )
    return [(c.description, c.amount_minor) for c in due_charges(item, horizon)]


@pytest.mark.parametrize(
    ("product", "since", "until", "expected"),
    [
        # in arrears: the month that is over, or the part of it
        (PHONE, "2026-11-01", None, [("Phone 2026-11-01 to 2026-11-30", 30000)]),
        (PHONE, "2026-11-16", None, [("Phone 2026-11-01 to 2026-11-30 (15 of 30 days)", 15000)]),
        (PHONE, "2026-11-01", "2026-11-11",
         [("Phone 2026-11-01 to 2026-11-30 (10 of 30 days)", 10000)]),
        (PHONE, "2026-12-01", None, []),
        # in advance: what is left of the month it began in, and the month to come
        (TV, "2026-11-16", None,
         [("TV 2026-11-01 to 2026-11-30 (15 of 30 days)", 15000),
          ("TV 2026-12-01 to 2026-12-31", 30000)]),
        (TV, "2026-12-01", None, [("TV 2026-12-01 to 2026-12-31", 30000)]),
        (TV, "2026-11-01", "2026-11-11",
         [("TV 2026-11-01 to 2026-11-30 (10 of 30 days)", 10000)]),
        (TV, "2027-01-01", None, []),
    ],
)  # fmt: skip
def test_the_first_invoice_of_a_service(
    product: Product, since: str, until: str | None, expected: list[tuple[str, int]]
) -> None:
    assert owed(a_service(product, since, until), product, "2026-11-20") == expected


NOVEMBER, DECEMBER = at("2026-11-01"), at("2026-12-01")


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (None, [("TV 2027-01-01 to 2027-01-31", 30000)]),
        # who leaves in a month that was paid in advance gets the rest back
        ("2026-12-11", [("Correction: TV 2026-12-01 to 2026-12-31 (10 of 31 days)", -20323)]),
        ("2026-12-01", [("Correction: TV 2026-12-01 to 2026-12-31 (0 of 31 days)", -30000)]),
    ],
)
def test_what_was_billed_in_advance_is_corrected(
    until: str | None, expected: list[tuple[str, int]]
) -> None:
    billed = {NOVEMBER: Billed(30000, 1), DECEMBER: Billed(30000, 1)}
    service = a_service(TV, "2026-11-01", until)
    assert owed(service, TV, "2026-12-20", billed=billed) == expected


def test_asking_again_asks_for_nothing() -> None:
    service = a_service(TV, "2026-11-16")
    billed = {NOVEMBER: Billed(15000, 1), DECEMBER: Billed(30000, 1)}
    assert owed(service, TV, "2026-11-20", billed=billed) == []
    assert owed(service, TV, "2026-11-20", billed={NOVEMBER: Billed(15000, 2)}) == [
        ("TV 2026-12-01 to 2026-12-31", 30000)
    ]


def hold(since: str, until: str | None, percent: str = "0", **changes: Any) -> Hold:
    made = Hold(
        f"hold-{since}", "dhk", "karim", "", "vacation", percent,
        at(since), at(until) if until else None,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize(
    ("holds", "expected"),
    [
        ((hold("2026-11-11", "2026-11-21"),), 20000),
        ((hold("2026-11-11", "2026-11-21", "50"),), 25000),
        ((hold("2026-11-11", None),), 10000),
        ((hold("2026-10-01", "2026-12-15"),), 0),
        # two that overlap release a day once
        ((hold("2026-11-11", "2026-11-21"), hold("2026-11-16", "2026-11-26")), 15000),
        ((hold("2026-11-11", "2026-11-21", target_id="karim-phone"),), 20000),
        ((hold("2026-11-11", "2026-11-21", target_id="karim-tv"),), 30000),
    ],
)
def test_a_hold_reduces_the_fee_by_its_days(holds: tuple[Hold, ...], expected: int) -> None:
    found = owed(a_service(PHONE, "2026-11-01"), PHONE, "2026-11-20", holds)
    assert sum(minor for _, minor in found) == expected


def test_a_fee_that_is_not_prorated_rests_only_for_a_whole_period() -> None:
    whole = dataclasses.replace(PHONE, proration="none")
    service = a_service(whole, "2026-11-01")
    assert owed(service, whole, "2026-11-20", (hold("2026-11-02", None),))[0][1] == 30000
    assert owed(service, whole, "2026-11-20", (hold("2026-10-02", None),)) == []


@pytest.mark.parametrize(
    ("cycle", "since", "on", "expected"),
    [
        # a year begins in the month in which the service did; in advance, with the month before
        ("yearly", "2026-11-01", "2026-10-20", [("TV 2026-11-01 to 2027-10-31", 30000)]),
        ("yearly", "2024-02-01", "2024-01-20", [("TV 2024-02-01 to 2025-01-31", 30000)]),
        ("yearly", "2026-11-11", "2026-11-20",
         [("TV 2026-11-01 to 2027-10-31 (355 of 365 days)", 29178)]),
        ("quarterly", "2026-11-01", "2027-01-20", [("TV 2027-02-01 to 2027-04-30", 30000)]),
        ("quarterly", "2026-11-01", "2026-11-20", [("TV 2026-11-01 to 2027-01-31", 30000)]),
        ("weekly", "2026-12-28", "2026-11-20",
         [("TV 2026-12-28 to 2027-01-03", 30000)]),
    ],
)  # fmt: skip
def test_a_product_may_have_a_cycle_of_its_own(
    cycle: str, since: str, on: str, expected: list[tuple[str, int]]
) -> None:
    product = dataclasses.replace(TV, cycle=cycle)
    billed = {NOVEMBER: Billed(30000, 1)} if on == "2027-01-20" else {}
    assert owed(a_service(product, since), product, on, billed=billed) == expected


@pytest.mark.parametrize(
    ("zone", "anchor", "on", "expected"),
    [
        # an anchor on the 31st clamps to the month's end and returns; 2028 is a leap year
        ("Asia/Kathmandu", 31, "2028-02-10", "Phone 2028-01-31 to 2028-02-28"),
        ("Asia/Kathmandu", 31, "2028-03-10", "Phone 2028-02-29 to 2028-03-30"),
        ("America/New_York", 29, "2026-03-10", "Phone 2026-02-28 to 2026-03-28"),
        # a month with a day of 23 hours is a whole month
        ("Europe/Berlin", 1, "2026-03-10", "Phone 2026-03-01 to 2026-03-31"),
    ],
)
def test_periods_follow_the_accounts_calendar(
    zone: str, anchor: int, on: str, expected: str
) -> None:
    calendar = Calendar(zone, "monthly", anchor)
    period = month(on, calendar)
    service = a_service(PHONE, "2020-01-01")
    billed = {}
    before = period
    for _ in range(6):  # what the invoices before asked for
        before = period_of_day(calendar, before.start_on - datetime.timedelta(days=1))
        billed[before.start_at] = Billed(30000, 1)
    assert owed(service, PHONE, on, billed=billed, calendar=calendar) == [(expected, 30000)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"currency": "XXX"}, "currency"),
        ({"price": "1e3"}, "price: expected a plain decimal"),
        ({"price": "-1"}, "price: expected 0 or more"),
        ({"tax_percent": "150"}, "tax_percent: expected 0 or more"),
        ({"charging": "later"}, "charging: expected 'one_off', 'advance', 'arrears', got 'later'"),
        ({"cycle": "hourly"}, "cycle: expected '', 'daily'"),
        ({"proration": "hour"}, "proration"),
        ({"charging": "one_off", "cycle": "monthly"}, "cycle: expected none"),
    ],
)
def test_a_wrong_product_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TV, **change)


# -- on invoices --------------------------------------------------------------------------------


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        for product in (TV, PHONE):
            connection.execute(insert(service_tables.product), [dataclasses.asdict(product)])
    return engine


def have(connection: Connection, *services: Service) -> None:
    rows = [dataclasses.asdict(service) for service in services]
    connection.execute(insert(service_tables.service), rows)


def bill(engine: Engine, on: str) -> dict[str, int]:
    return dict(run_billing(engine, BillingConfig(), at(on, 12)))


def balance(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        balances = trial_balance(connection, "dhk")
    return {code: amount for (code, _), amount in balances.items() if amount}


def test_internet_tv_and_phone_stand_on_one_invoice(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        have(connection, a_service(TV, "2026-11-16"), a_service(PHONE, "2026-11-01", quantity=2))
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
    assert bill(engine, "2026-12-01") == {"invoices_finalized": 1}
    assert world.lines(engine, "karim", "2026-11") == [
        ("recurring", "Home 50, Karim", 100000),
        ("usage", "Internet, Karim", 60000),
        ("charge", "TV 2026-11-01 to 2026-11-30 (15 of 30 days)", 15000),
        ("charge", "2 × Phone 2026-11-01 to 2026-11-30", 60000),
        ("charge", "TV 2026-12-01 to 2026-12-31", 30000),
        ("tax", "Tax 15 %", 39750),
    ]
    assert balance(engine) == {
        "receivable": 304750,
        "revenue_recurring": -205000,
        "revenue_usage": -60000,
        "tax_payable": -39750,
    }
    assert bill(engine, "2026-12-02") == {}


def test_a_customer_of_television_alone_is_invoiced_by_the_clock(engine: Engine) -> None:
    with writing(engine) as connection:
        create(connection, Account("karim", "dhk", "Karim", "person", "", "", 0))
        have(connection, a_service(TV, "2026-10-16"))
    assert bill(engine, "2026-10-31") == {}
    assert bill(engine, "2026-11-01") == {"invoices_finalized": 1}
    assert bill(engine, "2026-11-30") == {}
    # three months without the office: each has its invoice
    assert bill(engine, "2027-02-01") == {"invoices_finalized": 3}
    assert [row.invoice_id for row in world.invoices(engine)] == [
        f"inv_karim_{month}-01_BDT" for month in ("2026-10", "2026-11", "2026-12", "2027-01")
    ]
    assert world.lines(engine, "karim", "2026-11") == [
        ("charge", "TV 2026-12-01 to 2026-12-31", 30000),
        ("tax", "Tax 15 %", 4500),
    ]


def test_who_ends_a_service_gets_the_rest_back_and_no_more_invoices(engine: Engine) -> None:
    with writing(engine) as connection:
        create(connection, Account("karim", "dhk", "Karim", "person", "", "", 0))
        have(connection, a_service(TV, "2026-11-01"))
    bill(engine, "2026-12-01")
    with writing(engine) as connection:
        connection.execute(update(service_tables.service).values(ends_at=at("2026-12-11")))
    assert bill(engine, "2027-01-01") == {"invoices_finalized": 1}
    assert world.lines(engine, "karim", "2026-12") == [
        ("charge", "Correction: TV 2026-12-01 to 2026-12-31 (10 of 31 days)", -20323),
        ("tax", "Tax 15 %", -3048),
    ]
    assert bill(engine, "2027-02-01") == {}
    assert balance(engine)["revenue_recurring"] == -60000 + 20323
