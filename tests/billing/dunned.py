"""A branch in Dhaka with invoices that nobody pays, and an office that duns."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from billing.adapters import dunning_tables, tables
from billing.adapters.billing_run import run_billing
from billing.adapters.databases import reading, writing
from billing.adapters.dunning import DunningLoop
from billing.adapters.payments import record_payment
from billing.adapters.repositories import create
from billing.config import BillingConfig, DunningConfig
from billing.dunning_schedule import encode_schedule, schedule_from
from billing.payments import Payment
from tests.billing import world

STEPS: tuple[dict[str, Any], ...] = (
    {"step_id": "soon", "days": -3, "action": "remind", "template": "due_soon"},
    {"step_id": "reminder", "days": 3, "action": "remind", "template": "overdue"},
    {"step_id": "fee", "days": 3, "action": "late_fee", "amount": {"BDT": "50.00"}},
    {"step_id": "slow", "days": 7, "action": "slow_down", "profile": "slow"},
    {"step_id": "block", "days": 14, "action": "block"},
    {"step_id": "end", "days": 60, "action": "terminate"},
)


def add_schedule(
    connection: Connection, schedule_id: str = "homes", version: int = 1, **changes: Any
) -> None:
    """Add a version of a schedule, valid since long ago."""
    document = {
        "schedule_id": schedule_id,
        "version": version,
        "name": "Homes",
        "steps": list(STEPS),
    } | changes
    schedule = schedule_from(document)
    row = {
        "schedule_id": schedule_id,
        "version": version,
        "branch_id": "dhk",
        "name": schedule.name,
        "document": encode_schedule(schedule),
        "valid_from_at": 0,
    }
    connection.execute(insert(dunning_tables.dunning_schedule), [row])


def found(engine: Engine, names: Sequence[str] = ("karim",), **changes: Any) -> None:
    """Open a branch whose accounts fall under `homes`, and invoice November on 1 December.

    Each owes 1,150.00, due on 15 December.
    """
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, world.home_plan())
        add_schedule(connection, **changes)
        terms = {"branch_id": "dhk", "schedule_id": "homes"}
        connection.execute(insert(dunning_tables.branch_terms), [terms])
        for name in names:
            world.add_customer(connection, name)
            world.close_month(connection, name, "2026-11", gigabytes=100, minor=0)
    run_billing(engine, BillingConfig(), world.at("2026-12-01", 3))


def invoice_id(name: str = "karim") -> str:
    """Return the id of November's invoice of an account."""
    return f"inv_{name}_2026-11-01_BDT"


class Office:
    """Looks after dunning on the days that a test names; ended are the accounts it ended."""

    def __init__(self, engine: Engine, config: DunningConfig | None = None) -> None:
        self.engine = engine
        self.ended: list[str] = []
        self.config = config or DunningConfig()
        self.loop = self.start()

    def start(self) -> DunningLoop:
        """Begin a new office process."""
        self.loop = DunningLoop(self.engine, self.config, ["log", "smtp"], self._end)
        return self.loop

    def _end(self, connection: Connection, account_id: str, now_ms: int) -> int:
        self.ended.append(account_id)
        return 1

    def look(self, day: str, hour: int = 10) -> list[str]:
        """Look at everybody at an hour of a local day; return the steps that were taken."""
        before = steps(self.engine)
        while True:
            self.loop.run_once(world.at(day, hour))
            if not self.loop.has_more():
                break
        return steps(self.engine)[len(before) :]

    def live(self, first: str, last: str) -> list[tuple[str, str, str]]:
        """Live through days; return (day, steps, service) of those with a change."""
        day, seen, before = datetime.date.fromisoformat(first), [], service(self.engine)
        while day.isoformat() <= last:
            taken = [
                step for hour in (0, 8, 9, 15, 23) for step in self.look(day.isoformat(), hour)
            ]
            now = service(self.engine)
            if taken or now != before:
                seen.append((day.isoformat(), " + ".join(taken), now))
            before = now
            day += datetime.timedelta(days=1)
        return seen


def steps(engine: Engine) -> list[str]:
    """Return the steps taken so far in order, ``account:step``; Karim's by the step alone."""
    row = dunning_tables.dunning_step.c
    query = select(row.account_id, row.step_id, row.taken_at)
    with reading(engine) as connection:
        found = list(connection.execute(query).all())
    order = {step["step_id"]: number for number, step in enumerate(STEPS)}
    found.sort(key=lambda row: (row.taken_at, row.account_id, order.get(row.step_id, 0)))
    return [r.step_id if r.account_id == "karim" else f"{r.account_id}:{r.step_id}" for r in found]


def service(engine: Engine, name: str = "karim") -> str:
    """Return what dunning holds an account to, empty for nothing."""
    row = dunning_tables.dunning_restriction.c
    with reading(engine) as connection:
        return connection.scalar(select(row.action).where(row.account_id == name)) or ""


def pay(
    engine: Engine,
    minor: int,
    day: str,
    *,
    name: str = "karim",
    reference: str = "",
    status: str = "settled",
    hour: int = 12,
) -> None:
    """Pay at the counter."""
    at = world.at(day, hour)
    reference = reference or f"{day}-{minor}"
    payment = Payment(
        payment_id=f"pay-{name}-{reference}",
        branch_id="dhk",
        account_id=name,
        invoice_id=invoice_id(name),
        method="cash",
        reference=reference,
        amount_minor=minor,
        currency="BDT",
        received_at=at,
        recorded_by="Nasrin",
        status=status,
    )
    with writing(engine) as connection:
        record_payment(connection, payment, at)


def add_pause(engine: Engine, kind: str, first: str, last: str | None, **changes: Any) -> None:
    """Write a pause of Karim's."""
    row = {
        "pause_id": f"{kind}-{first}",
        "branch_id": "dhk",
        "account_id": "karim",
        "kind": kind,
        "restores": False,
        "from_on": first,
        "until_on": last,
        "made_at": world.at(first, 11),
        "made_by": "Nasrin",
    } | changes
    with writing(engine) as connection:
        connection.execute(insert(dunning_tables.dunning_pause), [row])


def rows(engine: Engine, table: Any) -> list[Any]:
    """Return all rows of a table."""
    with reading(engine) as connection:
        return list(connection.execute(select(table)).all())


def told(engine: Engine) -> list[tuple[str, str, str]]:
    """Return (channel, recipient, subject) of everything in the outbox."""
    return sorted((r.channel, r.recipient, r.subject) for r in rows(engine, tables.notification))
