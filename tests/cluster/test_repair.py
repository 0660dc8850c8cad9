"""A range run again: what was measured wrongly is put right by signed usage, and only once.

The clerk forgot the prefix of a leased line when it was sold, so its flows were nobody's. The
prefix is entered with its true beginning, which the stages that run cannot go back to; the repair
can. Its invoice must then be the one of an ISP where nothing was forgotten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from billing.adapters.databases import writing
from infra.repair import summary
from infra.settings import load_settings
from infra.simulation.network import static_name_of, static_prefix_of
from infra.wiring.repair import Found, RepairShop
from rating.records import DirectoryEntry, frame_of
from streams.adapters.postgres_repairs import Repair
from streams.repair import RepairRange
from tests.cluster.machine import ClusterMachine
from tests.cluster.servers import Kafka
from tests.simulation.books import books_of
from tests.simulation.business import Business
from tests.simulation.simulation import Plan, Simulation, lived
from tests.simulation.test_same_invoice import plan

REPAIR_ID = "prefix-of-static000"


@pytest.fixture(scope="module")
def embedded_books(tmp_path_factory: pytest.TempPathFactory) -> str:
    with lived(tmp_path_factory.mktemp("embedded"), plan()) as simulation:
        return books_of(simulation.world)


class ForgetfulSimulation(Simulation):
    """A static line is sold without its prefix; a minute after the month's end it is repaired."""

    def __init__(self, directory: Path, made: Plan, machine: ClusterMachine) -> None:
        super().__init__(directory, made, machine)
        self._settings = load_settings(directory / "cluster.toml", ())
        self._connected_at = 0
        self.found: list[Found] = []
        self.messages: list[int] = []

    def forget_prefixes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        connect = Business.connect

        def forgetful(business: Business, login: str, *given: Any, **more: Any) -> str:
            if more.pop("prefix", ""):
                self._connected_at = business.next_minute()
            return connect(business, login, *given, **more)

        monkeypatch.setattr(Business, "connect", forgetful)

    def _events(self, begin: int, end: int) -> dict[int, list[Any]]:
        events = super()._events(begin, end)
        events.setdefault(end + 60, []).append(self._repair)
        return events

    def _repair(self) -> None:
        self.world.run_engine()
        subscriber_id = self.business.keys[static_name_of(0)]
        entry = DirectoryEntry(
            entry_id="static_prefix:late",
            revision=1,
            kind="static_prefix",
            match=static_prefix_of(0),
            target=subscriber_id,
            priority=0,
            valid_from_at=self._connected_at,
            valid_until_at=None,
        )
        with writing(self.world.database) as connection:
            self.world.append_rows(
                connection, "directory", "api", frame_of(DirectoryEntry, [entry])
            )
        self.world.run_engine()
        shop, now = RepairShop(self._settings), self.world.now_ms()
        # What the stages have joined by now; later minutes they read with the prefix.
        until_at = now // 60_000 * 60_000
        start_at = self.plan.world.start_seconds // 60 * 60_000
        which = RepairRange(start_at, until_at, start_at, now + 1_000)
        found = shop.look(which, REPAIR_ID, now)
        up, down = (int(found.usage[name].sum()) for name in ("octets_up", "octets_down"))
        repair = Repair(REPAIR_ID, start_at, until_at, found.usage.height, up, down, now)
        shop.post(repair, found.usage)
        with pytest.raises(IntegrityError):
            shop.post(repair, found.usage)
        self.messages = [shop.publish(REPAIR_ID), shop.publish(REPAIR_ID)]
        self.world.run_engine()
        self.found = [found, shop.look(which, "again", now)]
        shop.close()


def test_a_repaired_month_is_billed_as_if_nothing_had_been_forgotten(
    tmp_path: Path,
    embedded_books: str,
    kafka: Kafka,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = plan()
    machine = ClusterMachine(
        tmp_path,
        made.world.stages,
        bootstrap=kafka.bootstrap,
        database_url=database_url,
        partitions=4,
        workers=2,
    )
    simulation = ForgetfulSimulation(tmp_path, made, machine)
    try:
        simulation.forget_prefixes(monkeypatch)
        simulation.live()
        books = books_of(simulation.world)
    finally:
        simulation.close()
    posted, left = simulation.found
    assert books == embedded_books
    assert posted.usage["octets_down"].sum() == 0, "what the line gains, nobody loses"
    assert set(posted.usage["source"]) == {"flows"}
    assert len(summary(posted.usage)) == 2
    assert left.usage.height == 0, "a second look finds nothing to repair"
    assert simulation.messages[0] > 0
    assert simulation.messages[1] == 0
