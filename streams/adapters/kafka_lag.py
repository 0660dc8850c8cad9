"""How far a consumer is behind: where Kafka's topic partitions end, less what was committed.

Positions are the caller's: a worker's and the schedule's stand in PostgreSQL (`stage_task`), a
sink's beside its intents, and any consumer group's can be asked for (`group_positions`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from kafka import KafkaAdminClient, OffsetSpec, TopicPartition
from kafka.errors import KafkaError

from rating.connections import KafkaConfig, client_arguments
from rating.measures import Labels

LOG = logging.getLogger(__name__)

LAG_GAUGE = "stream_consumer_lag_messages"
REQUEST_MILLISECONDS = 3_000
"""How long a broker may take: a scrape waits for it."""

Positions = Mapping[tuple[str, int], int]
"""(topic as Kafka has it, partition) -> offset of the next message to take."""


class KafkaLag:
    """Lag by topic partition, asked of Kafka at most every interval_seconds; safe between threads.

    clock_seconds is monotonic. Where Kafka does not answer, `failures` rises, the last answer
    stands, and the next attempt waits for the interval too. One thread asks at a time; the others
    have the last answer meanwhile.
    """

    def __init__(
        self,
        config: KafkaConfig,
        clock_seconds: Callable[[], float],
        interval_seconds: float = 10.0,
    ) -> None:
        """Remember where Kafka is; it is connected to at the first question."""
        self.failures = 0
        self._config = config
        self._clock_seconds = clock_seconds
        self._interval_seconds = interval_seconds
        self._lock = threading.Lock()
        self._admin: KafkaAdminClient | None = None
        self._asked_at: float | None = None
        self._bounds: dict[tuple[str, int], tuple[int, int]] = {}

    def __call__(self, positions: Positions) -> dict[tuple[str, Labels], float]:
        """Return the gauge stream_consumer_lag_messages for each of the positions.

        A position below what the topic still holds counts from there. A partition that Kafka has
        not told of yet is left out.
        """
        if self._is_due() and self._lock.acquire(blocking=False):
            try:
                if self._is_due():
                    self._ask(positions)
            finally:
                self._lock.release()
        return {
            (LAG_GAUGE, (topic, str(partition))): float(max(0, end - max(position, start)))
            for (topic, partition), position in positions.items()
            if (topic, partition) in self._bounds
            for start, end in (self._bounds[topic, partition],)
        }

    def close(self) -> None:
        """Leave Kafka."""
        with self._lock:
            self._disconnect()

    def _is_due(self) -> bool:
        last = self._asked_at
        return last is None or self._clock_seconds() - last >= self._interval_seconds

    def _ask(self, positions: Positions) -> None:
        partitions = [TopicPartition(topic, partition) for topic, partition in positions]
        try:
            if partitions:
                starts = self._offsets(partitions, OffsetSpec.EARLIEST)
                ends = self._offsets(partitions, OffsetSpec.LATEST)
                self._bounds = {
                    (at.topic, at.partition): (starts[at], ends[at]) for at in partitions
                }
        except (KafkaError, OSError) as error:
            self.failures += 1
            self._disconnect()
            LOG.warning("Kafka does not tell where its topics end", extra={"reason": repr(error)})
        self._asked_at = self._clock_seconds()

    def _offsets(
        self, partitions: list[TopicPartition], spec: OffsetSpec
    ) -> dict[TopicPartition, int]:
        if self._admin is None:
            self._admin = open_admin(self._config)
        answer = self._admin.list_partition_offsets(
            dict.fromkeys(partitions, spec), timeout_ms=REQUEST_MILLISECONDS
        )
        return {at: int(found.offset) for at, found in answer.items()}

    def _disconnect(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()


def open_admin(config: KafkaConfig) -> KafkaAdminClient:
    """Return an admin client that gives up after a few seconds. KafkaError: nobody answers."""
    arguments = client_arguments(config) | {"request_timeout_ms": REQUEST_MILLISECONDS}
    return KafkaAdminClient(**arguments, bootstrap_timeout_ms=REQUEST_MILLISECONDS)


def group_positions(admin: KafkaAdminClient, group: str) -> dict[tuple[str, int], int]:
    """Return what a consumer group has committed, by topic and partition. KafkaError passes."""
    answer = admin.list_group_offsets({group: None})
    return {
        (at.topic, at.partition): int(committed.offset)
        for at, committed in answer[group].items()
        if committed.offset >= 0
    }
