"""A cluster as the machine under a simulated ISP: real Kafka, PostgreSQL and worker processes.

Blocks take the way they take in production but for the collector's sockets and spool: split over
partitions, numbered per collector, published with acks=all, and marks behind them. A worker that
ends is started again, as its supervisor would.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from sqlalchemy import Connection, Engine

from billing.adapters.databases import open_database, reading, writing
from collectors.partitioning import split_flows, split_packets
from infra.migrate import migrate
from rating.envelopes import Envelope, Mark, decode_message, encode_envelope, encode_marks
from rating.records import RatedUsage, schema_of
from streams.adapters import postgres_tables, postgres_topics
from streams.codec import decode_frame
from streams.topics import KAFKA_TOPICS, physical_topic
from streams.topology import StageConfigs
from tests.simulation.machine import Machine

ROOT = Path(__file__).parent.parent.parent
GENERATION = 1
SETTLE_SECONDS = 90.0
"""How long everything appended may take to be rated, worker deaths included."""
_SPLIT = {"flow.datagrams": split_flows, "radius.accounting": split_packets}
_OCTETS_MAX = 1_000_000


class Workers:
    """Worker processes of one cluster, each started again when it ends."""

    def __init__(self, directory: Path, settings: Path) -> None:
        """Start none."""
        self._directory = directory
        self._settings = settings
        self.processes: list[subprocess.Popen[bytes]] = []
        self.restarts = 0

    def start(self, count: int) -> None:
        """Start so many more."""
        for _ in range(count):
            self.processes.append(self._start(len(self.processes)))

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        with (self._directory / f"worker-{number}.log").open("ab") as output:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "infra.cli", "worker"),
                    *("--config", str(self._settings)),
                    *("--set", f"data_dir={json.dumps(str(self._directory / f'w{number}'))}"),
                ],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def look_after(self) -> None:
        """Start again what has ended."""
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                self.restarts += 1
                self.processes[number] = self._start(number)

    def output(self) -> str:
        """Return the end of what each has said."""
        logs = sorted(self._directory.glob("worker-*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-3000:]}" for log in logs)

    def stop(self) -> None:
        """Ask all to end, and wait for it."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []


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
    ) -> None:
        """Make tables and topics, and start the workers."""
        self.deaths = 0
        self.restarts_max = 3
        self._bootstrap = bootstrap
        self._partitions = partitions
        url = database_url.replace("postgresql://", "postgresql+psycopg://")
        migrate(url)
        self.database: Engine = open_database(url)
        with writing(self.database) as connection:
            postgres_tables.create_tables(connection, partitions=partitions)
        self._admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self._topics = [physical_topic(topic, GENERATION) for topic in KAFKA_TOPICS]
        self._admin.create_topics([NewTopic(name, partitions, 1) for name in self._topics])
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=5
        )
        self._marked_at = 0
        self._numbers: Counter[tuple[str, int]] = Counter()
        settings = directory / "cluster.toml"
        settings.write_text(settings_text(stages, bootstrap, database_url, partitions))
        self.workers = Workers(directory, settings)
        self.workers.start(workers)

    def append(self, log: str, kind: str, received_at: int, body: bytes) -> None:
        """Publish a block or a marker as the collector `sim` would."""
        producer, topic = f"{log}@sim", physical_topic(log, GENERATION)
        if kind == "data":
            for partition, part in _SPLIT[log](body, self._partitions, _OCTETS_MAX):
                self._numbers[log, partition] += 1
                number = self._numbers[log, partition]
                message = encode_envelope(Envelope(producer, number, received_at, part))
                self._producer.send(topic, message, partition=partition)
            return
        self._marked_at = received_at
        for partition in range(self._partitions):
            mark = Mark(producer, self._numbers[log, partition], received_at)
            self._producer.send(topic, encode_marks([mark]), partition=partition)

    def append_rows(
        self, connection: Connection, topic: str, producer: str, frame: pl.DataFrame
    ) -> None:
        """Append for the API, in its transaction."""
        postgres_topics.append_rows(connection, topic, producer, frame, partitions=self._partitions)

    def run_engine(self, now_ms: int, *, wait: bool) -> None:
        """With wait: return once every task has passed the newest marker."""
        if not wait:
            return
        self._producer.flush()
        deadline = time.monotonic() + SETTLE_SECONDS
        while not self._is_settled():
            self.workers.look_after()
            if time.monotonic() > deadline or self.workers.restarts > self.restarts_max:
                raise TimeoutError(f"not settled:\n{self.standing()}\n{self.workers.output()}")
            time.sleep(0.1)

    def _is_settled(self) -> bool:
        with reading(self.database) as connection:
            at = postgres_tables.read_watermarks(connection)
            newest = postgres_topics.newest_numbers(connection)
        if newest and not self._has_read_stored(newest):
            return False
        return len(at) == 4 * self._partitions and min(at.values()) >= self._marked_at

    def _has_read_stored(self, newest: dict[tuple[str, int], int]) -> bool:
        import msgspec

        from streams.progress import Standing

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
                if stage in stages and standing.stored.get(topic, 0) < newest.get(
                    (topic, stored), 0
                ):
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
        name = physical_topic("usage.rated", GENERATION)
        partitions = [TopicPartition(name, partition) for partition in range(self._partitions)]
        consumer = KafkaConsumer(
            bootstrap_servers=self._bootstrap, auto_offset_reset="earliest", group_id=None
        )
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        frames: dict[tuple[str, int], pl.DataFrame] = {}
        schema = schema_of(RatedUsage)
        while any(consumer.position(p) < ends[p] for p in partitions):
            for records in consumer.poll(1000).values():
                for record in records:
                    decoded = decode_message(record.value)
                    if isinstance(decoded, Envelope):
                        frame = decode_frame(decoded.body, schema)
                        frames[decoded.producer, decoded.number] = frame
        consumer.close()
        return pl.concat(frames.values()) if frames else pl.DataFrame()

    def close(self) -> None:
        """Stop the workers and delete the topics, so that the next test has its own."""
        self.workers.stop()
        self._producer.close()
        self._admin.delete_topics(self._topics)
        self._admin.close()
        self.database.dispose()


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
