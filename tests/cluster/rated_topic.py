"""The topic of rated usage as a consumer must understand it: each number of each producer once."""

from __future__ import annotations

import dataclasses

import polars as pl
from kafka import KafkaConsumer, TopicPartition

from rating.envelopes import Envelope, decode_message
from rating.records import RatedUsage
from streams.codec import decode_frame


@dataclasses.dataclass(frozen=True, slots=True)
class Rated:
    """Every row; the last number of each partition; what breaks the rules of numbers."""

    rows: pl.DataFrame
    last_numbers: dict[int, int]
    problems: list[str]


def read_rated(bootstrap: str, topic: str, partitions: int) -> Rated:
    """Read the whole physical topic."""
    places = [TopicPartition(topic, partition) for partition in range(partitions)]
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None
    )
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    frames: list[pl.DataFrame] = []
    last_numbers = dict.fromkeys(range(partitions), 0)
    problems = []
    while any(consumer.position(place) < ends[place] for place in places):
        for place, records in consumer.poll(1000).items():
            for record in records:
                decoded = decode_message(record.value)
                if not isinstance(decoded, Envelope):
                    continue
                last = last_numbers[place.partition]
                if decoded.number > last + 1 or decoded.producer != f"rate/{place.partition}":
                    problems.append(f"{decoded.producer} sent {decoded.number} behind {last}")
                if decoded.number > last:
                    last_numbers[place.partition] = decoded.number
                    frames.append(decode_frame(decoded.body, RatedUsage))
    consumer.close()
    rows = pl.concat(frames) if frames else pl.DataFrame()
    return Rated(rows, last_numbers, problems)
