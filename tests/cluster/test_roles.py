"""`act` and `schedule`: one process works, the others stand by, and no death does a thing twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text

from billing.adapters import ledger, tables
from billing.adapters.databases import open_database, reading, writing
from billing.adapters.repositories import create
from billing.adapters.rows import write_rows
from rating.rows import Alert
from tests.billing.world import BRANCH, add_customer, at, close_month, home_plan
from tests.cluster.processes import ServerProcess
from tests.databases import sqlalchemy_url

CUSTOMERS = 60
ALERTS = 80
PATIENCE_SECONDS = 120.0

SETTINGS = """\
mode = "cluster"
[cluster]
database_url = "{url}"
[cluster.database]
role_silence_seconds = 3
[office.billing]
interval_seconds = 0.0
invoices_per_run = 5
[office.notifications]
interval_seconds = 0.0
batch_size = 4
[metrics]
is_enabled = false
"""


class Machines:
    """Processes of roles, each on a machine of its own: they share the database alone."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.database: Engine = open_database(sqlalchemy_url(url))
        self.config = directory / "flowrate.toml"
        self.config.write_text(SETTINGS.format(url=url))
        self._started: list[ServerProcess] = []
        self.run("migrate")

    def run(self, *words: str) -> str:
        """Run a command of Flowrate to its end and return what it printed."""
        command = [sys.executable, "-m", "infra.cli", *words, "--config", str(self.config)]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        return ended.stdout

    def start(self, role: str) -> ServerProcess:
        """Start a process of a role and wait until it works or stands by."""
        number = len(self._started)
        process = ServerProcess(f"{role}-{number}", self.directory)
        data = self.directory / f"machine-{number}"
        command = [sys.executable, "-m", "infra.cli", role, "--config", str(self.config)]
        command += ["--set", f"data_dir={data}"]
        self._started.append(process)
        process.start(command, lambda: "stands by" in process.log_file.read_text())
        return process

    def holder(self, role: str) -> int | None:
        """Return the process id of the one that works as a role, as PostgreSQL knows it."""
        query = text(
            "select application_name from pg_stat_activity join pg_locks using (pid)"
            " where locktype = 'advisory' and granted and application_name like :name"
            " and datname = current_database()"
        )
        with reading(self.database) as connection:
            name = connection.scalar(query, {"name": f"flowrate {role} %"})
        return int(name.rpartition(":")[2]) if name else None

    def end_session(self, role: str) -> None:
        """Cut the connection of the one that works, as a network or a failover does."""
        with writing(self.database) as connection:
            connection.execute(
                text(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where application_name like :name"
                ),
                {"name": f"flowrate {role} %:{self.holder(role)}"},
            )

    def notices(self) -> list[str]:
        """Return the ids of what all machines told, in their logs."""
        files = self.directory.glob("machine-*/notifications.log")
        lines = [line for file in files for line in file.read_text().splitlines()]
        return [str(json.loads(line)["notification_id"]) for line in lines]

    def close(self) -> None:
        """End every process."""
        for process in self._started:
            process.kill()
        self.database.dispose()


@pytest.fixture
def machines(tmp_path: Path, database_url: str) -> Iterator[Machines]:
    opened = Machines(tmp_path, database_url)
    yield opened
    opened.close()


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


def count(machines: Machines, column: Any, *conditions: Any) -> int:
    """Return how many rows meet conditions."""
    with reading(machines.database) as connection:
        query: Any = select(func.count(column)).where(*conditions)
        return int(connection.scalar(query) or 0)


def close_november(machines: Machines) -> None:
    """Sixty accounts whose November has closed and waits for invoices."""
    with writing(machines.database) as connection:
        create(connection, BRANCH)
        create(connection, home_plan())
        for number in range(CUSTOMERS):
            name = f"customer-{number:02}"
            add_customer(connection, name, since="2025-01-01")
            close_month(connection, name, "2025-11", gigabytes=620, minor=60000)


