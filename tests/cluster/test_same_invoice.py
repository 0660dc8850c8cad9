"""Same input, same invoice: embedded and through the cluster, with 1, 2 and 4 workers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cluster.faults import Faults, Patient
from tests.cluster.machine import ClusterMachine
from tests.cluster.servers import Kafka
from tests.simulation.books import books_of
from tests.simulation.simulation import lived
from tests.simulation.test_same_invoice import plan


@pytest.fixture(scope="module")
def embedded_books(tmp_path_factory: pytest.TempPathFactory) -> str:
    with lived(tmp_path_factory.mktemp("embedded"), plan()) as simulation:
        return books_of(simulation.world)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_books_are_equal_to_the_octet(
    tmp_path: Path, embedded_books: str, kafka: Kafka, database_url: str, workers: int
) -> None:
    made = plan()
    machine = ClusterMachine(
        tmp_path,
        made.world.stages,
        bootstrap=kafka.bootstrap,
        database_url=database_url,
        partitions=4,
        workers=workers,
    )
    with lived(tmp_path, made, machine) as simulation:
        assert books_of(simulation.world) == embedded_books


class RollingUpgrade(Faults):
    """Every worker is asked to end, one after the other, and a new one started in its place."""

    def __init__(self) -> None:
        super().__init__(0, 0.0)
        self.restarted = 0
        self._due = 0.0

    def step(self, patient: Patient) -> None:
        """Go on to the next worker once the one before has had time to begin."""
        now = time.monotonic()
        if self.restarted == len(patient.workers.processes) or now < self._due:
            return
        self._due = now + 8.0
        process = patient.workers.processes[self.restarted]
        process.terminate()
        assert process.wait(timeout=30) == 0
        patient.workers.look_after()
        self.restarted += 1


def test_workers_that_are_replaced_one_by_one_lose_nothing(
    tmp_path: Path, embedded_books: str, kafka: Kafka, database_url: str
) -> None:
    made, upgrade = plan(), RollingUpgrade()
    machine = ClusterMachine(
        tmp_path,
        made.world.stages,
        bootstrap=kafka.bootstrap,
        database_url=database_url,
        partitions=4,
        workers=2,
        faults=upgrade,
        second_lasts=0.05,
    )
    with lived(tmp_path, made, machine) as simulation:
        assert books_of(simulation.world) == embedded_books
    assert upgrade.restarted == 2
