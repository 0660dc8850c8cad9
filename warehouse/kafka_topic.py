"""Reads rated usage from Kafka, partition by partition, for sinks that keep positions themselves.

A record's position is its number in its envelope: dense from 1 in each partition, whatever Kafka's
offsets do. Lower numbers are repeats and dropped; a gap stops the partition. The offset behind a
record is its cursor, so that a later reader finds what stands behind it.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from rating.connections import KafkaConfig, client_arguments
from rating.envelopes import Envelope, decode_message
from warehouse.metrics import Counters
from warehouse.sink import DivergenceError, RowsNotThereYetError

PRODUCER = "rate"
"""The one stage that writes rated usage: `rate/<partition>` alone writes to a partition."""

READ_WAIT_SECONDS = 20.0
"""How long a replay waits for records that Kafka must still have."""

_POLL_MESSAGES = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """Rows that were read ahead, the offset behind their message, and its trace."""

    position: int
    frame: pl.DataFrame
    next_offset: int
    trace: bytes


class KafkaTopic:
    """One consumer over the partitions that this process follows. One thread at a time."""

    def __init__(
        self,
        kafka: KafkaConfig,
        topic: str,
        decode: Callable[[bytes], pl.DataFrame],
        counters: Counters,
        *,
        buffered_rows: int,
        group: str,
    ) -> None:
        """Take the physical topic and how a body becomes rows. KafkaError: no broker answers."""
        self.topic = topic
        self.decode = decode
        self.counters = counters
        self._buffered_rows = buffered_rows
        self.poll_messages = _POLL_MESSAGES
        """Messages that are taken between two looks at how many rows are buffered."""
        self._partitions: dict[int, KafkaPartition] = {}
        self._consumer = KafkaConsumer(
            **client_arguments(kafka),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=kafka.message_octets_max,
            max_poll_records=_POLL_MESSAGES,
        )

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close(autocommit=False)

    def partition_count(self) -> int:
        """Return how many partitions the topic has; 0 where it does not exist (yet)."""
        return len(self._consumer.partitions_for_topic(self.topic) or ())

    def follow(self, partition: int, position: int, cursor: int) -> KafkaPartition:
        """Read a partition behind a position whose cursor is known (position 0: from its start).

        KafkaError where Kafka does not answer.
        """
        followed = KafkaPartition(self, partition, position)
        self.follow_as(followed, position, cursor)
        return followed

    def follow_as(self, followed: KafkaPartition, position: int, cursor: int) -> None:
        """Read a partition by a reader of the caller's own, as `follow` does."""
        partition = followed.number
        kept = self.beginning(partition)
        if position and cursor < kept:
            raise DivergenceError(
                f"{self.topic}:{partition} begins at offset {kept}, the sink stands at {cursor}:"
                " records were deleted before they were inserted"
            )
        self._partitions[partition] = followed
        self._assign()
        self._consumer.seek(self._at(partition), cursor if position else kept)

    def leave(self, partition: int) -> None:
        """Read a partition no more; without effect where it is not followed."""
        if self._partitions.pop(partition, None) is not None:
            self._assign()

    def poll(self, seconds: float, only: int | None = None) -> None:
        """Read ahead into the partitions' buffers, waiting at most so long for the first record.

        only names a partition that is waited for: the others then wait for it.

        A partition whose records are not what they should be keeps that as its `problem`.
        """
        if not self._partitions:
            time.sleep(seconds)
            return
        full = sum(p.rows for p in self._partitions.values()) >= self._buffered_rows
        held = {
            self._at(number)
            for number, partition in self._partitions.items()
            if partition.problem or (full and partition.rows) or only not in (None, number)
        }
        self._consumer.pause(*held)
        self._consumer.resume(*(set(self._consumer.assignment()) - held))
        try:
            polled = self._consumer.poll(
                timeout_ms=int(seconds * 1000), max_records=self.poll_messages
            )
        except OffsetOutOfRangeError as error:
            raise DivergenceError(f"{self.topic}: {error}") from error
        for at, messages in polled.items():
            followed = self._partitions.get(at.partition)
            if followed is not None:
                self._take(followed, messages)

    def _take(self, followed: KafkaPartition, messages: Iterable[Any]) -> None:
        for message in messages:
            try:
                followed.accept(message.value, message.offset + 1)
            except (ValueError, DivergenceError) as error:
                followed.problem = f"{self.topic}:{followed.number} at {message.offset}: {error}"
                return

    def end(self, partition: int) -> int:
        """Return the offset behind the partition's last record. KafkaError: no answer."""
        at = self._at(partition)
        return int(self._consumer.end_offsets([at])[at])

    def offset(self, partition: int) -> int:
        """Return the offset that is read next."""
        return int(self._consumer.position(self._at(partition)))

    def first_offset_since(self, partition: int, since_ms: int) -> int:
        """Return the offset of the first record that Kafka has from an instant on (its own time).

        Where there is none, the offset behind the last record.
        """
        at = self._at(partition)
        found = self._consumer.offsets_for_times({at: since_ms})[at]
        return self.end(partition) if found is None else int(found.offset)

    def first_number(self, partition: int, offset: int) -> tuple[int, int] | None:
        """Return (number, offset) of the first data record at or behind an offset; None: none."""
        at = self._at(partition)
        end = self.end(partition)
        self.follow(partition, 0, 0)
        try:
            self._consumer.seek(at, max(offset, self.beginning(partition)))
            deadline = time.monotonic() + READ_WAIT_SECONDS
            while self._consumer.position(at) < end:
                for message in itertools.chain(*self._consumer.poll(timeout_ms=500).values()):
                    decoded = decode_message(message.value)
                    if message.offset < end and isinstance(decoded, Envelope):
                        return decoded.number, message.offset
                if time.monotonic() > deadline:
                    raise RowsNotThereYetError(f"{self.topic}:{partition} did not answer in time")
            return None
        finally:
            self.leave(partition)

    def tell_offsets(self) -> None:
        """Tell Kafka what was committed, for those who watch the lag; failures do not matter."""
        offsets = {
            self._at(number): OffsetAndMetadata(partition.committed, "", -1)
            for number, partition in self._partitions.items()
            if partition.committed
        }
        try:
            if offsets:
                self._consumer.commit_async(offsets)
        except KafkaError:
            pass

    def beginning(self, partition: int) -> int:
        """Return the offset of the oldest record that Kafka has. KafkaError: no answer."""
        at = self._at(partition)
        return int(self._consumer.beginning_offsets([at])[at])

    def _assign(self) -> None:
        # Partitions that stay keep their positions; the others' fetched records are dropped.
        self._consumer.assign([self._at(number) for number in self._partitions])

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition)


