"""A small ISP with a history: two branches, families in pools, usage that breathes with the day.

Everything follows from the seed and the instant, so two runs show the same.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine, insert

from api.app import create_app
from api.config import ApiConfig
from api.keys import Principal, issue_key
from api.ports import Services
from billing.accounts import Account, Branch
from billing.adapters import tables
from billing.adapters.databases import open_database, writing
from billing.adapters.repositories import find, find_plan, subscriptions_in
from billing.adapters.rows import write_rows
from billing.catalog import terms_of
from billing.invoices import InvoiceInputs, RecurringInput, UsageInput, draft_invoice
from rating.rows import UsageCharge, UsageDay
from tests.api.sample_cable import fill_cable
from tests.api.sample_usage import (
    GB,
    HOUR,
    MINUTE,
    PERIOD_END,
    PERIOD_START,
    PREVIOUS_START,
    SampleUsage,
)

NOW = 1_795_256_107_000
"""2026-11-21T10:15:07Z, a Saturday, 16:15 in Dhaka."""

OPERATOR_TOKEN = "frk_operator-of-the-tests"

_FAMILIES = (
    "Rahman", "Hossain", "Chowdhury", "Akter", "Islam", "Khatun", "Uddin", "Sarkar", "Begum",
    "Ahmed", "Karim", "Das", "Roy", "Talukder", "Mondal", "Siddique", "Haque", "Bhuiyan",
    "Sultana", "Mia",
)  # fmt: skip
_GIVEN = (
    "Ayesha", "Tanvir", "Nusrat", "Rafiq", "Farhana", "Imran", "Sadia", "Kamal", "Mitu", "Shafiq",
    "Rumana", "Arif", "Jannat", "Habib", "Tania", "Sohel", "Nasrin", "Faisal", "Lima", "Zahid",
)  # fmt: skip
PLAN_DOCUMENT: dict[str, Any] = {
    "currency": "BDT",
    "recurring_fee": "700",
    "tax_rate": "0.05",
    "meters": [
        {
            "meter_id": "data",
            "name": "Data",
            "curve": {
                "model": "allowance_overage",
                "allowance": 100 * GB,
                "unit_price": "10",
                "unit": GB,
            },
        }
    ],
    "throttle_steps": [{"meter_id": "data", "profile": "slow-2m", "at_percent": 100}],
}


_LINE_COLUMNS = (
    "kind", "description", "rating_key", "meter_id", "quantity", "unit", "amount_minor", "tax_rate",
)  # fmt: skip


@dataclasses.dataclass
class Appended:
    """A topic append as the tests see it."""

    topic: str
    frame: pl.DataFrame


@dataclasses.dataclass
class World:
    """A running sample: its services, what was appended, and a key per branch."""

    services: Services
    appended: list[Appended]
    keys: dict[str, str]
    counted: dict[str, int]

    @property
    def engine(self) -> Engine:
        """Return the database."""
        return self.services.engine


def open_world(url: str, *, now_ms: Callable[[], int] = lambda: NOW, **config: Any) -> World:
    """Return a sample world in an empty database."""
    engine = open_database(url, synchronous="normal")
    tables.metadata.create_all(engine)
    with writing(engine) as connection:
        weights, keys = fill(connection, now_ms())
    return world_over(engine, weights, keys, now_ms=now_ms, **config)


def world_over(
    engine: Engine,
    weights: Mapping[str, float],
    keys: dict[str, str],
    *,
    now_ms: Callable[[], int] = lambda: NOW,
    **config: Any,
) -> World:
    """Return the world of a database that is filled already."""
    appended: list[Appended] = []
    counted: dict[str, int] = {}
    ids = iter(range(1, 10**6))

    def append(_connection: Connection, topic: str, _producer: str, frame: pl.DataFrame) -> None:
        appended.append(Appended(topic, frame))

    def count(name: str, increment: int) -> None:
        counted[name] = counted.get(name, 0) + increment

    services = Services(
        engine=engine,
        usage=SampleUsage(weights),
        append_rows=append,
        now_ms=now_ms,
        new_id=lambda prefix: f"{prefix}_new{next(ids):04d}",
        new_token=lambda length: (next(ids) + 10**6).to_bytes(length, "big"),
        secret=b"a secret of the tests",
        operator_token=OPERATOR_TOKEN,
        config=ApiConfig(
            **{"account_event_wait_seconds": 0.2, "login_link_enabled": True, **config}
        ),
        read_processes=lambda: processes(now_ms()),
        read_watermarks=lambda: {
            "decode": now_ms() - 900,
            "sessions": now_ms() - 1_200,
            "attribute": now_ms() - 31_000 + 10_000,
            "rate": now_ms() - 1_400,
        },
        count=count,
    )
    return World(services, appended, keys, counted)


def application(world: World) -> Any:
    """Return the application of a world."""
    return create_app(world.services)


def processes(now: int) -> dict[str, Any]:
    """Return what supervisor.json would say: the engine was restarted 12 s ago."""
    up = now - 3 * HOUR
    names = ("store", "engine", "office", "web", "radius", "receive")
    entries = [
        {"name": n, "state": "running", "started_at": up, "restarts": 0, "last_exit": ""}
        for n in names
    ]
    entries[1] |= {"started_at": now - 12_000, "restarts": 1, "last_exit": "killed by SIGKILL"}
    return {"state": "running", "started_at": up, "processes": entries}


def fill(connection: Connection, now: int) -> tuple[dict[str, float], dict[str, str]]:
    """Write the business data; return each subscriber's weight and a key per branch."""
    chance = random.Random(7)
    branches = (
        ("dhanmondi", "Dhanmondi", "Asia/Dhaka", "BDT", "DHM"),
        ("pokhara", "Pokhara", "Asia/Kathmandu", "NPR", "PKR"),
    )
    keys = {}
    octets = iter(range(1, 1000))
    for branch_id, name, timezone, currency, prefix in branches:
        row = (branch_id, name, timezone, currency, prefix, "en")
        columns = ("branch_id", "name", "timezone", "currency", "invoice_prefix", "language")
        connection.execute(insert(tables.branch).values(dict(zip(columns, row, strict=True))))
        principal = Principal(f"key-{branch_id}", f"{name} desk", branch_id)
        issued = issue_key(
            connection,
            principal,
            created_at=now,
            new_token=lambda length: next(octets).to_bytes(length, "big"),
        )
        keys[branch_id] = issued.token
        for plan_id, plan_name in (("home-100", "Home 100"), ("family-100", "Family 100")):
            document = {
                **PLAN_DOCUMENT,
                "plan_id": plan_id,
                "version": 1,
                "name": plan_name,
                "currency": currency,
            }
            plan = {
                "plan_id": f"{branch_id}-{plan_id}",
                "version": 1,
                "branch_id": branch_id,
                "name": plan_name,
                "document": json.dumps({**document, "plan_id": f"{branch_id}-{plan_id}"}),
                "valid_from_at": PREVIOUS_START,
            }
            connection.execute(insert(tables.plan).values(plan))
    weights: dict[str, float] = {}
    for number in range(48):
        family = _Family(number, "dhanmondi" if number < 42 else "pokhara", chance, now)
        family.write(connection, weights)
    _unattributed(connection, now)
    fill_cable(connection, now)
    return weights, keys


