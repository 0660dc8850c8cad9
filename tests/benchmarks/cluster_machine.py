"""The cluster under `bench_cluster`: servers, topics, workers, and what each of them has used."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl
import psycopg
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from sqlalchemy import Engine

from billing.adapters.databases import open_database, reading, writing
from collectors.partitioning import split_flows, split_packets
from infra.migrate import migrate
from rating.envelopes import Envelope, Mark, decode_message, encode_envelope, encode_marks
from rating.records import AccountEvent, DirectoryEntry, RatedUsage, frame_of
from streams.adapters import postgres_tables, postgres_topics
from streams.codec import decode_frame
from streams.topics import KAFKA_TOPICS, physical_topic
from tests.benchmarks import cluster_load
from tests.benchmarks.cluster_load import Load, Log
from tests.cluster.processes import children
from tests.cluster.servers import Kafka, Postgres
from tests.cluster.tasks import STAGES

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 900.0
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_SPLIT = {"flow.datagrams": split_flows, "radius.accounting": split_packets}
_OCTETS_MAX = 8_000_000

SETTINGS = """\
mode = "cluster"
data_dir = "{data}"

[cluster]
database_url = "{database_url}"

[cluster.kafka]
bootstrap_servers = ["{bootstrap}"]

[cluster.topics]
partitions = {partitions}
replication_factor = 1
min_insync_replicas = 1

[cluster.worker]
application_id = "{application}"
# Others may use the machine too: a round may take long.
stalled_after_seconds = 600.0

[cluster.spool]
collector_id = "bench"

[collectors.radius]
listen = ["127.0.0.1:{radius_port}"]

[[collectors.radius.clients]]
nas_id = "nas1"
address = "127.0.0.0/8"
secret = "bench"
vendor = "mikrotik"
coa_port = {coa_port}

[metrics]
is_enabled = false

