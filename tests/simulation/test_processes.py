"""Real processes, real sockets: each is killed at random moments, and nothing differs for it.

The truth is what the simulated NAS got an answer for. UDP flows that nobody received are lost, so
what a class-weighted meter counts is compared with nothing here (`test_simulation` does).
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from billing.adapters.databases import open_database, reading
from streams.adapters import sqlite_topics
from tests.infra.waiting import wait_until
from tests.simulation.auditor import Auditor
from tests.simulation.comparison import bills_of
from tests.simulation.demonstrated import TARIFFS, auditor_of, compare_bills
from tests.simulation.installation import Installation, is_alive

LINES = 20
LATENESS_SECONDS = 25
SECONDS_BEFORE = 18
KILLED = ("receive", "radius", "engine", "office", "web", "store")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(
        tmp_path / "data",
        lines=LINES,
        seconds_before=SECONDS_BEFORE,
        lateness_seconds=LATENESS_SECONDS,
    )
    try:
        yield made
    finally:
        made.abandon()


@pytest.mark.timeout(280)
def test_every_process_is_killed_and_nothing_is_lost(installation: Installation) -> None:
    installation.start()
    seen = kill_everything(installation, random.Random(1))
    auditor = sold_by(installation)
    month = auditor.period_of(min(s.from_at for s in auditor.sales))
    closed_at = auditor.close_at(month)
    wait_until(lambda: installation.now_ms() > closed_at, "the month to close", 90)
    accounts = len(auditor.accounts(month))
    wait_until(
        lambda: len(installation.rows("select 1 from invoice where status != 'draft'")) == accounts,
        "every account to have its invoice",
        60,
    )
    compare_invoices(installation, auditor, month)
    compare_octets(installation)

    seen |= set(installation.pids().values())
    assert installation.stop() == 0, installation.output()
    assert not [pid for pid in seen if is_alive(pid)]
    assert installation.status().state == "stopped"

    numbers = installation.rows("select number, hash from invoice order by number")
    installation.start()
    wait_for_events(installation, LINES)
    compare_warehouse(installation)
    assert installation.rows("select number, hash from invoice order by number") == numbers
    seen = set(installation.pids().values())
    assert installation.stop() == 0, installation.output()
    assert not [pid for pid in seen if is_alive(pid)]


def kill_everything(installation: Installation, chance: random.Random) -> set[int]:
    """Kill each process once, in random order at random moments; return every pid seen."""
    seen: set[int] = set()
    order = list(KILLED)
    chance.shuffle(order)
    for name in order:
        # A moment is measured by what happened since, so that every process dies at work.
        more = chance.randrange(1, LINES) if name != "radius" else 1
        wait_for_events(installation, more)
        time.sleep(chance.uniform(0, 0.3))
        seen |= set(installation.pids().values())
        installation.kill(name)
    wait_until(lambda: are_restarted(installation), "all to be started again", 60)
    return seen | set(installation.pids().values())


def wait_for_events(installation: Installation, more: int) -> None:
    told = installation.count_acknowledged()
    what = f"{more} more accounting events to be acknowledged"
    wait_until(lambda: installation.count_acknowledged() >= told + more, what, 60)


def are_restarted(installation: Installation) -> bool:
    processes = installation.status().processes
    return all(each.restarts and each.pid for each in processes if each.name in KILLED)


def sold_by(installation: Installation) -> Auditor:
    """Return an auditor that knows what was sold."""
    wait_until(installation.answers, "the API to answer", 60)
    return auditor_of(installation.items, LATENESS_SECONDS * 1000)


def compare_invoices(installation: Installation, auditor: Auditor, month: tuple[int, int]) -> None:
    for event in installation.acknowledged():
        auditor.truth.report(event, event.event_seconds * 1000)
    database = open_database(f"sqlite:///{installation.directory / 'flowrate.sqlite'}")
    with reading(database) as connection:
        made = bills_of(connection)
    database.dispose()
    assert len({s.tariff.plan_id for s in auditor.sales}) == len(TARIFFS)
    found, used = compare_bills(made, auditor, month)
    assert found == []
    assert used > 0, "nobody used anything: this proves nothing"


def compare_octets(installation: Installation) -> None:
    """Every acknowledged octet of a session that is over has been rated once, and no other."""
    ends = {e.acct_session_id: e for e in installation.acknowledged() if e.status == "stop"}
    assert ends, "no session has ended: this proves nothing"

    def rated() -> dict[str, tuple[int, int]]:
        volume = rated_rows(installation).filter(pl.col("meter_id") == "volume")
        session = pl.col("session_id").str.split("/").list.get(1, null_on_oob=True)
        sums = volume.group_by(session).agg(pl.col("octets_up", "octets_down").sum())
        return {name: (up, down) for name, up, down in sums.iter_rows()}

    wanted = {name: (end.octets_up, end.octets_down) for name, end in ends.items()}
    # The newest Stop may still be on its way through the stages.
    wait_until(lambda: wanted.items() <= rated().items(), "every ended session as it ended", 30)


def rated_rows(installation: Installation, through: int = 2**62) -> pl.DataFrame:
    """Return what the engine sent to the warehouse up to a position; nothing was trimmed."""
    connection = sqlite3.connect(installation.directory / "flowrate.sqlite", timeout=30)
    try:
        bodies = sqlite_topics.read_bodies(connection, "usage.rated", after=0, rows_max=2**62)
    finally:
        connection.close()
    return pl.concat([frame for position, frame in bodies if position <= through])


def compare_warehouse(installation: Installation) -> None:
    """The warehouse holds each row that the engine sent, once."""
    [(position,)] = installation.rows(
        "select max(position) from topic_record where topic = 'usage.rated' and body is not null"
    )
    query = "select max(log_position) from usage_rated"
    wait_until(lambda: installation.warehouse(query)[0][0] >= position, "the sink", 60)
    sums = ("octets_up", "octets_down", "packets_up", "packets_down", "quantity", "charge")
    sent = rated_rows(installation, position).select(pl.len(), pl.col(*sums).sum()).row(0)
    columns = ", ".join(f"sum({name})" for name in sums)
    query = f"select count(), {columns} from usage_rated where log_position <= {position}"
    assert installation.warehouse(query) == [sent]
