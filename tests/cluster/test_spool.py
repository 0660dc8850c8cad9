"""A collector's spool over a real Kafka: in order, dense, without loss, through every outage."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from collectors.adapters import kafka_publisher
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


def client(kafka: Kafka) -> KafkaConfig:
    return KafkaConfig(
        bootstrap_servers=(kafka.bootstrap,),
        request_timeout_milliseconds=3_000,
        delivery_timeout_milliseconds=6_000,
    )


class Collector:
    """A writer over a directory, its counters and its topic."""

    def __init__(self, writer: SpoolingWriter, counters: Counters) -> None:
        self.writer = writer
        self.counters = counters

    def has_begun_anew(self) -> bool:
        """Whether Kafka answered too late at times, as on a busy machine: then data come twice."""
        return self.counters.get("publish_failures") > 0

    def data(self, number: int, size: int = 20) -> bytes:
        return bytes((number % 251,)) + number.to_bytes(4, "big") + bytes(size)


@contextlib.contextmanager
def collecting(
    kafka: Kafka, directory: Path, topic: RawTopic, config: SpoolConfig = CONFIG
) -> Iterator[Collector]:
    counters = Counters()
    writer = SpoolingWriter(directory, topic, config, client(kafka), counters)
    yield Collector(writer, counters)


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    require_kafka()
    own = Kafka(tmp_path_factory.mktemp("own-kafka"))
    own.start()
    yield own
    own.kill()


@pytest.fixture
def broker(own_broker: Kafka) -> Iterator[Kafka]:
    """A broker that the test may pause, kill and start."""
    yield own_broker
    own_broker.kill()
    own_broker.start()


def have_left(reader: Reader, marks: int) -> bool:
    return [mark.state for mark in reader.marks()].count(LEFT) == marks


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
        assert not received.repeated or collector.has_begun_anew()
        assert received.marks[0].watermark_at == 2_000
        assert received.marks[0].number == len(received.envelopes)
    assert {e.producer for r in reader.partitions.values() for e in r.envelopes} == {"flows@a"}
    assert collector.counters.get("published_messages") == 500 or collector.has_begun_anew()
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
        assert reader.until(functools.partial(have_left, reader, 2 * run))
        for received in partitions:
            assert received.marks[-1].state == LEFT
            assert received.marks[-1].number == run
            assert received.marks[-1].watermark_at == 100 * run
            assert received.number == {"flows@a": run}
            assert not received.repeated or collector.has_begun_anew()
    reader.close()


def test_nothing_is_lost_while_kafka_is_away_and_order_is_kept(
    broker: Kafka, tmp_path: Path
) -> None:
    create_topic(broker, "spool.away", 3)
    topic = RawTopic("spool.away", 3, "flows@a", by_first_octet)
    with collecting(broker, tmp_path, topic) as collector:
        sent = [collector.data(number) for number in range(900)]
        for at, body in enumerate(sent):
            if at == 300:
                broker.kill()
            began = time.monotonic()
            collector.writer.append("data", at, body)
            assert time.monotonic() - began < 1.5, "an append of flows waited for Kafka"
            if at % 100 == 99:
                collector.writer.append("marker", at + 1, b"")
            if at == 600:
                assert eventually(lambda: collector.counters.get("publish_failures") > 0)
                assert eventually(lambda: collector.counters.get("kafka_away") == 1)
                broker.start()
        reader = Reader(broker, topic.name, 3)
        assert reader.until(lambda: len(reader.bodies()) == 900)
        # Marks with a time through which not everything had come would have failed in `take`.
        assert reader.until(lambda: {m.watermark_at for m in reader.marks()} >= {900})
        for partition, received in reader.partitions.items():
            expected = [b for b in sent if b[0] % 3 == partition]
            assert [e.body for e in received.envelopes] == expected
            for mark in received.marks:
                through = [b for at, b in enumerate(sent[: mark.watermark_at]) if b in expected]
                assert mark.number == len(through)
        assert eventually(lambda: collector.counters.get("kafka_away") == 0)
        assert collector.writer.close()
        reader.close()


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    """Whether the condition becomes true in time; it is asked no more once it is."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def set_message_limit(kafka: Kafka, topic: str, octets: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    resource = ConfigResource(
        ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": str(octets)}
    )
    admin.alter_configs([resource])
    admin.close()


