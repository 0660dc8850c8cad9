"""A small ISP for tests: one branch in Dhaka, accounts, plans, and closed months of usage."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import Connection, Engine, select

from billing.accounts import Account, Branch, PlanVersion, Subscriber, Subscription
from billing.adapters import tables
from billing.adapters.databases import reading
from billing.adapters.repositories import create
from billing.adapters.rows import write_rows
from rating.periods import day_start_at
from rating.plans import encode_plan, plan_from
from rating.rows import PeriodClosing, UsageCharge, UsageCounter, UsageDay

ZONE = "Asia/Dhaka"
GB = 10**9
LATENESS_MS = 7_200_000

BRANCH = Branch("dhk", "Dhaka Fibre", ZONE, "BDT", "DHK", "en", "House 7, Road 3\nDhanmondi, Dhaka")


def at(day: str, hour: int = 0) -> int:
    """Return the instant (ms) of a local hour in Dhaka."""
    return day_start_at(ZONE, datetime.date.fromisoformat(day)) + hour * 3_600_000


def home_plan(version: int = 1, **changes: Any) -> PlanVersion:
    """Return the plan most tests use: 1,000.00 a month, 500 GB included, 5.00 a GB above."""
    document = {
        "plan_id": "home",
        "version": version,
        "name": "Home 50",
        "currency": "BDT",
        "recurring_fee": "1000.00",
        "tax_rate": "0.15",
        "meters": [
            {
                "meter_id": "data",
                "name": "Internet",
                "curve": {
                    "model": "allowance_overage",
                    "allowance": 500 * GB,
                    "unit_price": "5.00",
                    "unit": GB,
                },
            }
        ],
    } | changes
    plan = plan_from(document)
    return PlanVersion(plan.plan_id, version, "dhk", plan.name, encode_plan(plan), 0)


def add_customer(
    connection: Connection, name: str, plan: str = "home", *, since: str = "2026-01-01"
) -> None:
    """Add an account with one subscriber of the same name and a running subscription."""
    create(connection, Account(name, "dhk", name.title(), "person", f"{name}@example.net", "", 0))
    add_subscription(connection, name, name, plan, since=since)


def add_subscription(
    connection: Connection,
    account: str,
    subscriber: str,
    plan: str = "home",
    *,
    since: str,
    until: str | None = None,
    version: int = 1,
) -> None:
    """Add a subscription, and its subscriber where new."""
    known = select(tables.subscriber.c.name).where(tables.subscriber.c.subscriber_id == subscriber)
    if connection.scalar(known) is None:
        create(
            connection,
            Subscriber(subscriber, "dhk", account, subscriber, subscriber.title(), "active", 0),
        )
    create(
        connection,
        Subscription(
            f"{subscriber}-{plan}-{version}-{since}",
            "dhk",
            account,
            subscriber,
            plan,
            version,
            at(since),
            at(until) if until else None,
        ),
    )


def close_month(
    connection: Connection,
    key: str,
    month: str,
    *,
    gigabytes: int,
    minor: int,
    days: dict[str, int] | None = None,
    complete: bool = True,
    closed_at: int | None = None,
) -> None:
    """Close a month of one rating key as the rate stage does; days give each day's amount."""
    start, end = at(f"{month}-01"), at(following(month))
    closed_at = closed_at or end + LATENESS_MS
    reason = "" if complete else "exporter-7 was silent for 3 h"
    posted = {f"{month}-28": minor} if days is None else days
    write_rows(
        connection,
        [
            UsageCounter(
                key,
                start,
                0,
                "data",
                end,
                "home",
                1,
                gigabytes * GB,
                500 * GB,
                "0/1",
                minor,
                "BDT",
                end,
            ),
            UsageCharge(
                key,
                start,
                0,
                "data",
                0,
                end,
                "home",
                1,
                gigabytes * GB,
                f"{minor}/100",
                minor,
                "BDT",
                "",
                closed_at,
            ),
            *(
                UsageDay(key, "data", day, 0, 0, start, 0, amount, "BDT", closed_at - 1)
                for day, amount in posted.items()
            ),
            PeriodClosing(key, start, end, closed_at, complete, reason),
        ],
    )


def revise_month(
    connection: Connection,
    key: str,
    month: str,
    *,
    revision: int,
    gigabytes: int,
    minor: int,
    day_minor: int,
    closed_at: int,
) -> None:
    """Write a late revision of a closed month, with the day's difference."""
    start, end = at(f"{month}-01"), at(following(month))
    write_rows(
        connection,
        [
            UsageCharge(
                key,
                start,
                0,
                "data",
                revision,
                end,
                "home",
                1,
                gigabytes * GB,
                f"{minor}/100",
                minor,
                "BDT",
                "",
                closed_at,
            ),
            UsageDay(
                key, "data", f"{month}-28", 0, revision, start, 0, day_minor, "BDT", closed_at
            ),
        ],
    )


def following(month: str) -> str:
    """Return the first day of the month after (``2026-11`` to ``2026-12-01``)."""
    first = datetime.date.fromisoformat(f"{month}-01")
    return (first + datetime.timedelta(days=32)).replace(day=1).isoformat()


def invoices(engine: Engine) -> list[Any]:
    """Return all invoice rows by period and account."""
    table = tables.invoice
    with reading(engine) as connection:
        query = select(table).order_by(table.c.period_end_at, table.c.account_id)
        return list(connection.execute(query).all())


def lines(engine: Engine, account: str, month: str) -> list[tuple[str, str, int]]:
    """Return (kind, description, amount) of an invoice's lines."""
    line, invoice = tables.invoice_line.c, tables.invoice.c
    with reading(engine) as connection:
        query = (
            select(line.kind, line.description, line.amount_minor)
            .join_from(tables.invoice_line, tables.invoice)
            .where(invoice.account_id == account, invoice.period_start_at == at(f"{month}-01"))
            .order_by(line.line)
        )
        return [tuple(row) for row in connection.execute(query)]
