"""Consumer lag against a real Kafka: what is behind, what retention took, and a broker away."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from rating.connections import KafkaConfig
from streams.adapters.kafka_lag import LAG_GAUGE, KafkaLag, group_positions, open_admin
from streams.metrics import GAUGES
from tests.cluster.conftest import require_kafka
from tests.cluster.servers import Kafka


class Clock:
    """A monotonic clock that a test moves."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """A topic with three partitions that hold 0, 1 and 2 messages."""
    name = f"usage.rated.{uuid.uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1)])
    admin.close()
    for partition in range(3):
        send(kafka, name, partition, partition)
    return name


def send(kafka: Kafka, topic: str, partition: int, count: int) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    for _ in range(count):
        producer.send(topic, b"x", partition=partition)
    producer.flush()
    producer.close()


def lags(found: dict[tuple[str, tuple[str, ...]], float]) -> dict[int, float]:
    assert {name for name, _ in found} <= {LAG_GAUGE}
    assert GAUGES[LAG_GAUGE].labels == ("topic", "partition")
    return {int(labels[1]): value for (_, labels), value in found.items()}


def test_lag_is_the_end_less_the_position_and_asked_for_now_and_then(
    kafka: Kafka, topic: str
) -> None:
    clock = Clock()
    lag = KafkaLag(KafkaConfig(bootstrap_servers=(kafka.bootstrap,)), clock, interval_seconds=10)
    positions = {(topic, 0): 0, (topic, 1): 1, (topic, 2): 0}
    assert lags(lag(positions)) == {0: 0, 1: 0, 2: 2}
    send(kafka, topic, 0, 5)
    assert lags(lag(positions)) == {0: 0, 1: 0, 2: 2}, "it is not asked at each scrape"
    positions[topic, 2] = 2
    assert lags(lag(positions))[2] == 0, "a position that moved counts at once"
    clock.seconds += 10
    assert lags(lag(positions)) == {0: 5, 1: 0, 2: 0}
    assert lags(lag({(topic, 1): 9})) == {1: 0}, "a position ahead is no negative lag"
    assert lag.failures == 0
    lag.close()


def test_what_retention_took_is_not_lag(kafka: Kafka, topic: str) -> None:
    send(kafka, topic, 1, 9)
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.delete_records({TopicPartition(topic, 1): 7})
    admin.close()
    lag = KafkaLag(KafkaConfig(bootstrap_servers=(kafka.bootstrap,)), Clock())
    assert lags(lag({(topic, 1): 0})) == {1: 3}
    lag.close()


def test_the_positions_of_a_consumer_group(kafka: Kafka, topic: str) -> None:
    group = f"sink-{uuid.uuid4().hex}"
    consumer = KafkaConsumer(
        bootstrap_servers=kafka.bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    consumer.assign([TopicPartition(topic, 2)])
    taken = next(iter(consumer))
    consumer.commit()
    consumer.close()
    assert taken.offset == 0
    config = KafkaConfig(bootstrap_servers=(kafka.bootstrap,))
    admin = open_admin(config)
    positions = group_positions(admin, group)
    admin.close()
    lag = KafkaLag(config, Clock())
    assert positions == {(topic, 2): 1}
    assert lags(lag(positions)) == {2: 1}
    lag.close()


def test_a_broker_away_costs_seconds_once_per_interval_and_the_last_answer_stands(
    tmp_path: Path,
) -> None:
    require_kafka()
    broker = Kafka(tmp_path / "broker")
    broker.start()
    try:
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.create_topics([NewTopic("t", num_partitions=1, replication_factor=1)])
        admin.close()
        send(broker, "t", 0, 4)
        clock = Clock()
        lag = KafkaLag(KafkaConfig(bootstrap_servers=(broker.bootstrap,)), clock)
        assert lags(lag({("t", 0): 1})) == {0: 3}
        for failures, away in enumerate((broker.pause, broker.kill), start=1):
            away()
            clock.seconds += 10
            began = time.monotonic()
            assert lags(lag({("t", 0): 1})) == {0: 3}
            assert time.monotonic() - began < 8.0, "a scrape gives up after ten seconds"
            assert lag.failures == failures
        assert lags(lag({("t", 0): 2})) == {0: 2}
        assert lag.failures == 2, "the next attempt waits for the interval"
        broker.start()
        clock.seconds += 10
        assert lags(lag({("t", 0): 4})) == {0: 0}
        assert lag.failures == 2
        lag.close()
    finally:
        broker.kill()


def test_a_kafka_that_never_answered_gives_no_lag_and_no_error() -> None:
    lag = KafkaLag(KafkaConfig(bootstrap_servers=("127.0.0.1:1",)), Clock())
    assert lag({("t", 0): 1}) == {}
    assert lag.failures == 1
    lag.close()
