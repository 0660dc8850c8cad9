"""Real processes, real sockets: each is killed at random moments, and nothing differs for it.

The truth is what the simulated NAS got an answer for. UDP flows that nobody received are lost, so
what a class-weighted meter counts is compared with nothing here (`test_simulation` does).
"""

from __future__ import annotations

import datetime
import random
import sqlite3
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest

from billing.adapters.databases import open_database, reading
from infra.demonstration.tariffs import BRANCH, MEGABYTE
from streams.adapters import sqlite_topics
from tests.infra.waiting import wait_until
from tests.simulation.auditor import Auditor, Bill
from tests.simulation.comparison import bills_of
from tests.simulation.installation import Installation, is_alive
from tests.simulation.tariffs import Measure, Step, Tariff
from tests.simulation.truth import Truth

LINES = 20
LATENESS_SECONDS = 25
SECONDS_BEFORE = 18
KILLED = ("receive", "radius", "engine", "office", "web", "store")

_FREE = Step(50 * MEGABYTE, Fraction(0))
_MIDDLE = Step(150 * MEGABYTE, Fraction("0.40"))
_ABOVE = Step(None, Fraction("0.25"))
TARIFFS = {
    tariff.plan_id: tariff
    for tariff in (
        Tariff("home-fup", (Measure("data", "flat"),), Fraction(700), 5),
        Tariff("home-metered", (), Fraction(350), 5),
        Tariff(
            "family",
            (Measure("data", "overage", Fraction(3), 10 * MEGABYTE, 120 * MEGABYTE),),
            Fraction(1200),
            5,
        ),
        Tariff(
            "office",
            (Measure("data", "graduated", unit=MEGABYTE, steps=(_FREE, _MIDDLE, _ABOVE)),),
            Fraction(2500),
            5,
        ),
        Tariff(
            "prepaid",
            (Measure("data", "payg", Fraction("0.50"), MEGABYTE),),
            tax_percent=5,
            is_prepaid=True,
        ),
    )
}
"""The demo's plans in the auditor's words; the metered one only for its fee."""


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
    """Return an auditor that knows what was sold, and what the NAS got an answer for."""
    truth = Truth(15_000, LATENESS_SECONDS * 1000)
    auditor = Auditor(truth, BRANCH["timezone"], LATENESS_SECONDS * 1000)
    starts: dict[str, int] = {}
    wait_until(installation.answers, "the API to answer", 60)
    for sale in installation.items("/v1/subscriptions"):
        at = instant(sale["starts_at"])
        starts[sale["rating_key"]] = at
        auditor.sell(sale["account_id"], sale["rating_key"], TARIFFS[sale["plan_id"]], at)
    for line in installation.items("/v1/subscribers"):
        auditor.move(line["user_name"], line["rating_key"], starts[line["rating_key"]])
    return auditor


def compare_invoices(installation: Installation, auditor: Auditor, month: tuple[int, int]) -> None:
    for event in installation.acknowledged():
        auditor.truth.report(event, event.event_seconds * 1000)
    database = open_database(f"sqlite:///{installation.directory / 'flowrate.sqlite'}")
    with reading(database) as connection:
        made = bills_of(connection)
    database.dispose()
    metered = {s.key for s in auditor.sales if s.tariff.plan_id == "home-metered"}
    assert len({s.tariff.plan_id for s in auditor.sales}) == len(TARIFFS)
    used = 0
    for account in auditor.accounts(month):
        bill = auditor.bill(account, month)
        found = made[account, month[0]]
        own = {line for line in found.lines if line[1] in metered and line[0] == "usage"}
        if own:
            fees = {line: values for line, values in found.lines.items() if line not in own}
            assert fees == bill.lines
            continue
        assert found == Bill(bill.lines, bill.taxes, bill.total_minor)
        used += sum(quantity for line, (quantity, _) in bill.lines.items() if line[0] == "usage")
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


def instant(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp() * 1000)