def test_schedulers_killed_one_after_the_other_make_each_invoice_once(machines: Machines) -> None:
    close_november(machines)
    running = [machines.start("schedule"), machines.start("schedule")]
    invoice = tables.invoice.c
    holders = []
    for target in (5, 15, 25):
        until(lambda: count(machines, invoice.number) >= target)  # noqa: B023
        holder = machines.holder("schedule")
        victim = next(process for process in running if process.pid == holder)
        holders.append(holder)
        victim.kill()
        running.remove(victim)
        running.append(machines.start("schedule"))
    until(lambda: count(machines, invoice.number) == CUSTOMERS)
    assert len(set(holders)) == 3
    with reading(machines.database) as connection:
        numbers = list(connection.scalars(select(invoice.number).order_by(invoice.number)))
        accounts = list(connection.scalars(select(invoice.account_id)))
        assert numbers == [f"DHK-INV-{number:06}" for number in range(1, CUSTOMERS + 1)]
        assert len(set(accounts)) == len(accounts) == CUSTOMERS
        assert ledger.broken_link(connection, "dhk") is None
        assert sum(ledger.trial_balance(connection, "dhk").values()) == 0


def raise_alerts(machines: Machines) -> None:
    """Eighty alerts of one customer, none told yet."""
    raised_at = at("2025-11-15")
    alerts = [
        Alert(f"alert-{number:03}", "karim", at("2025-11-01"), "data", 80, 5, 4, raised_at)
        for number in range(ALERTS)
    ]
    with writing(machines.database) as connection:
        create(connection, BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim", since="2025-01-01")
        write_rows(connection, alerts)


def test_an_actor_killed_while_it_tells_tells_nobody_twice(machines: Machines) -> None:
    raise_alerts(machines)
    running = [machines.start("act"), machines.start("act")]
    outcome = tables.notification.c.outcome
    for target in (8, 24, 40):
        until(lambda: len(machines.notices()) >= target)  # noqa: B023
        victim = next(p for p in running if p.pid == machines.holder("act"))
        victim.kill()
        running.remove(victim)
        running.append(machines.start("act"))
    until(lambda: count(machines, outcome, outcome.in_(("delivered", "unknown"))) == ALERTS)
    assert count(machines, outcome) == ALERTS
    told = Counter(machines.notices())
    assert max(told.values()) == 1
    is_delivered = tables.notification.c.outcome == "delivered"
    with reading(machines.database) as connection:
        query = select(tables.notification.c.notification_id).where(is_delivered)
        assert set(connection.scalars(query)) <= set(told)
    # At most what one process had in hand at each death: a batch.
    assert count(machines, outcome, outcome == "unknown") <= 3 * 4


def test_who_loses_its_connection_stops_at_once_and_another_works(machines: Machines) -> None:
    close_november(machines)
    first, second = machines.start("schedule"), machines.start("schedule")
    until(lambda: machines.holder("schedule") == first.pid)
    machines.end_session("schedule")
    until(lambda: not first.is_running)
    until(lambda: machines.holder("schedule") == second.pid)
    assert "crashed" in first.log_file.read_text()


def test_who_stands_still_loses_its_place_and_writes_no_more(machines: Machines) -> None:
    close_november(machines)
    first, second = machines.start("schedule"), machines.start("schedule")
    until(lambda: machines.holder("schedule") == first.pid)
    first.pause()
    until(lambda: machines.holder("schedule") == second.pid)
    first.resume()
    until(lambda: not first.is_running)
    until(lambda: count(machines, tables.invoice.c.number) == CUSTOMERS)
    with reading(machines.database) as connection:
        assert ledger.broken_link(connection, "dhk") is None


def test_who_is_told_to_stop_leaves_its_place_at_once(machines: Machines) -> None:
    first, second = machines.start("act"), machines.start("act")
    until(lambda: machines.holder("act") == first.pid)
    first.stop(signal.SIGTERM)
    until(lambda: machines.holder("act") == second.pid)
    second.stop(signal.SIGTERM)
    assert machines.holder("act") is None
