"""Raw flows through kills of sinks: real Kafka and PostgreSQL, chDB's HTTP; every flow once.

Two collectors write to each partition, sometimes twice; templates come late and seldom, so that a
sink that lost its decoder's state would miss flows or count them wrongly.
"""

from __future__ import annotations

import ipaddress
import os
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import polars as pl
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from streams.raw_flows import ADDRESSES
from tests.cluster.servers import Kafka
from tests.cluster.test_intents import prepare
from tests.cluster.test_sink import (
    Cluster,
    cluster_of,  # noqa: F401
    wait_until,
)
from tests.raw_flow_log import MadeLog, decoded_at_once, sorted_rows
from warehouse.connect import client
from warehouse.intent_tables import PostgresIntentStore
from warehouse.intents import Source
from warehouse.raw_flows import UNNUMBERED

PARTITIONS = 3
TOPIC = "flow.datagrams.g1"


class RawLog:
    """The topic of the collectors, with a made log in each partition."""

    def __init__(self, kafka: Kafka, seed: int) -> None:
        self._admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        self._admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
        self._producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", linger_ms=5)
        self.parts = [MadeLog(seed * 100 + number) for number in range(PARTITIONS)]

    def write(self, entries: int) -> None:
        for number, part in enumerate(self.parts):
            for message in part.write(entries):
                self._producer.send(TOPIC, message, partition=number)
        self._producer.flush()

    def ends(self) -> list[int]:
        return [len(part.messages) for part in self.parts]

    def delete_before_end(self) -> None:
        """Let Kafka delete everything, as retention does."""
        ends = enumerate(self.ends())
        self._admin.delete_records({TopicPartition(TOPIC, part): end for part, end in ends})

    def rows(self) -> pl.DataFrame:
        return pl.concat([decoded_at_once(part) for part in self.parts])

    def close(self) -> None:
        self._producer.close()
        self._admin.delete_topics([TOPIC])
        self._admin.close()


def raw_cluster(make: Callable[..., Cluster], kafka: Kafka, url: str) -> Cluster:
    """Return a cluster whose sinks write raw flows; the topic of rated usage does not exist."""
    cluster = make(kafka.bootstrap, url, topic='"none.usage.rated"')
    with cluster.file.open("a") as settings:
        settings.write(
            "[warehouse.raw_flows]\nis_enabled = true\nbatch_rows = 400\ninterval_seconds = 0.2\n"
        )
    text = cluster.file.read_text()
    cluster.file.write_text(
        text.replace("[warehouse.retention]\n", "[warehouse.retention]\nraw_flow_days = 0\n")
    )
    return cluster


def positions(intents: PostgresIntentStore) -> list[int]:
    return [intents.position(Source(UNNUMBERED, TOPIC, p)) for p in range(PARTITIONS)]


def have_moved(intents: PostgresIntentStore, before: list[int]) -> bool:
    return positions(intents) != before


def in_table(cluster: Cluster) -> pl.DataFrame:
    """Return the table's rows as decoded ones, without their place in the log."""
    reading: Any = client(cluster.config)
    result = reading.query("SELECT * EXCEPT (log_partition, log_position, log_generation)"
                           " FROM raw_flow")  # fmt: skip
    rows = pl.DataFrame(result.result_rows, schema=list(result.column_names), orient="row")
    reading.close()
    return rows.with_columns(
        pl.col(name).map_elements(lambda each: ipaddress.IPv6Address(str(each)).packed, pl.Binary)
        for name in ADDRESSES
    )


def assert_same(found: pl.DataFrame, wanted: pl.DataFrame) -> None:
    assert found.height == wanted.height
    found = sorted_rows(found.select(wanted.columns).cast(wanted.schema))
    assert found.equals(sorted_rows(wanted))


@pytest.mark.timeout(600)
def test_every_flow_is_in_the_table_once_through_kills_and_pauses_of_sinks(
    kafka: Kafka,
    database_url: str,
    cluster_of: Callable[..., Cluster],  # noqa: F811
) -> None:
    prepare(database_url)
    seed = int(os.environ.get("SEED", "20261130"))
    chance = random.Random(seed)
    log = RawLog(kafka, seed)
    cluster = raw_cluster(cluster_of, kafka, database_url)
    intents = PostgresIntentStore(database_url)
    try:
        cluster.start_endpoint()
        cluster.start_sink()
        log.write(20)
        wait_until(lambda: positions(intents) == log.ends(), 120, cluster)
        cluster.start_sink()
        for event in ["kill", "kill", "pause", "kill store", "kill", "kill"]:
            before = positions(intents)
            log.write(chance.randrange(60, 90))
            # Only a sink that is at work can be hurt; one that has just begun is importing.
            wait_until(partial(have_moved, intents, before), 60, cluster)
            time.sleep(chance.uniform(0.0, 0.2))
            cluster.disturb(event, chance, lambda: log.write(5))
        wait_until(lambda: positions(intents) == log.ends(), 240, cluster)
        assert intents.open_intents(UNNUMBERED) == {}
        wanted = log.rows()
        assert_same(in_table(cluster), wanted)
        replays = cluster.log().count("sink replays")
        print(wanted.height, "flows,", sum(log.ends()), "messages,", replays, "replays")
    finally:
        log.close()
        intents.close()


@pytest.mark.timeout(300)
def test_switched_off_for_longer_than_kafka_keeps_it_goes_on_with_what_is_there(
    kafka: Kafka,
    database_url: str,
    cluster_of: Callable[..., Cluster],  # noqa: F811
) -> None:
    prepare(database_url)
    log = RawLog(kafka, 7)
    cluster = raw_cluster(cluster_of, kafka, database_url)
    intents = PostgresIntentStore(database_url)
    try:
        cluster.start_endpoint()
        sink = cluster.start_sink()
        log.write(40)
        wait_until(lambda: positions(intents) == log.ends(), 120, cluster)
        cluster.kill_sink(sink)
        before = in_table(cluster)
        log.write(10)
        log.delete_before_end()
        log.write(10)
        cluster.start_sink()
        wait_until(lambda: positions(intents) == log.ends(), 60, cluster)
        assert cluster.log().count("the table has a gap there") == PARTITIONS
        assert 0 < before.height < in_table(cluster).height < log.rows().height
    finally:
        log.close()
        intents.close()


@pytest.mark.timeout(300)
def test_off_by_default_no_table_is_made_and_the_log_is_not_read(
    kafka: Kafka,
    database_url: str,
    cluster_of: Callable[..., Cluster],  # noqa: F811
) -> None:
    prepare(database_url)
    log = RawLog(kafka, 8)
    cluster = cluster_of(kafka.bootstrap, database_url)
    intents = PostgresIntentStore(database_url)
    try:
        cluster.start_endpoint()
        cluster.start_sink()
        log.write(5)
        reading: Any = client(cluster.config)

        def tables() -> set[str]:
            found = reading.query("SELECT name FROM system.tables WHERE database = 'default'")
            return {str(name) for (name,) in found.result_rows}

        wait_until(lambda: "invoice_line" in tables(), 120, cluster)
        time.sleep(2)
        assert not [name for name in tables() if "raw" in name]
        assert intents.positions(UNNUMBERED) == {}
        reading.close()
    finally:
        log.close()
        intents.close()
