"""A raw topic as its consumers see it: every envelope and mark per partition, in Kafka's order."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from rating.envelopes import Envelope, Mark, decode_message
from tests.cluster.servers import Kafka

PATIENCE_SECONDS = 40.0


def create_topic(kafka: Kafka, name: str, partitions: int, **configs: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
    admin.create_topics({name: wanted})
    admin.close()


@dataclasses.dataclass(slots=True)
class Received:
    """What one consumer would have taken of one producer, and everything that came."""

    envelopes: list[Envelope] = dataclasses.field(default_factory=list)
    marks: list[Mark] = dataclasses.field(default_factory=list)
    repeated: int = 0
    number: dict[str, int] = dataclasses.field(default_factory=dict)

    def take(self, message: Envelope | tuple[Mark, ...]) -> None:
        """Take a message as `streams.progress` does; AssertionError for a gap."""
        if isinstance(message, Envelope):
            last = self.number.get(message.producer, 0)
            if message.number <= last:
                self.repeated += 1
                return
            assert message.number == last + 1, f"{message.producer}: {message.number} after {last}"
            self.number[message.producer] = message.number
            self.envelopes.append(message)
            return
        for mark in message:
            assert mark.number <= self.number.get(mark.producer, 0), f"{mark} before its data"
            self.marks.append(mark)


class Reader:
    """Reads a topic from its beginning, again and again."""

    def __init__(self, kafka: Kafka, topic: str, partitions: int) -> None:
        self.partitions = {p: Received() for p in range(partitions)}
        self._consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap)
        assigned = [TopicPartition(topic, partition) for partition in range(partitions)]
        self._consumer.assign(assigned)
        self._consumer.seek_to_beginning(*assigned)

    def read(self) -> None:
        for records in self._consumer.poll(timeout_ms=300).values():
            for record in records:
                self.partitions[record.partition].take(decode_message(record.value))

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
        """Read until the condition holds; False where it does not in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.read()
        return True

    def bodies(self) -> list[bytes]:
        return [e.body for received in self.partitions.values() for e in received.envelopes]

    def marks(self) -> list[Mark]:
        return [mark for received in self.partitions.values() for mark in received.marks]

    def close(self) -> None:
        self._consumer.close()
