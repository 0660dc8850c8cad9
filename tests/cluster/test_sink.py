"""Sinks of a cluster through kills, pauses and rebalances: real Kafka and PostgreSQL, chDB's HTTP.

Killed with SIGKILL: sinks and the store's endpoint. Paused past the claims' timeout with SIGSTOP:
sinks, which then find that others hold their partitions. Base and every rollup stay exact.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from rating.envelopes import Envelope, Mark, encode_envelope, encode_marks
from rating.records import RatedUsage
from streams.codec import encode_frame
from tests.cluster.processes import free_port
from tests.cluster.servers import Kafka
from tests.cluster.test_intents import prepare
from tests.warehouse.endpoint_process import config_of
from tests.warehouse.records_made import random_frame
from warehouse.checking import Checker, CheckRules
from warehouse.connect import WarehouseError, client
from warehouse.intent_tables import PostgresIntentStore
from warehouse.intents import Source
from warehouse.metrics import Counters
from warehouse.migrations import migrate
from warehouse.sink import rated_frame
from warehouse.tables import ROLLUPS

ROOT = Path(__file__).parents[2]
TOPIC = "usage.rated.g1"
PARTITIONS = 4
CLAIM_TIMEOUT_SECONDS = 3


def frame_of_record(partition: int, number: int) -> pl.DataFrame:
    """Return the made rows of a record; some have none."""
    rows = random.Random(partition * 10_007 + number).choice([0, 1, 150, 600])
    return random_frame(partition * 10_007 + number, rows)


class Log:
    """The topic, written as rate's relay does: in order, sometimes twice, marks in between."""

    def __init__(self, bootstrap: str, topic: str, seed: int = 1) -> None:
        self.topic = topic
        self._chance = random.Random(seed)
        self._bootstrap = bootstrap
        self.numbers = [0] * PARTITIONS
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
        admin.close()
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)

    def write(self, records: int) -> None:
        """Append so many records to every partition."""
        for partition, _ in itertools.product(range(PARTITIONS), range(records)):
            self.numbers[partition] += 1
            self._send(partition, self.numbers[partition])
            if self._chance.random() < 0.2:
                again = max(1, self.numbers[partition] - self._chance.randrange(3))
                for number in range(again, self.numbers[partition] + 1):
                    self._send(partition, number)
            if self._chance.random() < 0.3:
                mark = Mark(f"rate/{partition}", self.numbers[partition], 0)
                self._producer.send(self.topic, encode_marks([mark]), partition=partition)
        self._producer.flush()

    def send_raw(self, partition: int, envelope: Envelope) -> None:
        """Append any envelope."""
        self._producer.send(self.topic, encode_envelope(envelope), partition=partition)
        self._producer.flush()

    def close(self) -> None:
        self._producer.close()

    def _send(self, partition: int, number: int) -> None:
        body = encode_frame(frame_of_record(partition, number), RatedUsage)
        value = encode_envelope(Envelope(f"rate/{partition}", number, 0, body))
        self._producer.send(self.topic, value, partition=partition)


