"""A cluster as the machine under a simulated ISP: real Kafka, PostgreSQL, collector and workers.

Blocks take the way they take in production but for the collector's sockets: its spool splits them
over partitions, numbers and publishes them, with marks behind. A process that ends is started
again, as its supervisor would.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl
from kafka.admin import KafkaAdminClient
from sqlalchemy import Connection, Engine

from billing.adapters.databases import open_database, reading, writing
from infra.migrate import migrate
from infra.settings import load_settings
from rating.connections import client_arguments
from streams.adapters import postgres_tables, postgres_topics
from streams.adapters.kafka_admin import open_topics
from streams.progress import Standing
from streams.topic_plan import wanted_topics
from streams.topics import KAFKA_TOPICS, physical_topic
from streams.topology import StageConfigs
from tests.cluster.collector import Collector
from tests.cluster.faults import Faults
from tests.cluster.rated_topic import read_rated
from tests.cluster.tasks import STAGES
from tests.cluster.workers import Workers
from tests.infra.waiting import wait_until
from tests.simulation.machine import Machine

GENERATION = 1
SETTLE_SECONDS = 90.0
"""How long everything appended may take to be rated, worker deaths included."""
RESTARTS_MAX = 3
"""Workers that may end by themselves before something must be wrong."""


class ClusterMachine(Machine):
    """Logs in Kafka, everything else in PostgreSQL, stages in worker processes."""

    def __init__(
        self,
        directory: Path,
        stages: StageConfigs,
        *,
        bootstrap: str,
        database_url: str,
        partitions: int,
        workers: int,
        faults: Faults | None = None,
        second_lasts: float = 0.0,
        more_settings: str = "",
    ) -> None:
        """Make tables and topics, and start collector and workers.

        With faults they die and stand still; a virtual second then lasts so many real ones.
        """
        self.faults = faults
        self._second_lasts = second_lasts
        self._is_collector_to_die = False
        self.bootstrap = bootstrap
        self._partitions = partitions
        url = database_url.replace("postgresql://", "postgresql+psycopg://")
        migrate(url)
        self.database: Engine = open_database(url)
        with writing(self.database) as connection:
            postgres_tables.create_tables(connection, partitions=partitions)
        self._marked_at = 0
        settings = directory / "cluster.toml"
        settings.write_text(
            settings_text(stages, bootstrap, database_url, partitions) + more_settings
        )
        cluster = load_settings(settings, ()).cluster
        self._kafka = cluster.kafka
        self._topics = wanted_topics(cluster.topics, cluster.kafka, GENERATION, partitions)
        delete_topics(bootstrap)
        with open_topics(cluster.kafka) as topics:
            topics.create(self._topics)
        self.workers = Workers(directory, settings)
        self.workers.start(workers)
        self._collector = Collector(directory, settings)

    @property
    def deaths(self) -> int:
        """How often a worker or the collector was started again."""
        return self.workers.restarts + self._collector.restarts

    def append(self, log: str, kind: str, received_at: int, body: bytes) -> None:
        """Give a block or a marker to the collector, which makes it durable and publishes it."""
        dies, self._is_collector_to_die = self._is_collector_to_die, False
        self._collector.append(log, kind, received_at, body, dies=dies)
        if kind == "marker":
            self._marked_at = received_at
        if kind == "marker" and log == "flow.datagrams":
            time.sleep(self._second_lasts)
            self._look_after()

    def let_collector_die(self) -> None:
        """Kill the collector while it takes its next block."""
        self._is_collector_to_die = True

    def _look_after(self) -> None:
        self.workers.look_after()
        if self.faults:
            self.faults.step(self)
        elif self.workers.restarts > RESTARTS_MAX:
            raise RuntimeError(f"workers end:\n{self.workers.output()}")

    def append_rows(
        self, connection: Connection, topic: str, producer: str, frame: pl.DataFrame
    ) -> None:
        """Append for the API, in its transaction."""
        postgres_topics.append_rows(connection, topic, producer, frame, partitions=self._partitions)

    def run_engine(self, now_ms: int, *, wait: bool) -> None:
        """With wait: return once every task has passed the newest marker."""
        if not wait:
            return
        deadline = time.monotonic() + SETTLE_SECONDS
        while not self._is_settled():
            self._look_after()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not settled:\n{self.standing()}\n{self.workers.output()}")
            time.sleep(0.1)

    def _is_settled(self) -> bool:
        with reading(self.database) as connection:
            at = postgres_tables.read_watermarks(connection)
            newest = postgres_topics.newest_numbers(connection)
        if newest and not self._has_read_stored(newest):
            return False
        return len(at) == STAGES * self._partitions and min(at.values()) >= self._marked_at

    def _has_read_stored(self, newest: dict[tuple[str, int], int]) -> bool:
        reads = {
            "directory": ("decode", "sessions", "attribute"),
            "account.events": ("rate",),
        }
        with reading(self.database) as connection:
            rows = connection.exec_driver_sql("select task, standing from stage_task").fetchall()
        standings = {
            task: msgspec.msgpack.decode(bytes(standing), type=Standing)
            for task, standing in rows
            if standing
        }
        for task, standing in standings.items():
            stage, _, partition = task.partition("/")
            for topic, stages in reads.items():
                stored = postgres_topics.stored_partition(topic, int(partition))
                places = [at for name, at in standing.stored.items() if name.startswith(topic)]
                if stage in stages and max(places, default=0) < newest.get((topic, stored), 0):
                    return False
        return bool(standings)

    def standing(self) -> str:
        """Return how far every task is, for a message."""
        with reading(self.database) as connection:
            at = postgres_tables.read_watermarks(connection)
            waiting = connection.exec_driver_sql(
                "select task, topic, count(*) from stage_output group by task, topic"
            ).fetchall()
        return f"watermarks {at}\noutbox {waiting}"

    def run_office(self, work: Callable[[], object]) -> None:
        """Do the office's work."""
        work()

    def rated(self) -> pl.DataFrame:
        """Return every row of `usage.rated`, from Kafka, each number once."""
        topic = physical_topic("usage.rated", GENERATION)
        rated = read_rated(self.bootstrap, topic, self._partitions)
        assert rated.problems == []
        return rated.rows

    def close(self) -> None:
        """Stop every process and delete the topics, so that the next test has its own."""
        if self.faults:
            self.faults.end()
        self._collector.close()
        self.workers.stop()
        admin = KafkaAdminClient(**client_arguments(self._kafka))
        admin.delete_topics([topic.name for topic in self._topics])
        admin.close()
        self.database.dispose()


