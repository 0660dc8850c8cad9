"""How fast a billing run is: accounts per second, and the memory it takes.

Run ``python -m tests.benchmarks.bench_billing_run [--accounts N]``. Every account has a plan with a
month of usage, television in advance, and one in ten a discount and an installation; one in twenty
has television alone. The month is closed; the run drafts and finalizes it as the office does, with
each invoice's ledger posting, each in its own transaction, on SQLite as embedded mode has it.
Prints how many queries an invoice took, and what a second run, with nothing to do, costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, insert

from billing.accounts import Account, Subscriber, Subscription
from billing.adapters import service_tables, tables
from billing.adapters.billing_run import run_billing
from billing.adapters.charge_tables import charge
from billing.adapters.databases import open_database, writing
from billing.adapters.discount_tables import discount
from billing.adapters.ledger import trial_balance
from billing.adapters.repositories import create
from billing.adapters.rows import write_rows
from billing.charges import Charge
from billing.config import BillingConfig
from billing.discounts import Discount
from billing.services import Product, Service
from infra.migrate import migrate
from rating.rows import PeriodClosing, UsageCharge
from tests.billing import world
from tests.billing.world import GB, at, home_plan

MONTH, END = at("2026-11-01"), at("2026-12-01")
NOW = at("2026-12-01", 12)
CLOSED = END + world.LATENESS_MS
TV = Product("tv", 1, "dhk", "TV", "tv", "BDT", "300.00", "advance", "", "day", "15", False, 0)
PER_INSERT = 5_000


def found_isp(connection: Connection, first: int, count: int) -> None:
    """Add accounts numbered from `first` with all that their invoice of November needs."""
    rows: dict[Any, list[dict[str, Any]]] = {}
    closed: list[Any] = []

    def add(table: Any, record: Any) -> None:
        rows.setdefault(table, []).append(dataclasses.asdict(record))

    for number in range(first, first + count):
        key = f"c{number:06d}"
        add(tables.account, Account(key, "dhk", key.title(), "person", "", "", 0))
        service = Service(f"tv-{key}", "dhk", key, "", "tv", 1, 1, MONTH, None)
        add(service_tables.service, service)
        if number % 10 == 0:
            sale = Charge(
                f"i-{key}", "dhk", key, "installation", "Installation", 250000, "BDT", END - 1
            )
            add(charge, sale)
        if number % 20 == 19:
            continue
        add(tables.subscriber, Subscriber(key, "dhk", key, key, key.title(), "active", 0))
        add(tables.subscription, Subscription(f"s-{key}", "dhk", key, key, "home", 1, 0, None))
        used = UsageCharge(
            key, MONTH, 0, "data", 0, END, "home", 1, 620 * GB, "600/1", 60000, "BDT", "", CLOSED
        )
        closed += [used, PeriodClosing(key, MONTH, END, CLOSED, True, "")]
    for table, found in rows.items():
        connection.execute(insert(table), found)
    write_rows(connection, closed)


def prepare(directory: Path, accounts: int) -> Engine:
    """Return an engine on a database of so many accounts whose month is closed."""
    url = f"sqlite:///{directory / 'business.sqlite'}"
    migrate(url)
    engine = open_database(url)
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        connection.execute(insert(service_tables.product), [dataclasses.asdict(TV)])
        offer = Discount("loyal", "dhk", "Loyalty", "everyone", "5", applies_to="tv")
        connection.execute(insert(discount), [dataclasses.asdict(offer)])
    for first in range(0, accounts, PER_INSERT):
        with writing(engine) as connection:
            found_isp(connection, first, min(PER_INSERT, accounts - first))
    return engine


def run_all(engine: Engine) -> tuple[Counter[str], float]:
    """Run billing until nothing is left, as the office does; return counts and seconds."""
    config, counts = BillingConfig(), Counter[str]()
    began = time.perf_counter()
    while found := run_billing(engine, config, NOW):
        counts += found
    return counts, time.perf_counter() - began


def main(arguments: list[str]) -> int:
    """Print the numbers; 1 where a run bills twice or the ledger does not balance."""
    parser = argparse.ArgumentParser(prog="bench_billing_run", allow_abbrev=False)
    parser.add_argument("--accounts", type=int, default=100_000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        engine = prepare(Path(directory), options.accounts)
        statements = Counter[str]()
        event.listen(engine, "before_cursor_execute", lambda *_: statements.update(["all"]))
        began = time.process_time()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        counts, seconds = run_all(engine)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        invoices, cpu = counts["invoices_finalized"], time.process_time() - began
        print(
            f"{invoices:,} invoices in {seconds:.1f} s ({cpu:.1f} s of a core): "
            f"{invoices / seconds:,.0f}/s ({invoices / cpu:,.0f} per second of a core), "
            f"{statements['all'] / max(invoices, 1):.1f} statements each, "
            f"memory {before / 1024:.0f} to {after / 1024:.0f} MB"
        )
        again, idle_seconds = run_all(engine)
        print(f"a second run: {dict(again)} in {idle_seconds:.2f} s")
        with writing(engine) as connection:
            balance = sum(trial_balance(connection, "dhk").values())
        return int(invoices != options.accounts or bool(again) or balance != 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
