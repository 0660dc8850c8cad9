"""`flowrate topics grow` in the middle of a simulated ISP's life, with real processes."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from kafka import KafkaAdminClient
from sqlalchemy import Connection

from billing.adapters.databases import reading
from rating.connections import client_arguments
from streams.adapters import postgres_tables, postgres_topics
from streams.topics import KAFKA_TOPICS, physical_topic
from tests.cluster.faults import Faults
from tests.cluster.machine import ClusterMachine
from tests.cluster.processes import die_with_the_starter
from tests.cluster.rated_topic import read_rated
from tests.cluster.servers import Kafka
from tests.simulation.books import books_of
from tests.simulation.comparison import differences
from tests.simulation.simulation import lived
from tests.simulation.test_same_invoice import plan

ROOT = Path(__file__).parent.parent.parent
BEFORE, AFTER = 2, 6
KILLED_AFTER = ("follows generation 1", "collectors turn to them", "its state moves")
"""What the command has just said when it is killed: the first call, the second, the third."""
GROWS_AT_SECOND = 90
"""The simulated second, of some 430, in which the operator calls the command."""


@pytest.fixture(scope="module")
def embedded_books(tmp_path_factory: pytest.TempPathFactory) -> str:
    with lived(tmp_path_factory.mktemp("embedded"), plan()) as simulation:
        return books_of(simulation.world)


class GrowingMachine(ClusterMachine):
    """A cluster that is told to grow; the command is called again where it was killed."""

    def __init__(self, directory: Path, *arguments: Any, kills: int, **options: Any) -> None:
        self._directory = directory
        self._growing: subprocess.Popen[bytes] | None = None
        self._kills = list(KILLED_AFTER[:kills])
        self._seconds = 0
        self.has_grown = False
        self.commands = 0
        super().__init__(directory, *arguments, **options)

    def append(self, log: str, kind: str, received_at: int, body: bytes) -> None:
        super().append(log, kind, received_at, body)
        if kind == "marker" and log == "flow.datagrams":
            self._seconds += 1
            if self._seconds == GROWS_AT_SECOND:
                self._call()

    def _call(self) -> None:
        self.commands += 1
        log = self._directory / "grow.log"
        with log.open("ab") as output:
            before = output.tell()
            self._growing = subprocess.Popen(
                [
                    *(sys.executable, "-m", "infra.cli", "topics", "grow"),
                    *("--partitions", str(AFTER)),
                    *("--config", str(self._directory / "cluster.toml")),
                ],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_the_starter,
            )

        if self._kills:
            told = functools.partial(self._kill_after, self._growing, self._kills.pop(0), before)
            threading.Thread(target=told, daemon=True).start()

    def _kill_after(self, command: subprocess.Popen[bytes], words: str, before: int) -> None:
        """Kill a command as soon as it has said so, in the middle of what follows."""
        log = self._directory / "grow.log"
        while command.poll() is None and words not in log.read_text()[before:]:
            time.sleep(0.01)
        time.sleep(0.03)
        command.kill()

    def _look_after(self) -> None:
        super()._look_after()
        if self._growing is None:
            return
        status = self._growing.poll()
        if status == 0:
            self.has_grown, self._growing = True, None
        elif status is not None:
            assert status == -9, (self._directory / "grow.log").read_text()
            self._call()

    def _is_settled(self) -> bool:
        with reading(self.database) as connection:
            _, self._partitions = postgres_tables.current_generation(connection)
        return self._growing is None and super()._is_settled()

    def append_rows(
        self, connection: Connection, topic: str, producer: str, frame: pl.DataFrame
    ) -> None:
        _, partitions = postgres_tables.hold_generation(connection)
        postgres_topics.append_rows(connection, topic, producer, frame, partitions=partitions)

    def rated(self) -> pl.DataFrame:
        frames = []
        for generation, partitions in ((1, BEFORE), (2, AFTER)):
            rated = read_rated(
                self.bootstrap, physical_topic("usage.rated", generation), partitions
            )
            assert rated.problems == []
            assert rated.rows.height, "both generations have rated usage"
            frames.append(rated.rows)
        return pl.concat(frames)

    def close(self) -> None:
        super().close()
        admin = KafkaAdminClient(**client_arguments(self._kafka))
        admin.delete_topics([physical_topic(topic, 2) for topic in KAFKA_TOPICS])
        admin.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kills", "second_lasts"), [(0, 0.1), (3, 0.1)], ids=["calm", "killed"])
def test_the_books_are_equal_to_the_octet(
    tmp_path: Path,
    embedded_books: str,
    kafka: Kafka,
    database_url: str,
    kills: int,
    second_lasts: float,
) -> None:
    made = plan()
    machine = GrowingMachine(
        tmp_path,
        made.world.stages,
        bootstrap=kafka.bootstrap,
        database_url=database_url,
        partitions=BEFORE,
        workers=2,
        faults=Faults(1, 60.0) if kills else None,
        second_lasts=second_lasts,
        kills=kills,
    )
    with lived(tmp_path, made, machine) as simulation:
        assert machine.has_grown, (tmp_path / "grow.log").read_text()
        assert machine.commands == 1 + kills
        with reading(machine.database) as connection:
            assert postgres_tables.read_generations(connection) == [
                (1, BEFORE, "done"),
                (2, AFTER, "running"),
            ]
        assert books_of(simulation.world) == embedded_books
        assert differences(simulation.world, simulation.business, simulation.periods) == []
    print((tmp_path / "grow.log").read_text())