def test_nothing_follows_a_message_that_failed(kafka: Kafka, tmp_path: Path) -> None:
    """What Kafka refuses stands in the way: a later number in front of it would be a gap."""
    create_topic(kafka, "spool.refused", 1, **{"max.message.bytes": "2000000"})
    topic = RawTopic("spool.refused", 1, "flows@a", to_every)
    reader = Reader(kafka, topic.name, 1)
    with collecting(kafka, tmp_path, topic) as collector:
        collector.writer.append("data", 1, b"first")
        assert reader.until(lambda: len(reader.bodies()) == 1)
        set_message_limit(kafka, topic.name, 100_000)
        large = os.urandom(1_100_000)  # Each of these is a batch; the others compress well.
        sent = [b"first", large, *(bytes((number,)) * 900_000 for number in range(8))]
        for body in sent[1:]:
            collector.writer.append("data", 1, body)
        assert eventually(lambda: collector.counters.get("publish_failures") >= 2)
        for _ in range(5):
            reader.read()
        assert reader.bodies() == [b"first"]
        set_message_limit(kafka, topic.name, 2_000_000)
        assert reader.until(lambda: len(reader.bodies()) == len(sent))
        assert reader.bodies() == sent
        assert collector.writer.close()
    reader.close()


def test_a_waiting_append_returns_when_kafka_has_it(kafka: Kafka, tmp_path: Path) -> None:
    create_topic(kafka, "spool.waits", 2)
    topic = RawTopic("spool.waits", 2, "radius@a", to_every, waits_for_kafka=True)
    reader = Reader(kafka, topic.name, 2)
    with collecting(kafka, tmp_path, topic) as collector:
        for number in range(20):
            collector.writer.append("data", number, b"packet %d" % number)
            assert collector.counters.get("published_messages") >= 2 * (number + 1)
            assert collector.writer.waiting_octets == 0
        assert collector.writer.close()
    assert reader.until(lambda: len(reader.bodies()) == 40)
    reader.close()


def test_while_kafka_does_not_answer_a_waiting_append_fails_and_spools_once(
    broker: Kafka, tmp_path: Path
) -> None:
    create_topic(broker, "spool.silent", 1)
    topic = RawTopic("spool.silent", 1, "radius@a", to_every, waits_for_kafka=True)
    with collecting(broker, tmp_path, topic) as collector:
        collector.writer.append("data", 1, b"answered")
        broker.pause()
        with pytest.raises(OSError, match="did not acknowledge"):
            collector.writer.append("data", 2, b"not answered")
        waiting = collector.writer.waiting_octets
        began = time.monotonic()
        for _ in range(200):
            with pytest.raises(OSError, match="not yet taken"):
                collector.writer.append("data", 3, b"sent again by the NAS")
        with pytest.raises(OSError, match="not yet taken"):
            collector.writer.append("marker", 4, b"")
        assert time.monotonic() - began < 1
        assert collector.writer.waiting_octets == waiting
        assert collector.counters.get("spool_refused_away") >= 200
        broker.resume()
        assert eventually(lambda: taken(collector.writer, b"afterwards"))
        reader = Reader(broker, topic.name, 1)
        assert reader.until(lambda: b"afterwards" in reader.bodies())
        assert reader.bodies() == [b"answered", b"not answered", b"afterwards"]
        assert reader.until(lambda: bool(reader.marks()))
        assert collector.writer.close()
        reader.close()


def taken(writer: SpoolingWriter, body: bytes) -> bool:
    try:
        writer.append("data", 5, body)
    except OSError:
        return False
    return True


def test_a_full_spool_takes_nothing_more_and_drains_when_kafka_is_back(
    broker: Kafka, tmp_path: Path
) -> None:
    create_topic(broker, "spool.full", 1)
    topic = RawTopic("spool.full", 1, "flows@a", to_every)
    config = dataclasses.replace(CONFIG, octets_max=200_000)
    with collecting(broker, tmp_path, topic, config) as collector:
        broker.pause()
        sent = [collector.data(number, 10_000) for number in range(19)]
        for body in sent:
            collector.writer.append("data", 1, body)
        with pytest.raises(OSError, match="the spool is full"):
            collector.writer.append("data", 1, collector.data(19, 10_000))
        assert collector.writer.waiting_octets <= 200_000
        with pytest.raises(OSError, match="the spool is full"):
            collector.writer.append("marker", 100, b"")
        assert collector.counters.get("spool_refused_full") == 2
        broker.resume()
        assert eventually(lambda: taken(collector.writer, b"afterwards"))
        reader = Reader(broker, topic.name, 1)
        assert reader.until(lambda: len(reader.bodies()) == 20)
        assert reader.bodies() == [*sent, b"afterwards"]
        assert collector.writer.close()
        reader.close()


def test_who_leaves_data_behind_has_not_left_and_sends_them_after_the_next_start(
    broker: Kafka, tmp_path: Path
) -> None:
    create_topic(broker, "spool.behind", 1)
    topic = RawTopic("spool.behind", 1, "flows@a", to_every)
    with collecting(broker, tmp_path, topic) as collector:
        collector.writer.append("data", 1, b"first")
        assert eventually(lambda: collector.writer.waiting_octets == 0)
        broker.kill()
        collector.writer.append("data", 2, b"second")
        collector.writer.append("marker", 3, b"")
        assert not collector.writer.close(drain_seconds=0.2)
    broker.start()
    reader = Reader(broker, topic.name, 1)
    with collecting(broker, tmp_path, topic) as collector:
        assert reader.until(lambda: bool(reader.marks()))
        assert reader.bodies() == [b"first", b"second"]
        assert {mark.state for mark in reader.marks()} == {LIVE}
        assert collector.writer.close()
    reader.close()