def delete_topics(bootstrap: str) -> None:
    """Delete what earlier tests on the same broker have left of a cluster's topics."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def left() -> list[str]:
        return [name for name in admin.list_topics() if name.rpartition(".g")[0] in KAFKA_TOPICS]

    try:
        if left():
            admin.delete_topics(left())
        wait_until(lambda: not left(), "the topics of earlier tests to be gone", 30)
    finally:
        admin.close()


def settings_text(stages: StageConfigs, bootstrap: str, database_url: str, partitions: int) -> str:
    """Return the settings file under which workers run exactly these stages."""
    sessions, radius = stages.sessions.sessions, stages.sessions.radius
    [client] = radius.clients
    return f"""\
mode = "cluster"

[cluster]
database_url = "{database_url}"

[cluster.kafka]
bootstrap_servers = ["{bootstrap}"]

[cluster.spool]
collector_id = "sim"

[cluster.topics]
partitions = {partitions}
replication_factor = 1
min_insync_replicas = 1

[rating.sessions]
lateness_bound_seconds = {sessions.lateness_bound_seconds}
interim_interval_seconds = {sessions.interim_interval_seconds}

[rating.attribution]
attribution_delay_seconds = {stages.attribute.attribution_delay_seconds}
lateness_bound_seconds = {stages.attribute.lateness_bound_seconds}

[rating.rate]
lateness_bound_seconds = {stages.rate.lateness_bound_seconds}
class_split_wait_seconds = {stages.rate.class_split_wait_seconds}

[[collectors.radius.clients]]
nas_id = "{client.nas_id}"
address = "{client.address}"
secret = "{client.secret}"
vendor = "{client.vendor}"

[metrics]
is_enabled = false
"""
