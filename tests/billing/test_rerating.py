"""A corrected tariff: what was billed and its correction are what would have been billed."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from billing.adapters import tables
from billing.adapters.billing_run import run_billing
from billing.adapters.charges import add_charges
from billing.adapters.databases import reading, writing
from billing.adapters.ledger import trial_balance
from billing.adapters.repositories import create
from billing.adapters.rerating import Stretch, read_counted, wrong_plan
from billing.catalog import terms_of
from billing.config import BillingConfig
from billing.rerating import (
    Correction,
    Counted,
    LeftOut,
    check_correction,
    correct,
    correction_charges,
)
from rating.engine import Movement, closing_of, move, open_meter, post, pricing_of
from rating.money import decode_exact, encode_exact
from rating.periods import Calendar, day_start_at, period_of_day
from rating.plans import Plan, decode_plan, plan_from
from rating.rate_state import MeterState
from rating.rows import UsageCharge
from rating.segments import calendar_share
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import GB, add_customer, at, close_month, home_plan

PERIOD = period_of_day(Calendar(world.ZONE), datetime.date(2026, 11, 1))
FIRST, LAST = datetime.date(2026, 11, 1), datetime.date(2026, 11, 30)


def plan_of(curve: dict[str, Any], scope: str = "period", **more: Any) -> Plan:
    meter = {"meter_id": "data", "scope": scope, "curve": curve}
    document = {"plan_id": "p", "version": 1, "name": "P", "currency": "BDT", "meters": [meter]}
    return plan_from(document | more)


prices = st.integers(0, 2_000).map(lambda n: f"{n // 100}.{n % 100:02d}")
sizes = st.integers(1, 900)
curves = st.one_of(
    st.builds(lambda p: {"model": "payg", "unit_price": p, "unit": 7}, prices),
    st.builds(
        lambda a, p: {"model": "allowance_overage", "allowance": a, "unit_price": p, "unit": 3},
        sizes,
        prices,
    ),
    st.builds(lambda s, p: {"model": "package", "size": s, "package_price": p}, sizes, prices),
    st.builds(
        lambda model, edge, low, high, fee: {
            "model": model,
            "tiers": [
                {"up_to": edge, "unit_price": low, "flat_fee": fee},
                {"up_to": None, "unit_price": high, "unit": 3},
            ],
        },
        st.sampled_from(["graduated", "volume"]), sizes, prices, prices, prices,
    ),
)  # fmt: skip
usage = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 2_000)), max_size=8)
days_of_segment = st.tuples(st.integers(1, 15), st.integers(16, 31))


def lived(
    plan: Plan, used: list[tuple[int, int]], segment: tuple[int, int]
) -> tuple[UsageCharge, tuple[int, ...]]:
    """Return what the rate stage writes of a month's segment: its closing, and days' quantities."""
    share = calendar_share(plan.proration, world.ZONE, PERIOD, *segment)
    pricing, state = pricing_of(plan.meters[0], share), MeterState()
    amount = open_meter(state, pricing, "2026-11-01", 1)
    days: dict[str, int] = {}
    for day, quantity in used:
        name = f"2026-11-{day:02d}"
        amount = move(state, pricing, Movement(name, "", 1, quantity, 0), amount)
        days[name] = days.get(name, 0) + quantity
    post(state, pricing, 1, "BDT")
    closing = closing_of(state, pricing, "BDT")
    charge = UsageCharge(
        "karim", PERIOD.start_at, 0, "data", 0, PERIOD.end_at, "p", 1, closing.quantity,
        encode_exact(closing.amount), closing.amount_minor, "BDT", "", PERIOD.end_at,
    )  # fmt: skip
    return charge, tuple(days.values())


def counted_of(
    charge: UsageCharge, days: tuple[int, ...], segment: tuple[int, int] | None
) -> Counted:
    return Counted(charge, "dhk", "karim", "Karim", world.ZONE, PERIOD, segment, days)


@given(curves, curves, usage, days_of_segment, st.sampled_from(["period", "day"]),
       st.sampled_from(["none", "day", "second"]))  # fmt: skip
def test_corrected_is_as_if_it_had_been_right_from_the_start(
    wrong: dict[str, Any],
    right: dict[str, Any],
    used: list[tuple[int, int]],
    between: tuple[int, int],
    scope: str,
    proration: str,
) -> None:
    first, last = (datetime.date(2026, 11, 1) + datetime.timedelta(days=d - 1) for d in between)
    segment = day_start_at(world.ZONE, first), day_start_at(world.ZONE, last)
    old = plan_of(wrong, scope, proration=proration)
    new = plan_of(right, scope, proration=proration)
    charge, days = lived(old, used, segment)
    should, _ = lived(new, used, segment)
    counted = counted_of(charge, days, segment)
    found = correct(counted, old, new)
    assert isinstance(found, Correction)
    assert charge.amount_minor + found.difference_minor == should.amount_minor
    # What was corrected counts as billed: once more is nothing, and back again is what it was.
    again = dataclasses.replace(counted, corrected_minor=found.difference_minor, corrections=1)
    once_more, back = correct(again, old, new), correct(again, old, old)
    assert isinstance(once_more, Correction)
    assert isinstance(back, Correction)
    assert (once_more.difference_minor, back.difference_minor) == (0, -found.difference_minor)


def test_what_the_plan_does_not_reproduce_is_left() -> None:
    old = plan_of({"model": "payg", "unit_price": "2"})
    new = plan_of({"model": "payg", "unit_price": "1"})
    whole = PERIOD.start_at, PERIOD.end_at
    charge, days = lived(old, [(1, 10)], whole)
    assert decode_exact(charge.amount_exact) == 20
    altered = dataclasses.replace(charge, amount_exact="21/1")
    for counted, reason in (
        (counted_of(altered, days, whole), "the plan does not reproduce what was billed"),
        (counted_of(charge, days, None), "no subscription says when its segment"),
    ):
        found = correct(counted, old, new)
        assert isinstance(found, LeftOut)
        assert reason in found.reason
    by_session = plan_of({"model": "payg", "unit_price": "2"}, "session")
    found = correct(counted_of(charge, days, whole), by_session, by_session)
    assert isinstance(found, LeftOut)
    assert "per session" in found.reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recurring_fee": "9"}, "recurring_fee: expected 0 as in version 1, got 9"),
        ({"currency": "NPR"}, "currency: expected 'BDT' as in version 1, got 'NPR'"),
        ({"tax_rate": "0.2"}, "tax_rate"),
        ({"meters": []}, "meters: expected the same, data"),
        ({"meters": [{"meter_id": "data", "unit": "octets_up",
                      "curve": {"model": "flat", "amount": "1"}}]},
         r"meters\[0\]: expected the same but for curve and name"),
    ],
)  # fmt: skip
def test_more_than_prices_is_no_correction(changes: dict[str, Any], said: str) -> None:
    old = plan_of({"model": "payg", "unit_price": "2"})
    with pytest.raises(ValueError, match=said):
        check_correction(old, plan_of({"model": "payg", "unit_price": "1"}, **changes))


# In the database -------------------------------------------------------------------------------

HALF = {
    "meters": [
        {
            "meter_id": "data",
            "name": "Internet",
            "curve": {
                "model": "allowance_overage",
                "allowance": 500 * GB,
                "unit_price": "2.50",
                "unit": GB,
            },
        }
    ]
}
"""The usual plan at half its price above the allowance."""


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    """Karim's November, 120 GB above at 5.00, is invoiced; 2.50 was meant."""
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim")
        add_customer(connection, "rahima")
        close_month(connection, "rahima", "2026-11", gigabytes=1, minor=0)
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
        charge = tables.usage_charge
        for name, exact in (("karim", "600/1"), ("rahima", "0/1")):
            mine = charge.c.rating_key == name
            connection.execute(charge.update().where(mine).values(amount_exact=exact))
    run_billing(engine, BillingConfig(), at("2026-12-01", 12))
    return engine


