"""A cluster loses its PostgreSQL, is restored from a backup of its busy time, and owes the same."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from billing.adapters.databases import open_database
from infra.backups.manifest import read_manifest
from tests.cluster.machine import ClusterMachine
from tests.cluster.servers import Kafka, Postgres
from tests.deploy.flowrate_runs import run_flowrate
from tests.simulation.books import books_of
from tests.simulation.simulation import Plan, lived
from tests.simulation.test_same_invoice import plan

PARTITIONS = 4
SETTLED_AFTER_SECONDS, BACKED_UP_AFTER_SECONDS, LOST_AFTER_SECONDS = 20, 45, 66
"""Behind the first second of usage. No clerk does anything before second 70: what a clerk did
between backup and loss, no log of packets could bring back."""


class LosingMachine(ClusterMachine):
    """A cluster that is backed up while its workers work, and loses its database a little later."""

    def prepare_loss(self, directory: Path, made: Plan, postgres: Postgres, url: str) -> None:
        """Say what is to happen, before anything does."""
        begin = made.month_end_at - made.before_minutes * 60_000
        self.directory, self.postgres, self.url = directory, postgres, url
        self.backup = directory / "backup"
        self.told: list[str] = []
        self.planned = [
            (begin + SETTLED_AFTER_SECONDS * 1000, self._settle),
            (begin + BACKED_UP_AFTER_SECONDS * 1000, self._back_up),
            (begin + LOST_AFTER_SECONDS * 1000, self._lose_database),
        ]

    def append(self, log: str, kind: str, received_at: int, body: bytes) -> None:
        """Append, and do what is due."""
        super().append(log, kind, received_at, body)
        # A second is whole with its second marker.
        is_second_over = kind == "marker" and log == "flow.datagrams"
        while is_second_over and self.planned and self.planned[0][0] <= received_at:
            self.planned.pop(0)[1]()

    def _settle(self) -> None:
        self.run_engine(0, wait=True)

    def _flowrate(self, *words: str) -> None:
        done = run_flowrate(
            *words, "--config", str(self.directory / "cluster.toml"),
            "--set", f"data_dir={self.directory / 'tools'}",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        self.told.append(done.stdout)

    def _back_up(self) -> None:
        time.sleep(0.5)
        self._flowrate("backup", "create", str(self.backup), "--without-warehouse")

    def _lose_database(self) -> None:
        time.sleep(2.0)
        for process in self.workers.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        count = len(self.workers.processes)
        self.workers.processes = []
        self.lost = state_of(self.url)
        self.database.dispose()
        name = self.url.rpartition("/")[2]
        self.postgres.drop_database(name)
        self.postgres.create_database(name)
        self._flowrate("backup", "restore", str(self.backup))
        self.restored = state_of(self.url)
        self._flowrate("backup", "align", "--without-sink")
        self.aligned = state_of(self.url)
        self.workers.start(count)


def state_of(url: str) -> dict[str, bytes]:
    """Return each task's standing."""
    engine = open_database(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.connect() as connection:
            rows = connection.exec_driver_sql("select task, standing from stage_task order by task")
            return {task: bytes(standing) for task, standing in rows}
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def embedded_books(tmp_path_factory: pytest.TempPathFactory) -> str:
    with lived(tmp_path_factory.mktemp("embedded"), plan()) as simulation:
        return books_of(simulation.world)


@pytest.mark.timeout(290)
def test_a_cluster_that_lost_its_database_makes_the_same_books(
    tmp_path: Path, embedded_books: str, kafka: Kafka, postgres: Postgres, database_url: str
) -> None:
    made = plan()
    machine = LosingMachine(
        tmp_path,
        made.world.stages,
        bootstrap=kafka.bootstrap,
        database_url=database_url,
        partitions=PARTITIONS,
        workers=2,
    )
    machine.prepare_loss(tmp_path, made, postgres, database_url)
    with lived(tmp_path, made, machine) as simulation:
        assert not machine.planned, "all of it happened"
        assert machine.lost != machine.restored, "the workers had gone on since the backup"
        assert machine.restored != machine.aligned, "Kafka held more than the backup knew"
        assert books_of(simulation.world) == embedded_books
    moved = [line for line in machine.told[2].splitlines() if "from offset" in line]
    assert len(moved) >= PARTITIONS
    manifest = read_manifest(machine.backup)
    assert manifest.positions["decode/0"]["flow.datagrams"] > 0