[rating.sessions]
# While a backlog of flows is drained nobody reports, and no session is to be given up for that.
interim_interval_seconds = 900
"""


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, its children, and those of them that have ended."""
    total = 0.0
    for each in (pid, *children(pid)):
        try:
            stat = Path(f"/proc/{each}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            continue
        # utime, stime; and of ended children, which only the first one is asked for.
        total += sum(map(int, stat[11 : 15 if each == pid else 13])) * TICK_SECONDS
    return total


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    """What one phase took: CPU seconds by server, CPU seconds of workers by stage and part."""

    wall_seconds: float
    workers: float
    kafka: float
    postgres: float
    parts: Mapping[str, float]
    counts: Mapping[str, int]
    """Of the workers: rounds, queries for state and the counters of streams."""
    octets: Mapping[str, int]
    """Written to Kafka's topics as compressed, and to PostgreSQL's log as ``WAL``."""

    def stage(self, name: str) -> float:
        """Return a stage's CPU seconds in the thread of rounds."""
        return sum(spent for part, spent in self.parts.items() if part.startswith(f"{name}|"))

    def part(self, name: str) -> float:
        """Return the CPU seconds of one part of the work in all stages."""
        return sum(spent for part, spent in self.parts.items() if part.endswith(f"|{name}"))

    @property
    def event_loop(self) -> float:
        """Return what the workers used outside of rounds: Faust, Kafka's clients, the relay."""
        return self.workers - sum(self.parts.values())


class Servers:
    """One Kafka and one PostgreSQL for the whole benchmark."""

    def __init__(self, directory: Path) -> None:
        """Start both; PostgreSQL remembers when each transaction was committed."""
        self.directory = directory
        self.kafka = Kafka(directory / "kafka")
        self.postgres = Postgres(directory / "postgres")
        self.kafka.directory.mkdir()
        self.kafka.start()
        self.postgres.start()
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute("alter system set track_commit_timestamp = on")
        self.postgres.stop()
        self.postgres.start()

    def close(self) -> None:
        """End both."""
        self.kafka.kill()
        self.postgres.kill()


class Cluster:
    """A database and topics of its own on the servers, and workers over them."""

    def __init__(self, servers: Servers, name: str, number: int, partitions: int) -> None:
        """Make tables and topics. number: the generation, another one for each cluster."""
        self.servers = servers
        self.partitions = partitions
        self._generation = number
        self.directory = servers.directory / name
        self.directory.mkdir()
        self.database_url = servers.postgres.create_database(f"bench_{number}")
        url = self.database_url.replace("postgresql://", "postgresql+psycopg://")
        migrate(url)
        self.database: Engine = open_database(url)
        with writing(self.database) as connection:
            postgres_tables.create_tables(connection, partitions=partitions)
            connection.exec_driver_sql("update topic_generation set generation = %s", (number,))
        admin = KafkaAdminClient(bootstrap_servers=servers.kafka.bootstrap)
        admin.create_topics(
            [NewTopic(physical_topic(topic, number), partitions, 1) for topic in KAFKA_TOPICS]
        )
        admin.close()
        self._producer = KafkaProducer(
            bootstrap_servers=servers.kafka.bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_request_size=_OCTETS_MAX + 65_536,
        )
        self._numbers: Counter[tuple[str, int]] = Counter()
        self.marked_at = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        self.settings = self.directory / "flowrate.toml"

    def write_settings(self, *, radius_port: int = 1813, coa_port: int = 3799) -> None:
        """Write the settings file of every role."""
        self.settings.write_text(
            SETTINGS.format(
                data=self.directory / "data",
                database_url=self.database_url,
                bootstrap=self.servers.kafka.bootstrap,
                partitions=self.partitions,
                application=f"bench-{self._generation}",
                radius_port=radius_port,
                coa_port=coa_port,
            )
        )

    # -- processes -----------------------------------------------------------------------------

    def start_role(
        self, name: str, *words: str, module: str = "infra.cli"
    ) -> subprocess.Popen[bytes]:
        """Start a process of a role, with a data directory of its own."""
        command = [sys.executable, "-m", module, *words, "--config", str(self.settings)]
        command += ["--set", f"data_dir={self.directory / name}"]
        environment = {**os.environ, "BENCH_PARTS": str(self.directory / f"{name}.json")}
        with (self.directory / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output
            )

    def start_workers(self, count: int) -> None:
        """Start measured workers."""
        for number in range(count):
            name = f"worker-{number}"
            self.workers.append(self.start_role(name, module="tests.benchmarks.cluster_worker"))

    def close(self) -> None:
        """End the workers."""
        for process in self.workers:
            process.terminate()
        for process in self.workers:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        self.workers = []
        self._producer.close()
        self.database.dispose()

    # -- load ----------------------------------------------------------------------------------

    def subscribe(self, load: Load, at_seconds: int) -> None:
        """Append who the subscribers are and what they have bought, as the API does."""
        with writing(self.database) as connection:
            for topic, frame in (
                ("directory", frame_of(DirectoryEntry, cluster_load.directory(load))),
                (
                    "account.events",
                    frame_of(AccountEvent, cluster_load.subscriptions(load, at_seconds)),
                ),
            ):
                postgres_topics.append_rows(
                    connection, topic, "bench", frame, partitions=self.partitions
                )

    def publish(self, logs: Iterable[Log]) -> None:
        """Publish blocks and markers as a collector does; returns once Kafka has them."""
        for log, kind, received_at, body in logs:
            producer, topic = f"{log}@bench", physical_topic(log, self._generation)
            if kind == "data":
                for partition, part in _SPLIT[log](body, self.partitions, _OCTETS_MAX):
                    self._numbers[log, partition] += 1
                    number = self._numbers[log, partition]
                    message = encode_envelope(Envelope(producer, number, received_at, part))
                    self._producer.send(topic, message, partition=partition)
                continue
            self.marked_at = received_at
            for partition in range(self.partitions):
                mark = Mark(producer, self._numbers[log, partition], received_at)
                self._producer.send(topic, encode_marks([mark]), partition=partition)
        self._producer.flush()

    def settle(self) -> None:
        """Wait until every task has passed the newest marker."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with reading(self.database) as connection:
                at = postgres_tables.read_watermarks(connection)
            if len(at) == STAGES * self.partitions and min(at.values()) >= self.marked_at:
                return
            ended = [process.poll() for process in self.workers]
            if time.monotonic() > deadline or any(status is not None for status in ended):
                raise SystemExit(f"not settled, workers ended {ended}: see {self.directory}")
            time.sleep(0.2)

    # -- measuring -----------------------------------------------------------------------------

    def measure(self, logs: Iterable[Log]) -> Spent:
        """Publish everything and return what it took to drain it."""
        logs = list(logs)
        before, began = self.standing(), time.monotonic()
        self.publish(logs)
        self.settle()
        return difference(before, self.standing(), time.monotonic() - began)

    def idle(self, seconds: float) -> Spent:
        """Return what it took to do nothing for so long but to pass marks on, each second."""
        before, began = self.standing(), time.monotonic()
        while time.monotonic() - began < seconds:
            at_ms = self.marked_at + 1_000
            self.publish([(log, "marker", at_ms, b"") for log in _SPLIT])
            time.sleep(1.0 - (time.monotonic() - began) % 1.0)
        return difference(before, self.standing(), time.monotonic() - began)

    def standing(self) -> Spent:
        """Return what everything has taken since it began."""
        parts: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for number, process in enumerate(self.workers):
            path = self.directory / f"worker-{number}.json"
            path.unlink(missing_ok=True)
            process.send_signal(signal.SIGUSR1)
            deadline = time.monotonic() + 60
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            told = json.loads(path.read_text())
            parts.update({name: spent / 1e9 for name, spent in told["parts"].items()})
            counts.update(told["counts"])
            counts.update(told["counters"])
        return Spent(
            0.0,
            sum(cpu_seconds(process.pid) for process in self.workers),
            cpu_seconds(self.servers.kafka.pid),
            cpu_seconds(self.servers.postgres.pid),
            parts,
            counts,
            {**self._topic_octets(), "WAL": self._number("select pg_current_wal_lsn() - '0/0'")},
        )

    def stored(self) -> tuple[int, int, int]:
        """Return the rows of keyed state, those of them of the directory, and octets of it all."""
        rows = self._number("select count(*) from stage_state")
        directory = self._number(
            "select count(*) from stage_state join state_space using(space_id)"
            " where collection like 'directory%%'"
        )
        return rows, directory, self._number("select pg_total_relation_size('stage_state')")

    def rated(self) -> pl.DataFrame:
        """Return the rows of `usage.rated`, as they are in Kafka."""
        name = physical_topic("usage.rated", self._generation)
        consumer = KafkaConsumer(bootstrap_servers=self.servers.kafka.bootstrap)
        partitions = [TopicPartition(name, partition) for partition in range(self.partitions)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends, frames = consumer.end_offsets(partitions), []
        while any(consumer.position(p) < ends[p] for p in partitions):
            for records in consumer.poll(1000).values():
                messages = [decode_message(record.value) for record in records]
                envelopes = [m for m in messages if isinstance(m, Envelope)]
                frames += [decode_frame(e.body, RatedUsage) for e in envelopes]
        consumer.close()
        return pl.concat(frames)

    def _number(self, query: str) -> int:
        with reading(self.database) as connection:
            return int(connection.exec_driver_sql(query).scalar_one())

    def _topic_octets(self) -> dict[str, int]:
        logs = self.servers.directory / "kafka" / "kafka"
        return {
            topic: sum(
                file.stat().st_size
                for file in logs.glob(f"{physical_topic(topic, self._generation)}-*/*.log")
            )
            for topic in KAFKA_TOPICS
        }


def difference(before: Spent, after: Spent, wall_seconds: float) -> Spent:
    """Return what was taken between two standings."""
    return Spent(
        wall_seconds,
        after.workers - before.workers,
        after.kafka - before.kafka,
        after.postgres - before.postgres,
        {name: spent - before.parts.get(name, 0) for name, spent in after.parts.items()},
        {name: count - before.counts.get(name, 0) for name, count in after.counts.items()},
        {name: octets - before.octets[name] for name, octets in after.octets.items()},
    )
