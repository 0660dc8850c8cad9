"""Whoever looks back reads a topic in all its generations, and is told what is gone."""

from __future__ import annotations

import time

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from rating.connections import KafkaConfig
from rating.envelopes import Envelope, encode_envelope
from streams.adapters.kafka_ranges import KafkaRanges, RangeLostError
from tests.cluster.raw_topics import create_topic
from tests.cluster.servers import Kafka

GENERATIONS = ((7, 1), (8, 3))


def test_a_range_goes_through_the_generations_and_ends_where_one_is_gone(kafka: Kafka) -> None:
    for generation, partitions in GENERATIONS:
        create_topic(kafka, f"ranges.g{generation}", partitions)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    began_at = int(time.time() * 1000)
    for number, (topic, partition) in enumerate(
        [("ranges.g7", 0), ("ranges.g7", 0), ("ranges.g8", 0), ("ranges.g8", 2)]
    ):
        # Both generations count their producer's data from 1.
        message = encode_envelope(Envelope("a", 1, 0, b"%d" % number))
        producer.send(topic, message, partition=partition, timestamp_ms=began_at + number).get(10)
    producer.close()
    config = KafkaConfig(bootstrap_servers=(kafka.bootstrap,))

    def read(since_at: int, **options: bool) -> list[tuple[int, bytes]]:
        ranges = KafkaRanges(config, GENERATIONS, **options)
        try:
            return sorted((place, each.body) for place, each in ranges.read("ranges", since_at))
        finally:
            ranges.close()

    everything = [(0, b"0"), (0, b"1"), (1, b"2"), (3, b"3")]
    assert read(began_at) == everything
    assert read(began_at + 1) == everything[1:]
    assert read(began_at + 1, is_cut=True) == everything[1:]
    with pytest.raises(RangeLostError, match=r"ranges\.g7, partition 0"):
        read(began_at, is_cut=True)
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.delete_records({TopicPartition("ranges.g7", 0): 1})
    admin.close()
    assert read(began_at + 2) == everything[2:]
    with pytest.raises(RangeLostError, match=r"ranges\.g7, partition 0"):
        read(began_at)
    assert read(0) == read(0, is_cut=True) == everything[1:], "whatever is kept"
