"""What the servers can do at most on this machine: Kafka's producer, COPY, an insert into chDB."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import time

import psycopg
from kafka.admin import KafkaAdminClient, NewTopic

from tests.benchmarks.cluster_machine import Servers, cpu_seconds

RECORD_OCTETS = 100_000
"""About what a message of the raw topics has."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """One raw limit: how much of what a second, and the server's CPU seconds per million of it."""

    name: str
    unit: str
    per_second: float
    cpu_seconds_per_million: float


def kafka_producer(servers: Servers, megabytes: int) -> Limit:
    """Return what kafka-producer-perf-test writes to eight partitions with acks=all."""
    admin = KafkaAdminClient(bootstrap_servers=servers.kafka.bootstrap)
    admin.create_topics([NewTopic("perf", 8, 1)])
    admin.close()
    records = megabytes * 1_000_000 // RECORD_OCTETS
    before = cpu_seconds(servers.kafka.pid)
    told = servers.kafka.run_tool(
        "org.apache.kafka.tools.ProducerPerformance",
        *("--topic", "perf", "--num-records", str(records)),
        *("--record-size", str(RECORD_OCTETS), "--throughput", "-1", "--producer-props"),
        f"bootstrap.servers={servers.kafka.bootstrap}",
        *("acks=all", "compression.type=lz4", "linger.ms=5", "batch.size=262144"),
    )
    used = cpu_seconds(servers.kafka.pid) - before
    found = re.findall(r"([\d.]+) records/sec", told)
    per_second = float(found[-1]) * RECORD_OCTETS
    return Limit("Kafka producer, acks=all", "octets", per_second, used / megabytes)


def postgres_copy(servers: Servers, rows: int) -> Limit:
    """Return what COPY takes into a table as `stage_output`, fsync on, in commits of 10,000."""
    url = servers.postgres.create_database("limits")
    body = b"x" * 100
    with psycopg.connect(url) as connection:
        connection.execute(
            "create table copied(task text, topic text, partition integer, number bigint,"
            " received_at bigint, trace bytea, body bytea,"
            " primary key(task, topic, partition, number))"
        )
        connection.commit()
        before, began = cpu_seconds(servers.postgres.pid), time.monotonic()
        for first in range(0, rows, 10_000):
            with connection.cursor().copy("copy copied from stdin (format binary)") as copy:
                copy.set_types(("text", "text", "int4", "int8", "int8", "bytea", "bytea"))
                for number in range(first, min(rows, first + 10_000)):
                    copy.write_row(("rate/1", "usage.rated", 1, number, number, b"", body))
            connection.commit()
        seconds = time.monotonic() - began
        used = cpu_seconds(servers.postgres.pid) - before
    return Limit("PostgreSQL COPY", "rows", rows / seconds, used / rows * 1e6)


def chdb_inserts(rows_or_file: str) -> tuple[Limit, Limit, float]:
    """Return a plain insert, the whole sink, and octets a row on disk; in a process of its own.

    A process that has Kafka's threads must not open chDB.
    """
    command = [sys.executable, "-m", "tests.benchmarks.cluster_chdb", rows_or_file]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    plain, sink, octets = json.loads(told.splitlines()[-1])
    return Limit("chDB insert", "rows", *plain), Limit("sink into chDB", "rows", *sink), octets
