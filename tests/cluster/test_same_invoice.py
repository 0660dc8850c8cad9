"""Same input, same invoice: embedded and through the cluster, with 1, 2 and 4 workers."""

from __future__ import annotations

from pathlib import Path

import pytest

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
