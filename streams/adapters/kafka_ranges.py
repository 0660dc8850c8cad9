"""Reads what a topic of one generation holds since an instant, for those who look back."""

from __future__ import annotations

from collections.abc import Iterator

from kafka import KafkaConsumer, TopicPartition

from rating.connections import KafkaConfig, client_arguments
from rating.envelopes import Envelope, decode_message
from streams.topics import physical_topic

_POLL_MILLISECONDS = 1_000


class RangeLostError(Exception):
    """Kafka no longer holds the beginning of what was asked for."""


class KafkaRanges:
    """One generation's topics, read without a consumer group."""

    def __init__(self, config: KafkaConfig, generation: int, partitions: int) -> None:
        """Connect. Raises kafka-python's errors where no broker answers."""
        self._generation = generation
        self._partitions = partitions
        self._consumer = KafkaConsumer(
            **client_arguments(config), group_id=None, enable_auto_commit=False
        )

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def read(self, topic: str, since_at: int) -> Iterator[tuple[int, Envelope]]:
        """Yield (partition, envelope) of data published at or after an instant (ms), to the end.

        The end is where the topic ended when reading began. Repeated messages come repeated.
        RangeLostError where a partition has been trimmed behind since_at.
        """
        name = physical_topic(topic, self._generation)
        parts = [TopicPartition(name, partition) for partition in range(self._partitions)]
        self._consumer.assign(parts)
        starts = self._consumer.offsets_for_times(dict.fromkeys(parts, since_at))
        first = self._consumer.beginning_offsets(parts)
        ends = self._consumer.end_offsets(parts)
        for part in parts:
            start = starts[part].offset if starts[part] else ends[part]
            if first[part] and start <= first[part] and start < ends[part]:
                raise RangeLostError(
                    f"{name}, partition {part.partition}: Kafka has nothing as old as that any more"
                )
            self._consumer.seek(part, start)
        while any(self._consumer.position(part) < ends[part] for part in parts):
            for part, records in self._consumer.poll(_POLL_MILLISECONDS).items():
                for record in records:
                    decoded = decode_message(record.value) if record.offset < ends[part] else ()
                    if isinstance(decoded, Envelope):
                        yield part.partition, decoded