def test_two_collectors_write_side_by_side(kafka: Kafka, tmp_path: Path) -> None:
    create_topic(kafka, "spool.two", 2)
    reader = Reader(kafka, "spool.two", 2)
    topics = [RawTopic("spool.two", 2, name, to_every) for name in ("flows@a", "flows@b")]
    with (
        collecting(kafka, tmp_path / "a", topics[0]) as one,
        collecting(kafka, tmp_path / "b", topics[1]) as other,
    ):
        for number in range(100):
            one.writer.append("data", number, b"a %d" % number)
            other.writer.append("data", number, b"b %d" % number)
        assert one.writer.close()
        assert other.writer.close()
    assert reader.until(lambda: len(reader.bodies()) == 400)
    for received in reader.partitions.values():
        assert received.number == {"flows@a": 100, "flows@b": 100}
        assert not received.repeated or one.has_begun_anew() or other.has_begun_anew()
    reader.close()


def test_what_kafka_has_had_for_long_is_deleted_and_the_numbers_stay(
    kafka: Kafka, tmp_path: Path
) -> None:
    create_topic(kafka, "spool.trimmed", 1)
    topic = RawTopic("spool.trimmed", 1, "flows@a", to_every)
    config = dataclasses.replace(CONFIG, keep_published_minutes=1)
    with collecting(kafka, tmp_path, topic, config) as collector:
        for minute in range(10):
            at = 60_000 * minute
            collector.writer.append("data", at, b"minute %d" % minute)
            assert eventually(lambda: collector.writer.waiting_octets == 0)
            collector.writer.append("marker", at + 1, b"")
        assert 1 <= len(list(tmp_path.glob("*.sqlite"))) <= 3
        assert collector.writer.close()
    with collecting(kafka, tmp_path, topic, config) as collector:
        collector.writer.append("data", 660_000, b"after the start")
        assert collector.writer.close()
    reader = Reader(kafka, topic.name, 1)
    assert reader.until(lambda: len(reader.bodies()) == 11)
    reader.close()


def test_more_than_memory_holds_is_read_back_from_the_spool(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_publisher, "QUEUE_OCTETS_MAX", 3_000)
    monkeypatch.setattr(kafka_publisher, "WINDOW_OCTETS_MAX", 2_000)
    create_topic(kafka, "spool.reread", 3)
    topic = RawTopic("spool.reread", 3, "flows@a", by_first_octet)
    reader = Reader(kafka, topic.name, 3)
    with collecting(kafka, tmp_path, topic) as collector:
        sent = [collector.data(number, 400) for number in range(600)]
        for at, body in enumerate(sent):
            collector.writer.append("data", at, body)
        assert reader.until(lambda: len(reader.bodies()) == 600)
        assert collector.writer.close()
    for partition, received in reader.partitions.items():
        assert [e.body for e in received.envelopes] == [b for b in sent if b[0] % 3 == partition]
        assert not received.repeated or collector.has_begun_anew()
    reader.close()


def test_another_number_of_partitions_is_refused(kafka: Kafka, tmp_path: Path) -> None:
    create_topic(kafka, "spool.other", 2)
    topic = RawTopic("spool.other", 2, "flows@a", to_every)
    with collecting(kafka, tmp_path, topic) as collector:
        collector.writer.append("data", 1, b"x")
        collector.writer.append("marker", 2, b"")
        assert collector.writer.close()
    with pytest.raises(OSError, match="a spool of 2 partitions, not 4"):
        SpoolingWriter(
            tmp_path, dataclasses.replace(topic, partitions=4), CONFIG, client(kafka), Counters()
        )


def test_a_traced_part_carries_its_trace_in_its_envelope(kafka: Kafka, tmp_path: Path) -> None:
    create_topic(kafka, "spool.traced", 2)
    topic = RawTopic(
        *("spool.traced", 2, "flows@a", to_every),
        start_trace=lambda part, body: b"%d in %d" % part if part[0] == 2 else b"",
    )
    reader = Reader(kafka, topic.name, 2)
    with collecting(kafka, tmp_path, topic) as collector:
        for body in (b"one", b"two", b"three"):
            collector.writer.append("data", 1, body)
        assert collector.writer.close()
    assert reader.until(lambda: len(reader.bodies()) == 6)
    for partition, received in reader.partitions.items():
        assert [e.trace for e in received.envelopes] == [b"", b"2 in %d" % partition, b""]
    reader.close()
