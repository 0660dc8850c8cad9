"""One real worker process: how it begins, what ends it, and what it then leaves to the next."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer
from sqlalchemy import Engine

from billing.adapters.databases import reading, writing
from rating.envelopes import Envelope, encode_envelope
from streams.adapters.postgres_tables import read_watermarks
from streams.topics import physical_topic
from tests.cluster.machine import GENERATION, ClusterMachine
from tests.cluster.servers import Kafka
from tests.cluster.tasks import STAGES
from tests.infra.waiting import wait_until
from tests.simulation.test_same_invoice import plan

PARTITIONS = 2
AT = 1_772_301_600_000


@pytest.fixture
def machine(tmp_path: Path, kafka: Kafka, database_url: str) -> Iterator[ClusterMachine]:
    """A cluster without workers, whose workers give up quickly."""
    made = ClusterMachine(
        tmp_path,
        plan().world.stages,
        bootstrap=kafka.bootstrap,
        database_url=database_url,
        partitions=PARTITIONS,
        workers=0,
    )
    settings = tmp_path / "cluster.toml"
    settings.write_text(
        settings.read_text()
        + "\n[cluster.worker]\nstalled_after_seconds = 4.0\ngap_pause_seconds = 0.5\n"
    )
    yield made
    made.close()


def mark(machine: ClusterMachine, at: int) -> None:
    for log in ("radius.accounting", "flow.datagrams"):
        machine.append(log, "marker", at, b"")


def has_passed(database: Engine, at: int) -> bool:
    with reading(database) as connection:
        watermarks = read_watermarks(connection)
    return len(watermarks) == STAGES * PARTITIONS and min(watermarks.values()) >= at


def started(machine: ClusterMachine, count: int = 1) -> list[subprocess.Popen[bytes]]:
    """Start workers and wait until watermarks pass through all of their stages."""
    machine.workers.start(count)
    mark(machine, AT)
    wait_until(lambda: has_passed(machine.database, AT), "the first watermark", 60)
    return machine.workers.processes


def test_a_worker_that_is_asked_to_end_ends_well_and_its_partitions_go_on(
    machine: ClusterMachine,
) -> None:
    first, second = started(machine, 2)
    first.terminate()
    assert first.wait(timeout=20) == 0
    machine.workers.processes = [second]
    mark(machine, AT + 1_000)
    wait_until(lambda: has_passed(machine.database, AT + 1_000), "the other worker", 20)
    assert second.poll() is None


def test_a_worker_can_be_added_while_others_run(machine: ClusterMachine) -> None:
    [first] = started(machine)
    machine.workers.start(1)

    def owners() -> int:
        with reading(machine.database) as connection:
            query = "select count(distinct owner) from stage_task"
            return int(connection.exec_driver_sql(query).scalar_one())

    wait_until(lambda: owners() == 2, "the second worker to own partitions", 40)
    mark(machine, AT + 1_000)
    wait_until(lambda: has_passed(machine.database, AT + 1_000), "both workers", 20)
    assert first.poll() is None, "a rebalance ends nobody"


def test_a_worker_that_stands_still_while_input_grows_ends(machine: ClusterMachine) -> None:
    [process] = started(machine)
    with writing(machine.database) as connection:
        connection.exec_driver_sql("lock table stage_task in access exclusive mode")
        mark(machine, AT + 1_000)
        assert process.wait(timeout=40) == 1
    assert "no round for" in machine.workers.output()


def test_a_worker_that_meets_a_gap_says_so_and_ends(machine: ClusterMachine) -> None:
    [process] = started(machine)
    producer = KafkaProducer(bootstrap_servers=machine.bootstrap)
    envelope = Envelope("radius@elsewhere", 7, AT, b"")
    topic = physical_topic("radius.accounting", GENERATION)
    producer.send(topic, encode_envelope(envelope), partition=0).get(10)
    producer.close()
    assert process.wait(timeout=40) == 1
    assert "radius@elsewhere sent number 7 behind 0" in machine.workers.output()
