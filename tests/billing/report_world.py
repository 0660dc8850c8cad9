"""Two branches with two currencies and two time zones over three months, for reports.

    dhk (Dhaka, BDT)       karim: 500 GB and 5.00 a GB above; late usage of October; pays in parts
                           rahima: leaves on 20 November, having paid for October
                           shop: joins on 10 November on a plan whose prices hold the tax
                           nila: prepaid, tops up 500.00
    ktm (Kathmandu, NPR)   maya: the same plan at her own prices

October and November are billed; the first days of December are used and posted.
"""

from __future__ import annotations

import dataclasses
import datetime

from sqlalchemy import Connection, Engine

from billing.accounts import Account, Branch, Subscriber, Subscription
from billing.adapters.billing_run import post_usage, run_billing
from billing.adapters.databases import writing
from billing.adapters.invoices import record_topup
from billing.adapters.payments import record_payment
from billing.adapters.repositories import create
from billing.adapters.rows import write_rows
from billing.config import BillingConfig
from billing.payments import Payment, TopUp
from rating.periods import day_start_at
from rating.rows import PeriodClosing, UsageCharge, UsageCounter, UsageDay
from tests.billing import world
from tests.billing.world import GB, LATENESS_MS, home_plan

KATHMANDU = Branch("ktm", "Everest Net", "Asia/Kathmandu", "NPR", "KTM", "en", "Thamel")
ZONES = {"dhk": world.ZONE, "ktm": KATHMANDU.timezone}
CURRENCIES = {"dhk": "BDT", "ktm": "NPR"}


def at(branch: str, day: str, hour: int = 0) -> int:
    """Return the instant (ms) of a local hour of a branch."""
    start = day_start_at(ZONES[branch], datetime.date.fromisoformat(day))
    return start + hour * 3_600_000


@dataclasses.dataclass(frozen=True)
class Used:
    """A service's usage of one month: minor units per local day."""

    branch: str
    key: str
    month: str
    days: dict[str, int]
    plan: str = "home"
    is_closed: bool = True


def found(connection: Connection) -> None:
    """Open the branches, sell the plans, and let the customers come and go."""
    create(connection, world.BRANCH)
    create(connection, KATHMANDU)
    inclusive = home_plan(plan_id="shop", name="Shop", recurring_fee="2300.00", tax_inclusive=True)
    prepaid = home_plan(plan_id="prepaid", name="Prepaid", kind="prepaid", recurring_fee="0")
    nepal = home_plan(plan_id="nepal", name="Nepal 50", currency="NPR", recurring_fee="1500.00")
    nepal = dataclasses.replace(nepal, branch_id="ktm")
    for version in (home_plan(), inclusive, prepaid, nepal):
        create(connection, version)
    for branch, name, plan, since, until in (
        ("dhk", "karim", "home", "2026-01-01", None),
        ("dhk", "rahima", "home", "2026-01-01", "2026-11-20"),
        ("dhk", "shop", "shop", "2026-11-10", None),
        ("dhk", "nila", "prepaid", "2026-01-01", None),
        ("ktm", "maya", "nepal", "2026-01-01", None),
    ):
        create(connection, Account(name, branch, name.title(), "person", "", "", 0))
        create(connection, Subscriber(name, branch, name, name, name.title(), "active", 0))
        ends_at = at(branch, until) if until else None
        create(
            connection,
            Subscription(f"{name}-1", branch, name, name, plan, 1, at(branch, since), ends_at),
        )


def use(connection: Connection, used: Used) -> None:
    """Write what the rate stage writes of a month: counter, days, and its closing."""
    start = at(used.branch, f"{used.month}-01")
    end = at(used.branch, world.following(used.month))
    currency, total = CURRENCIES[used.branch], sum(used.days.values())
    common = (end, used.plan, 1, 600 * GB)
    written: list[object] = [
        UsageCounter(
            used.key, start, 0, "data", *common, 500 * GB, f"{total}/100", total, currency, end
        ),
        *(
            UsageDay(used.key, "data", day, 0, 0, start, GB, minor, currency, end)
            for day, minor in used.days.items()
        ),
    ]
    if used.is_closed:
        closed_at = end + LATENESS_MS
        written += [
            UsageCharge(
                used.key, start, 0, "data", 0, *common, f"{total}/100", total, currency, "",
                closed_at,
            ),
            PeriodClosing(used.key, start, end, closed_at, True, ""),
        ]  # fmt: skip
    write_rows(connection, written)


OCTOBER = (
    Used("dhk", "karim", "2026-10", {"2026-10-20": 20000, "2026-10-31": 40000}),
    Used("dhk", "rahima", "2026-10", {}),
    Used("dhk", "nila", "2026-10", {"2026-10-05": 12000}, "prepaid"),
    Used("ktm", "maya", "2026-10", {"2026-10-31": 7700}, "nepal"),
)
NOVEMBER = (
    Used("dhk", "karim", "2026-11", {"2026-11-11": 3333}),
    Used("dhk", "rahima", "2026-11", {"2026-11-02": 101}),
    Used("dhk", "shop", "2026-11", {"2026-11-30": 1000}, "shop"),
    Used("dhk", "nila", "2026-11", {"2026-11-06": 5000}, "prepaid"),
    Used("ktm", "maya", "2026-11", {}, "nepal"),
)
DECEMBER = (
    Used("dhk", "karim", "2026-12", {"2026-12-01": 900, "2026-12-02": 77}, is_closed=False),
    Used("dhk", "nila", "2026-12", {"2026-12-01": 400}, "prepaid", is_closed=False),
)


def live(engine: Engine) -> None:
    """Live through the three months, with the office looking at each month's end."""
    config = BillingConfig()
    with writing(engine) as connection:
        found(connection)
    for month, stretch in (("2026-10", OCTOBER), ("2026-11", NOVEMBER)):
        with writing(engine) as connection:
            for used in stretch:
                use(connection, used)
        now = at("dhk", world.following(month), 12)
        post_usage(engine, config, now)
        run_billing(engine, config, now)
        if month == "2026-10":
            _of_november(engine)
    with writing(engine) as connection:
        for used in DECEMBER:
            use(connection, used)
    post_usage(engine, config, at("dhk", "2026-12-03"))


def _of_november(engine: Engine) -> None:
    """Pay, top up, and find late usage of October."""
    with writing(engine) as connection:
        pay(connection, "karim", 100000, "2026-11-05", "cash")
        pay(connection, "rahima", 115000, "2026-11-06", "mobile")
        record_topup(
            connection,
            TopUp("evt-1", "dhk", "nila", 50000, "BDT", at("dhk", "2026-11-07", 9)),
            at("dhk", "2026-11-07", 9),
        )
        world.revise_month(
            connection, "karim", "2026-10", revision=1, gigabytes=625, minor=62500,
            day_minor=2500, closed_at=at("dhk", "2026-11-08"),
        )  # fmt: skip


def pay(connection: Connection, account: str, minor: int, on: str, method: str) -> None:
    """Record a payment for an account's invoice of October."""
    received_at = at("dhk", on, 10)
    payment = Payment(
        f"pay-{account}", "dhk", account, f"inv_{account}_2026-10-01_BDT", method,
        f"ref-{account}", minor, "BDT", received_at, "clerk",
    )  # fmt: skip
    record_payment(connection, payment, received_at)
