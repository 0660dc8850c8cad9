"""A collector's spool over a real Kafka: in order, dense, without loss, through every outage."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from collectors.adapters.kafka_publisher import RawTopic
from collectors.adapters.spool import SpoolingWriter
from collectors.config import SpoolConfig
from collectors.metrics import Counters
from collectors.partitioning import Part
from rating.connections import KafkaConfig
from rating.envelopes import LEFT, LIVE
from tests.cluster.conftest import require_kafka
from tests.cluster.raw_topics import PATIENCE_SECONDS, Reader, create_topic
from tests.cluster.servers import Kafka

CONFIG = SpoolConfig(ack_wait_milliseconds=1_500)


def by_first_octet(body: bytes, partitions: int, octets_max: int) -> list[Part]:
    """A split whose partition a test can choose."""
    return [(body[0] % partitions, body)]


def to_every(body: bytes, partitions: int, octets_max: int) -> list[Part]:
    return [(partition, body) for partition in range(partitions)]


def client(kafka: Kafka, **settings: int) -> KafkaConfig:
    return KafkaConfig(
        bootstrap_servers=(kafka.bootstrap,),
        **{"request_timeout_milliseconds": 3_000, "delivery_timeout_milliseconds": 6_000}  # type: ignore[arg-type]
        | settings,
    )


class Collector:
    """A writer over a directory, its counters and its topic."""

    def __init__(self, writer: SpoolingWriter, counters: Counters) -> None:
        self.writer = writer
        self.counters = counters

    def data(self, number: int, size: int = 20) -> bytes:
        return bytes((number % 251,)) + number.to_bytes(4, "big") + bytes(size)


@contextlib.contextmanager
def collecting(
    kafka: Kafka, directory: Path, topic: RawTopic, config: SpoolConfig = CONFIG, **settings: int
) -> Iterator[Collector]:
    counters = Counters()
    writer = SpoolingWriter(directory, topic, config, client(kafka, **settings), counters)
    yield Collector(writer, counters)


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker that the test may stop."""
    require_kafka()
    own = Kafka(tmp_path_factory.mktemp("own-kafka"))
    own.start()
    yield own
    own.kill()


def test_blocks_arrive_once_in_order_with_dense_numbers(kafka: Kafka, tmp_path: Path) -> None:
    create_topic(kafka, "spool.plain", 4)
    topic = RawTopic("spool.plain", 4, "flows@a", by_first_octet)
    reader = Reader(kafka, topic.name, 4)
    with collecting(kafka, tmp_path, topic) as collector:
        sent = [collector.data(number) for number in range(500)]
        for at, body in enumerate(sent):
            collector.writer.append("data", 1_000 + at, body)
        collector.writer.append("marker", 2_000, b"")
        assert reader.until(lambda: len(reader.marks()) == 4)
        assert collector.writer.close()
    for partition, received in reader.partitions.items():
        assert [e.body for e in received.envelopes] == [b for b in sent if b[0] % 4 == partition]
        assert [e.number for e in received.envelopes] == list(range(1, len(received.envelopes) + 1))
        assert received.repeated == 0
        assert received.marks[0].watermark_at == 2_000
        assert received.marks[0].number == len(received.envelopes)
    assert {e.producer for r in reader.partitions.values() for e in r.envelopes} == {"flows@a"}
    assert collector.counters.get("published_messages") == 500
    reader.close()


def test_an_orderly_end_says_that_it_left_and_a_start_goes_on(kafka: Kafka, tmp_path: Path) -> None:
    create_topic(kafka, "spool.left", 2)
    topic = RawTopic("spool.left", 2, "flows@a", to_every)
    reader = Reader(kafka, topic.name, 2)
    partitions = reader.partitions.values()
    for run in (1, 2):
        with collecting(kafka, tmp_path, topic) as collector:
            collector.writer.append("data", run, b"run %d" % run)
            collector.writer.append("marker", 100 * run, b"")
            assert collector.writer.close()
        assert reader.until(lambda: len([m for m in reader.marks() if m.state == LEFT]) == 2 * run)  # noqa: B023
        for received in partitions:
            assert received.marks[-1].state == LEFT
            assert received.marks[-1].number == run
            assert received.marks[-1].watermark_at == 100 * run
            assert received.number == {"flows@a": run}
            assert received.repeated == 0
    reader.close()