def apply(engine: Engine, changes: dict[str, Any]) -> list[int]:
    """Re-rate November by a changed plan; return the differences written."""
    new = decode_plan(home_plan(2, **changes).document)
    stretch = Stretch("home", 1, FIRST, LAST)
    with writing(engine) as connection:
        plan = wrong_plan(connection, "home", 1)
        old = decode_plan(plan.document)
        check_correction(old, new)
        found = [correct(c, old, new) for c in read_counted(connection, stretch, plan)]
        assert not [item for item in found if isinstance(item, LeftOut)]
        corrections = [item for item in found if isinstance(item, Correction)]
        terms = terms_of(plan.document)
        charges = correction_charges(corrections, terms.name, terms.tax, at("2026-12-02"))
        assert add_charges(connection, charges) == len(charges)
    return [charge.amount_minor for charge in charges]


def test_a_correction_stands_on_the_next_invoice_once(engine: Engine) -> None:
    assert apply(engine, HALF) == [-30000]
    assert apply(engine, HALF) == []
    with writing(engine) as connection:
        for name in ("karim", "rahima"):
            close_month(connection, name, "2026-12", gigabytes=1, minor=0)
    run_billing(engine, BillingConfig(), at("2027-01-01", 12))
    run_billing(engine, BillingConfig(), at("2027-01-01", 13))
    assert world.lines(engine, "karim", "2026-12")[-2:] == [
        ("charge", "Tariff correction 2026-11-01 to 2026-11-30: Home 50, Karim", -30000),
        ("tax", "Tax 15 %", 10500),
    ]
    assert "Tariff" not in str(world.lines(engine, "rahima", "2026-12"))
    with reading(engine) as connection:
        balances = trial_balance(connection, "dhk")
    assert balances["adjustments", "BDT"] == 30000
    assert sum(balances.values()) == 0


def test_a_correction_can_be_corrected(engine: Engine) -> None:
    assert apply(engine, HALF) == [-30000]
    assert apply(engine, {}) == [30000]
    assert apply(engine, HALF) == [-30000]
    with reading(engine) as connection:
        ids = list(connection.scalars(select(tables.metadata.tables["charge"].c.charge_id)))
    assert sorted(i.rpartition("/")[2] for i in ids) == ["1", "2", "3"]


def test_late_usage_after_a_correction_is_corrected_by_another_run(engine: Engine) -> None:
    assert apply(engine, HALF) == [-30000]
    with writing(engine) as connection:
        world.revise_month(
            connection, "karim", "2026-11", revision=1, gigabytes=630, minor=65000, day_minor=5000,
            closed_at=at("2026-12-03"),
        )  # fmt: skip
        charge = tables.usage_charge
        late = (charge.c.rating_key == "karim") & (charge.c.revision == 1)
        connection.execute(charge.update().where(late).values(amount_exact="650/1"))
    # 130 GB at 2.50 are 325.00; billed are 650.00 less 300.00.
    assert apply(engine, HALF) == [-2500]


def test_only_whole_periods_within_the_days_count(engine: Engine) -> None:
    for first, last in ((FIRST, LAST - datetime.timedelta(1)), (datetime.date(2026, 11, 2), LAST)):
        with reading(engine) as connection:
            plan = wrong_plan(connection, "home", 1)
            assert read_counted(connection, Stretch("home", 1, first, last), plan) == []
    with reading(engine) as connection, pytest.raises(LookupError, match="no version 7"):
        wrong_plan(connection, "home", 7)