class Cluster:
    """Processes of one test: the endpoint and sinks, started, killed and paused."""

    def __init__(self, directory: Path, bootstrap: str, url: str, **sink: object) -> None:
        self.directory = directory
        self.port = free_port()
        self.config = config_of(self.port)
        self.url = url
        self._logs = (directory / "processes.log").open("wb")
        self.file = directory / "flowrate.toml"
        settings = {"batch_rows": 3_000, "interval_seconds": 0.2, "retry_seconds": 0.2,
                    "claim_timeout_seconds": CLAIM_TIMEOUT_SECONDS, "claim_renew_seconds": 0.5,
                    "check_at_hour": 24} | sink  # fmt: skip
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        self.file.write_text(
            f'mode = "cluster"\ndata_dir = "data"\n[cluster]\ndatabase_url = "{url}"\n'
            f'[cluster.kafka]\nbootstrap_servers = ["{bootstrap}"]\n'
            f'[warehouse]\nreader_password = "r"\nsink_password = "s"\n'
            f"[warehouse.endpoint]\nport = {self.port}\n[warehouse.sink]\n{lines}"
            "[warehouse.retention]\nsubscriber_minute_days = 0\n"
            "[metrics]\nis_enabled = false\n"
        )
        self.endpoint: subprocess.Popen[bytes] | None = None
        self.sinks: list[subprocess.Popen[bytes]] = []

    def start_endpoint(self) -> None:
        """Start the endpoint and wait until it serves."""
        self.endpoint = subprocess.Popen(
            [sys.executable, "-m", "tests.warehouse.endpoint_process", str(self.directory),
             str(self.port)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=self._logs,
        )  # fmt: skip
        assert self.endpoint.stdout is not None
        assert self.endpoint.stdout.readline() == b"serving\n"

    def start_sink(self) -> subprocess.Popen[bytes]:
        """Start one more sink."""
        sink = subprocess.Popen(
            [sys.executable, "-m", "infra.processes.sink", "--config", str(self.file)],
            cwd=ROOT, stdout=self._logs, stderr=self._logs,
        )  # fmt: skip
        self.sinks.append(sink)
        return sink

    def kill_endpoint(self) -> None:
        assert self.endpoint is not None
        self.endpoint.kill()
        self.endpoint.wait()

    def kill_sink(self, sink: subprocess.Popen[bytes]) -> None:
        self.sinks.remove(sink)
        sink.kill()
        sink.wait()

    def disturb(self, event: str, chance: random.Random, meanwhile: Callable[[], None]) -> None:
        """Let "kill", "pause" (of some sink, `meanwhile` in it) or "kill store" happen."""
        sink = chance.choice(self.sinks)
        if event == "kill":
            self.kill_sink(sink)
            self.start_sink()
        elif event == "pause":
            sink.send_signal(signal.SIGSTOP)
            time.sleep(CLAIM_TIMEOUT_SECONDS + 2)
            meanwhile()
            sink.send_signal(signal.SIGCONT)
        else:
            self.kill_endpoint()
            self.start_endpoint()

    def log(self) -> str:
        return (self.directory / "processes.log").read_text(errors="replace")

    def close(self) -> None:
        for process in [*self.sinks, self.endpoint]:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        self._logs.close()


@pytest.fixture
def cluster_of(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(bootstrap: str, url: str, **sink: object) -> Cluster:
        made.append(Cluster(tmp_path, bootstrap, url, **sink))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


def wait_until(is_done: Callable[[], bool], seconds: float, cluster: Cluster) -> None:
    deadline = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > deadline:
            raise AssertionError("not done in time\n" + cluster.log()[-6_000:])
        assert all(sink.poll() is None for sink in cluster.sinks), cluster.log()[-6_000:]
        time.sleep(0.2)


def positions(intents: PostgresIntentStore, topic: str, generation: int = 1) -> list[int]:
    return [intents.position(Source(generation, topic, p)) for p in range(PARTITIONS)]


def sums_of(frame: pl.DataFrame) -> dict[str, list[str]]:
    """Return what base and rollups must sum to."""
    volume = frame.filter(pl.col("meter_id") == "volume")
    octets = [str(volume["octets_up"].sum()), str(volume["octets_down"].sum())]
    charge = sum(frame["charge"].to_list(), Decimal(0)).normalize()
    charges = [f"{charge:f}", str(frame["quantity"].sum())]
    found = {"base": [str(frame.height), *octets], "charges": charges, "charge_cell": charges}
    return found | {t.name: octets for t in ROLLUPS if t.name != "charge_cell"}


def audited(reading: Any, generation: int = 1) -> dict[str, list[str]]:
    """Return what base and rollups sum to in the warehouse."""

    def row(columns: str, table: str, condition: str = "1") -> list[str]:
        sql = f"SELECT {columns} FROM {table}_{generation} WHERE {condition}"
        values = reading.query(sql).result_rows[0]
        return [f"{v.normalize():f}" if isinstance(v, Decimal) else str(v) for v in values]

    found = {
        "base": row("count(), sum(octets_up), sum(octets_down)", "usage_rated"),
        "charges": row("sum(charge), sum(quantity)", "usage_rated"),
        "charge_cell": row("sum(charge), sum(quantity)", "charge_cell"),
    }
    for table in ROLLUPS:
        if table.name != "charge_cell":
            found[table.name] = row("sum(octets_up), sum(octets_down)", table.name)
    return found


def expected(numbers: list[int]) -> dict[str, list[str]]:
    frames = [
        frame_of_record(partition, number)
        for partition, last in enumerate(numbers)
        for number in range(1, last + 1)
    ]
    return sums_of(pl.concat(frames))


def assert_exact(cluster: Cluster, numbers: list[int], generation: int = 1) -> None:
    """Every sum, and every key of every rollup, is what was written."""
    reading = client(cluster.config)
    assert audited(reading, generation) == expected(numbers)
    reading.close()
    writing = client(cluster.config, may_write=True)
    intents = PostgresIntentStore(cluster.url)
    report = Checker(writing, intents, generation, Counters(), CheckRules()).run(is_repairing=False)
    assert report.findings == ()
    assert report.partitions == 2 * len(ROLLUPS)
    writing.close()
    intents.close()


@pytest.mark.timeout(600)
def test_sums_are_exact_through_kills_pauses_and_rebalances(
    kafka: Kafka, database_url: str, cluster_of: Callable[..., Cluster]
) -> None:
    prepare(database_url)
    chance = random.Random(int(os.environ.get("SEED", "20261130")))
    log = Log(kafka.bootstrap, TOPIC)
    cluster = cluster_of(kafka.bootstrap, database_url)
    cluster.start_endpoint()
    cluster.start_sink()
    intents = PostgresIntentStore(database_url)
    log.write(5)
    wait_until(lambda: min(positions(intents, TOPIC)) >= 5, 120, cluster)
    cluster.start_sink()
    events = ["kill", "kill store", "pause", "kill", "kill", "kill store", "pause", "kill"]
    for event in events:
        log.write(chance.randrange(4, 9))
        time.sleep(chance.uniform(0.2, 1.5))
        cluster.disturb(event, chance, lambda: log.write(3))
        assert all(sink.poll() is None for sink in cluster.sinks), cluster.log()[-4_000:]
    wait_until(lambda: positions(intents, TOPIC) == log.numbers, 240, cluster)
    assert intents.open_intents(1) == {}
    assert_exact(cluster, log.numbers)
    text = cluster.log()
    assert text.count("sink replays") >= 1, "the kills did not meet a working sink"
    print(sum(log.numbers), "records,", text.count("sink replays"), "replays")
    intents.close()
    log.close()


def test_a_gap_stops_its_partition_and_no_other(
    kafka: Kafka, database_url: str, cluster_of: Callable[..., Cluster]
) -> None:
    prepare(database_url)
    topic = "gap.usage.rated.g1"
    log = Log(kafka.bootstrap, topic)
    log.write(4)
    body = encode_frame(frame_of_record(1, 6), RatedUsage)
    log.send_raw(1, Envelope("rate/1", 6, 0, body))
    cluster = cluster_of(kafka.bootstrap, database_url, topic='"gap.usage.rated"')
    cluster.start_endpoint()
    cluster.start_sink()
    intents = PostgresIntentStore(database_url)
    wait_until(lambda: positions(intents, topic) == [4, 4, 4, 4], 60, cluster)
    wait_until(lambda: "number 6 follows 4" in cluster.log(), 30, cluster)
    log.numbers[1] += 2  # The others go on.
    for partition in (0, 2, 3):
        log.numbers[partition] += 1
        log._send(partition, log.numbers[partition])
    wait_until(lambda: positions(intents, topic) == [5, 4, 5, 5], 30, cluster)
    assert_exact(cluster, [5, 4, 5, 5])
    intents.close()
    log.close()


def test_an_insert_that_slept_past_its_claim_is_refused_by_the_table(
    database_url: str, kafka: Kafka, cluster_of: Callable[..., Cluster]
) -> None:
    """Even with a token that nobody remembers: the table itself refuses the second that is over."""
    prepare(database_url)
    cluster = cluster_of(kafka.bootstrap, database_url)
    cluster.start_endpoint()
    writing: Any = client(cluster.config, may_write=True)
    migrate(writing, 1, 1)
    source = Source(1, TOPIC, 0)
    frame = random_frame(1, 50)
    now = int(str(writing.command("SELECT toUnixTimestamp(now())")))

    def insert(before: int) -> None:
        rows = rated_frame([(1, frame)], source, before)
        writing.insert_arrow("usage_rated_1", rows.to_arrow(compat_level=pl.CompatLevel.oldest()))

    with pytest.raises(Exception, match="in_time"):
        insert(now - 1)
    assert int(str(writing.command("SELECT count() FROM usage_rated_1"))) == 0
    assert int(str(writing.command("SELECT count() FROM subscriber_day_1"))) == 0
    insert(now + 60)
    assert int(str(writing.command("SELECT count() FROM usage_rated_1"))) == 50
    with suppress(WarehouseError):
        writing.close()
