"""Discounts: in their order, never below nothing, before tax, for so many invoices."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, select

from billing.adapters import discount_tables
from billing.adapters.billing_run import run_billing
from billing.adapters.charges import add_charges
from billing.adapters.databases import reading, writing
from billing.adapters.ledger import trial_balance
from billing.adapters.repositories import create
from billing.charges import Charge
from billing.config import BillingConfig
from billing.discounts import (
    Discount,
    Granted,
    fits,
    months_between,
    with_discounts,
)
from billing.invoices import CHARGE, RECURRING, USAGE, InvoiceLine
from billing.taxes import TaxTreatment
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import add_customer, at, close_month, following, home_plan

TAX = TaxTreatment("15", False)


def line(kind: str, name: str, minor: int, **evidence: Any) -> InvoiceLine:
    return InvoiceLine(kind, name, "", "", 1, "", minor, "15", evidence, TAX)


HOME = line(RECURRING, "Home", 100000, plan_id="home", subscription_id="s1")
TV = line(CHARGE, "TV", 30000, product_id="tv", charge_kind="tv")
PHONE = line(CHARGE, "Phone", 20001, product_id="phone", charge_kind="phone")
USED = line(USAGE, "Internet", 60000)
FEE = line(CHARGE, "Late fee", 5000, charge_kind="late_fee")
CREDIT = line(CHARGE, "Credit", -7000, charge_kind="credit")
ALL = (HOME, TV, PHONE, USED, FEE, CREDIT)


def off(name: str, percent: str = "", minor: int = 0, **changes: Any) -> Discount:
    made = Discount(name, "dhk", name, "everyone", percent, minor, "BDT" if minor else "")
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize(
    ("discounts", "expected"),
    [
        # a percentage is rounded once over all fees, and parted by largest remainder
        ([off("10 off", "10")],
         {"Home": 10000, "TV": 3000, "Phone": 2000}),
        ([off("third", "33.33")],
         {"Home": 33330, "TV": 9999, "Phone": 6666}),
        # an amount is parted in proportion, too
        ([off("100 taka", minor=10000)], {"Home": 6667, "TV": 2000, "Phone": 1333}),
        # never below nothing
        ([off("all", minor=99999999)], {"Home": 100000, "TV": 30000, "Phone": 20001}),
        ([off("all", "100"), off("more", minor=500)],
         {"Home": 100000, "TV": 30000, "Phone": 20001}),
        # only what it names: a plan, a product, a kind
        ([off("home", "50", applies_to="home")], {"Home": 50000}),
        ([off("tv, phone", "50", applies_to="tv phone")], {"TV": 15000, "Phone": 10001}),
        # one after another on what is left: by rank, then by id
        ([off("b", minor=20000, applies_to="tv"), off("a", "50", applies_to="tv")],
         {"TV": 15000 + 15000}),
        ([off("b", minor=20000, applies_to="tv"), off("a", "50", applies_to="tv", rank=1)],
         {"TV": 20000 + 5000}),
        # a bundle needs all of its parts
        ([off("bundle", minor=10000, applies_to="home tv", is_bundle=True)],
         {"Home": 7692, "TV": 2308}),
        ([off("bundle", minor=10000, applies_to="home radio", is_bundle=True)], {}),
        # another currency takes nothing off
        ([off("dollars", minor=500, currency="USD")], {}),
    ],
)  # fmt: skip
def test_what_discounts_take_off(discounts: list[Discount], expected: dict[str, int]) -> None:
    granted = [Granted(d.discount_id, d, 0) for d in discounts]
    found: dict[str, int] = {}
    under = ""
    for each in with_discounts(ALL, granted, "BDT"):
        if each.kind != "discount":
            under = each.description
            continue
        assert each.tax == TAX
        found[under] = found.get(under, 0) - each.amount_minor
    assert found == expected


NOVEMBER_ENDS = at("2026-12-01")


@pytest.mark.parametrize(
    ("changes", "uses", "expected"),
    [
        ({}, 7, True),
        ({"periods": 3}, 2, True),
        ({"periods": 3}, 3, False),
        ({"segment": "person"}, 0, True),
        ({"segment": "company"}, 0, False),
        ({"months_min": 12}, 0, True),
        ({"months_min": 13}, 0, False),
        # a promotion holds where the period ends in its dates
        ({"starts_at": at("2026-11-15"), "ends_at": at("2026-12-01")}, 0, True),
        ({"starts_at": at("2026-12-01")}, 0, False),
        ({"ends_at": at("2026-11-30")}, 0, False),
        # a coupon's dates are those of its redemption
        ({"who": "coupon", "code": "EID", "ends_at": at("2026-10-01")}, 0, True),
    ],
)
def test_who_has_a_discount(changes: dict[str, Any], uses: int, expected: bool) -> None:
    granted = Granted("g", dataclasses.replace(off("ten", "10"), **changes), uses)
    assert fits(granted, "person", 12, NOVEMBER_ENDS) is expected


@pytest.mark.parametrize(
    ("since", "until", "months"),
    [
        ("2025-12-15", "2026-11-30", 11),
        ("2025-11-30", "2026-11-30", 12),
        ("2025-11-30", "2026-11-29", 11),
        ("2026-01-31", "2026-02-28", 1),
        ("2024-02-29", "2025-02-28", 12),
    ],
)
def test_months_as_a_customer(since: str, until: str, months: int) -> None:
    day = datetime.date.fromisoformat
    assert months_between(day(since), day(until)) == months


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"who": "anybody"}, "who: expected everyone, coupon or grant, got 'anybody'"),
        ({"percent": ""}, "percent: expected either"),
        ({"amount_minor": 5}, "percent: expected either"),
        ({"percent": "101"}, "percent: expected above 0, to 100, got '101'"),
        ({"percent": "0"}, "percent: expected above 0"),
        ({"percent": "x"}, "percent: expected a plain decimal"),
        ({"percent": "", "amount_minor": 5, "currency": "XXX"}, "currency"),
        ({"periods": -1}, "periods: expected 0 or more, got -1"),
        ({"is_bundle": True}, "applies_to: expected the parts"),
        ({"code": "EID"}, "code: expected one for a coupon only"),
        ({"who": "coupon"}, "code: expected one for a coupon only"),
        ({"starts_at": 5, "ends_at": 5}, "ends_at: expected after starts_at"),
    ],
)
def test_a_wrong_discount_is_refused_by_field(changes: dict[str, Any], message: str) -> None:
    right = off("ten", "10")
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(right, **changes)


# -- on invoices --------------------------------------------------------------------------------


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim")
    return engine


def offer(connection: Connection, *discounts: Discount) -> None:
    rows = [dataclasses.asdict(discount) for discount in discounts]
    connection.execute(insert(discount_tables.discount), rows)


def bill_month(engine: Engine, month: str) -> list[tuple[str, str, int]]:
    with writing(engine) as connection:
        close_month(connection, "karim", month, gigabytes=620, minor=60000)
    run_billing(engine, BillingConfig(), at(following(month), 12))
    return world.lines(engine, "karim", month)


def test_a_discount_stands_beneath_what_it_reduces_and_tax_is_on_the_rest(engine: Engine) -> None:
    box = Charge("box", "dhk", "karim", "box", "Box", 50000, "BDT", at("2026-11-03"),
                 tax_percent="15")  # fmt: skip
    with writing(engine) as connection:
        add_charges(connection, [box])
        offer(connection, off("Eid", "10"), off("Welcome", minor=9000, applies_to="home"))
    assert bill_month(engine, "2026-11") == [
        ("recurring", "Home 50, Karim", 100000),
        ("discount", "Eid (10 %)", -10000),
        ("discount", "Welcome", -9000),
        ("usage", "Internet, Karim", 60000),
        ("charge", "Box", 50000),
        ("discount", "Eid (10 %)", -5000),
        ("tax", "Tax 15 %", 27900),
    ]
    with reading(engine) as connection:
        found = trial_balance(connection, "dhk")
        assert found["discounts", "BDT"] == 24000
        assert found["receivable", "BDT"] == 186000 + 27900
        assert sum(found.values()) == 0
        uses = connection.execute(
            select(
                discount_tables.discount_use.c.grant_id, discount_tables.discount_use.c.amount_minor
            )
        ).all()
    assert sorted(tuple(row) for row in uses) == [("Eid/karim", 15000), ("Welcome/karim", 9000)]


def test_a_discount_of_two_periods_stands_on_two_invoices(engine: Engine) -> None:
    with writing(engine) as connection:
        offer(connection, off("Start", "50", periods=2))
    months = ("2026-09", "2026-10", "2026-11")
    found = [
        [minor for kind, _, minor in bill_month(engine, month) if kind == "discount"]
        for month in months
    ]
    assert found == [[-50000], [-50000], []]
    run_billing(engine, BillingConfig(), at("2026-12-03"))
    assert len(world.invoices(engine)) == 3


def test_a_grant_is_for_its_account_alone(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "salma")
        offer(connection, off("Friends", "20", who="grant"))
        connection.execute(
            insert(discount_tables.discount_grant),
            [{"grant_id": "g1", "discount_id": "Friends", "branch_id": "dhk",
              "account_id": "karim", "reason": "clerk", "granted_at": at("2026-11-10")}],
        )  # fmt: skip
        close_month(connection, "salma", "2026-11", gigabytes=1, minor=0)
    assert ("discount", "Friends (20 %)", -20000) in bill_month(engine, "2026-11")
    assert [kind for kind, *_ in world.lines(engine, "salma", "2026-11")] == [
        "recurring", "usage", "tax",
    ]  # fmt: skip