@dataclasses.dataclass
class _Family:
    """One account: a subscriber of its own, or (every sixth) a pool of three."""

    number: int
    branch_id: str
    chance: random.Random
    now: int

    def write(self, connection: Connection, weights: dict[str, float]) -> None:
        """Write the account with all that belongs to it."""
        self.name = _FAMILIES[self.number % len(_FAMILIES)]
        self.account_id = f"acc_{self.number:04d}"
        self.currency = "BDT" if self.branch_id == "dhanmondi" else "NPR"
        is_pool = self.number % 6 == 0
        connection.execute(
            insert(tables.account).values(
                account_id=self.account_id,
                branch_id=self.branch_id,
                name=f"{self.name} family" if is_pool else f"{self._given(0)} {self.name}",
                kind="person",
                email=f"{self.name.lower()}{self.number}@example.net",
                phone=f"+88017000{self.number:05d}",
                address=f"House {self.number + 3}, Road {self.number % 9 + 1}",
                created_at=PREVIOUS_START,
            )
        )
        self.rating_key = f"pool_{self.number:04d}" if is_pool else f"sub_{self.number:04d}a"
        if is_pool:
            row = {"pool_id": self.rating_key, "name": f"{self.name} family"}
            row |= {"branch_id": self.branch_id, "account_id": self.account_id}
            connection.execute(insert(tables.pool).values(row))
        used = self.chance.choice((0.083, 0.214, 0.347, 0.426, 0.552, 0.638, 0.741, 0.833, 0.917))
        used = 1.124 if self.number % 9 == 1 else used
        for member in range(3 if is_pool else 1):
            subscriber_id = f"sub_{self.number:04d}{'abc'[member]}"
            weights[subscriber_id] = used * self.chance.uniform(0.6, 1.6) / (3 if is_pool else 1)
            self._subscriber(connection, subscriber_id, member, used)
        self._period(connection, used, is_pool)
        self._invoices(connection, used)

    def _given(self, member: int) -> str:
        return _GIVEN[(self.number * 7 + member * 3) % len(_GIVEN)]

    def _subscriber(
        self, connection: Connection, subscriber_id: str, member: int, used: float
    ) -> None:
        user_name = f"{self.name.lower()}{self.number:02d}{'abc'[member]}"
        row = {
            "subscriber_id": subscriber_id,
            "branch_id": self.branch_id,
            "account_id": self.account_id,
            "user_name": user_name,
            "name": f"{self._given(member)} {self.name}",
            "status": "suspended" if self.number == 17 else "active",
            "created_at": PREVIOUS_START,
        }
        connection.execute(insert(tables.subscriber).values(row))
        for kind, match, target in (
            ("identity", f"user_name:{user_name}", subscriber_id),
            ("membership", subscriber_id, self.rating_key),
        ):
            entry = {
                "entry_id": f"{kind}/{match}/{PREVIOUS_START}",
                "revision": 1,
                "kind": kind,
                "match": match,
                "target": target,
                "priority": 0,
                "valid_from_at": PREVIOUS_START,
                "valid_until_at": None,
                "branch_id": self.branch_id,
            }
            connection.execute(insert(tables.directory_entry).values(entry))
        self._sessions(connection, subscriber_id, user_name, used)

    def _sessions(
        self, connection: Connection, subscriber_id: str, user_name: str, used: float
    ) -> None:
        pace = 2_000_000 if used > 1 else int(self.chance.uniform(3e6, 46e6))
        for age in range(4):
            live = age == 0 and self.number not in (9, 17, 23, 31)
            started = self.now - (age * 9 + 3) * HOUR - self.number * MINUTE
            down = int(self.chance.uniform(2, 14) * GB)
            connection.execute(
                insert(tables.live_session).values(
                    session_id=f"nas-{self.branch_id}-1/{subscriber_id[4:]}{age}/1",
                    nas_id=f"nas-{self.branch_id}-1",
                    nas_address="192.0.2.1",
                    acct_session_id=f"{subscriber_id[4:]}{age}",
                    subscriber_id=subscriber_id,
                    user_name=user_name,
                    framed_address=f"10.20.{self.number}.{ord(subscriber_id[-1]) - 83}",
                    delegated_prefix=f"2001:db8:{self.number:x}00::/56",
                    started_at=started,
                    last_seen_at=self.now - 4_000 if live else started + 8 * HOUR,
                    ended_at=None if live else started + 8 * HOUR,
                    end_cause="" if live else "User-Request",
                    octets_up=down // 9,
                    octets_down=down,
                    rate_up_bps=pace // 8 if live else 0,
                    rate_down_bps=pace if live else 0,
                    interval_start_at=self.now - 9_000,
                )
            )

    def _period(self, connection: Connection, used: float, is_pool: bool) -> None:
        plan_id = f"{self.branch_id}-{'family-100' if is_pool else 'home-100'}"
        connection.execute(
            insert(tables.subscription).values(
                subscription_id=f"scn_{self.number:04d}",
                branch_id=self.branch_id,
                account_id=self.account_id,
                rating_key=self.rating_key,
                plan_id=plan_id,
                plan_version=1,
                starts_at=PREVIOUS_START,
                ends_at=None,
            )
        )
        quantity = int(used * 100 * GB)
        overage = max(0, quantity - 100 * GB) * 1000 // GB
        connection.execute(
            insert(tables.usage_counter).values(
                rating_key=self.rating_key,
                period_start_at=PERIOD_START,
                segment_number=1,
                meter_id="data",
                period_end_at=PERIOD_END,
                plan_id=plan_id,
                plan_version=1,
                quantity=quantity,
                allowance=100 * GB,
                amount_exact=f"{overage}/100",
                amount_minor=overage,
                currency=self.currency,
                updated_at=self.now - 2_000,
            )
        )
        for percent in (50, 80, 100):
            if used * 100 >= percent:
                self._alert(connection, percent)
        if used > 1:
            self._throttle(connection)

    def _alert(self, connection: Connection, percent: int) -> None:
        ago = (100 - percent) * 11 * MINUTE + self.number * 71_000 + 9_000
        connection.execute(
            insert(tables.alert).values(
                alert_id=f"{self.rating_key}/data/{percent}",
                rating_key=self.rating_key,
                period_start_at=PERIOD_START,
                meter_id="data",
                percent=percent,
                quantity=percent * GB + 1_400_000,
                threshold=percent * GB,
                raised_at=self.now - ago,
            )
        )

    def _throttle(self, connection: Connection) -> None:
        target, reason = "profile:slow-2m", "data: 100 % of the allowance"
        row = {"rating_key": self.rating_key, "target": target, "reason": reason}
        decided_at = self.now - self.number * 71_000
        connection.execute(insert(tables.desired_service).values(**row, decided_at=decided_at))
        asked = self.now - self.number * 71_000 - 8_000
        outcome = (
            "timeout" if self.number == 28 else "verified" if self.number > 1 else "acknowledged"
        )
        acknowledged = outcome in ("verified", "acknowledged")
        members = "abc" if self.number % 6 == 0 else "a"
        for member in members:
            subscriber_id = f"sub_{self.number:04d}{member}"
            connection.execute(
                insert(tables.command).values(
                    command_id=f"cmd_{subscriber_id}",
                    branch_id=self.branch_id,
                    subscriber_id=subscriber_id,
                    session_id=f"nas-{self.branch_id}-1/{subscriber_id[4:]}0/1",
                    kind="coa",
                    target=target,
                    attempt=3 if outcome == "timeout" else 1,
                    vendor_profile="mikrotik",
                    outcome=outcome,
                    requested_at=asked,
                    sent_at=asked + 40,
                    acknowledged_at=asked + 52 if acknowledged else None,
                    verified_at=asked + 9_600 if outcome == "verified" else None,
                    reason=reason,
                )
            )

    def _invoices(self, connection: Connection, used: float) -> None:
        over = max(0, round((used - 0.6) * 100))
        draft = draft_invoice(self._october(connection, over))
        paid = self.number % 3 != 0
        prefix = "DHM" if self.branch_id == "dhanmondi" else "PKR"
        invoice_id = f"inv_{self.account_id}_2026-10"
        connection.execute(
            insert(tables.invoice).values(
                invoice_id=invoice_id,
                branch_id=self.branch_id,
                account_id=self.account_id,
                series="2026",
                number=f"{prefix}-2026-{400 + self.number:06d}",
                status="paid" if paid else "finalized",
                period_start_at=PREVIOUS_START,
                period_end_at=PERIOD_START,
                issued_at=PERIOD_START + 2 * HOUR,
                due_on="2026-11-28" if self.number % 2 else "2026-11-15",
                currency=self.currency,
                subtotal_minor=draft.subtotal_minor,
                tax_minor=draft.tax_minor,
                total_minor=draft.total_minor,
                hash=draft.hash,
                document=draft.document.replace(draft.invoice_id, invoice_id),
                paid_minor=draft.total_minor if paid else 0,
            )
        )
        for position, line in enumerate(draft.lines, 1):
            row = {name: getattr(line, name) for name in _LINE_COLUMNS}
            row |= {"invoice_id": invoice_id, "line": position}
            row["evidence"] = json.dumps(dict(line.evidence))
            connection.execute(insert(tables.invoice_line).values(row))

    def _october(self, connection: Connection, over: int) -> InvoiceInputs:
        """Return October's invoice as billing makes it: the fee, and `over` GB above 100."""
        branch, account = (
            find(connection, Branch, self.branch_id),
            find(connection, Account, self.account_id),
        )
        [subscription] = subscriptions_in(connection, self.account_id, PREVIOUS_START, PERIOD_START)
        plan = find_plan(connection, subscription.plan_id, 1)
        assert branch is not None
        assert account is not None
        assert plan is not None
        terms = terms_of(plan.document)
        charge = UsageCharge(
            rating_key=self.rating_key,
            period_start_at=PREVIOUS_START,
            segment_number=0,
            meter_id="data",
            revision=0,
            period_end_at=PERIOD_START,
            plan_id=plan.plan_id,
            plan_version=1,
            quantity=(100 + over) * GB,
            amount_exact=f"{over * 10}/1",
            amount_minor=over * 1000,
            currency=self.currency,
            description=f"{plan.name}: Data",
            closed_at=PERIOD_START + 2 * HOUR,
        )
        write_rows(connection, [charge])
        if over:
            day = UsageDay(
                self.rating_key, "data", "2026-10-31", 0, 0, PREVIOUS_START, over * GB, over * 1000,
                self.currency, PERIOD_START,
            )  # fmt: skip
            write_rows(connection, [day])
        return InvoiceInputs(
            branch,
            account,
            self.currency,
            PREVIOUS_START,
            PERIOD_START,
            [RecurringInput(subscription, terms, self.name)],
            [UsageInput(charge, terms, self.name, 100 * GB)],
            [],
        )


def _unattributed(connection: Connection, now: int) -> None:
    for number, detail in enumerate(("10.20.99.4", "user_name:unknown-cpe")):
        for back in range(12):
            connection.execute(
                insert(tables.unattributed_minute).values(
                    source="flows" if number == 0 else "accounting",
                    detail=detail,
                    minute=now // MINUTE - back,
                    octets_up=12_000 * (back + 1),
                    octets_down=310_000 * (back + 1),
                )
            )