class KafkaPartition:
    """A `warehouse.sink.RecordReader` of one partition, over the topic's buffers."""

    def __init__(self, topic: KafkaTopic, number: int, position: int) -> None:
        """Begin behind a position."""
        self._topic = topic
        self.number = number
        self._last = position
        self._records: deque[Record] = deque()
        self._cursors: dict[int, int] = {}
        self.rows = 0
        """Rows that are read ahead."""
        self.waiting_since = 0.0
        """Monotonic time since which the oldest of them waits."""
        self.committed = 0
        """Offset behind the last record that was asked to be passed."""
        self.traces: list[bytes] = []
        """Traces of what the last `read` gave."""
        self.problem = ""
        """Why nothing more is taken from this partition, if so."""

    def accept(self, message: bytes, next_offset: int) -> None:
        """Buffer the record of a message, drop a repeat, pass over marks.

        DivergenceError where a record before it is missing, ValueError where it is unreadable.
        """
        envelope = decode_message(message)
        if not isinstance(envelope, Envelope):
            return
        if envelope.producer != f"{PRODUCER}/{self.number}":
            raise DivergenceError(f"written by {envelope.producer!r}, not {PRODUCER}/{self.number}")
        if envelope.number <= self._last:
            self._topic.counters.add("warehouse_sink_repeats")
            return
        if envelope.number != self._last + 1:
            raise DivergenceError(f"number {envelope.number} follows {self._last}")
        frame = self._topic.decode(envelope.body)
        self._buffer(Record(envelope.number, frame, next_offset, envelope.trace))

    def _buffer(self, record: Record) -> None:
        if not self._records:
            self.waiting_since = time.monotonic()
        self._records.append(record)
        self._last = record.position
        self.rows += record.frame.height

    @property
    def has_records(self) -> bool:
        """Whether something is read ahead; records without rows count."""
        return bool(self._records)

    def read(self, after_position: int, limit_rows: int) -> list[tuple[int, pl.DataFrame]]:
        """Return whole records behind a position, which never goes back.

        Where none is read ahead but Kafka has more, waits for it: RowsNotThereYetError after
        READ_WAIT_SECONDS, DivergenceError where the partition has a problem.
        """
        while self._records and self._records[0].position <= after_position:
            passed = self._records.popleft()
            self.rows -= passed.frame.height
            self.committed = passed.next_offset
            self.waiting_since = time.monotonic()
        if not self._records:
            self._wait_for_more()
        found: list[tuple[int, pl.DataFrame]] = []
        rows = 0
        self._cursors.clear()
        self.traces = []
        for record in self._records:
            if found and rows + record.frame.height > limit_rows:
                break
            found.append((record.position, record.frame))
            self._cursors[record.position] = record.next_offset
            self.traces += [record.trace] if record.trace else []
            rows += record.frame.height
        return found

    def cursor(self, position: int) -> int:
        """Return the offset behind a record of the last `read`."""
        return self._cursors[position]

    def _wait_for_more(self) -> None:
        end = self._topic.end(self.number)
        deadline = time.monotonic() + READ_WAIT_SECONDS
        while not self._records:
            if self.problem:
                raise DivergenceError(self.problem)
            if self._topic.offset(self.number) >= end:
                return
            if time.monotonic() > deadline:
                raise RowsNotThereYetError(f"{self._topic.topic}:{self.number}: no answer in time")
            self._topic.poll(0.2, only=self.number)
