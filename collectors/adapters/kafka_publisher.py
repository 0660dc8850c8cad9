"""Publishes the rows of a spool to Kafka, in order per partition, from memory while Kafka keeps up.

One thread hands rows to kafka-python's producer (idempotent, acks=all) and counts what comes back.
A consumer stops at a gap, so of one partition nothing may follow a message that failed. The
producer itself would send it: after a delivery timeout or an epoch's end it goes on with what
waits. So the first failure ends the producer, from within its own thread, before it can send again;
a new one then sends everything that is not acknowledged once more, in order. What Kafka got twice
its consumers drop by number.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaConfigurationError, KafkaError

from collectors.adapters.segments import SegmentReader
from collectors.metrics import Counters
from collectors.partitioning import Part
from collectors.spool_frames import NumberedPart, Positions, decode_parts, decode_positions
from rating.connections import KafkaConfig, client_arguments
from rating.envelopes import LEFT, LIVE, Envelope, Mark, encode_envelope, encode_marks
from rating.ports import Block

log = logging.getLogger(__name__)

QUEUE_OCTETS_MAX = 33_554_432
"""Rows that wait in memory for the publisher; beyond it they are read back from the spool."""
WINDOW_OCTETS_MAX = 33_554_432
"""Octets handed to the producer and not acknowledged (kafka-python has no bound of its own)."""
WINDOW_ROWS_MAX = 1_024
"""Spool rows handed to the producer and not acknowledged."""
ENVELOPE_OCTETS_MAX = 1_024
"""What a message has above its body: the envelope and Kafka's framing."""
_BATCH_OCTETS = 1_048_576
_READ_ROWS = 16
_WAIT_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_METADATA_MILLISECONDS = 5_000
_CLOSE_SECONDS = 2.0


def _untraced(part: tuple[int, int], body: bytes) -> bytes:
    return b""


def _by_nobody() -> int | None:
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class RawTopic:
    """Where the blocks of one collector go.

    name is the topic's physical one; producer as in the envelopes, ``flows@ams1``. split is
    `collectors.partitioning.split_flows` or `split_packets`. waits_for_kafka: an append returns
    when Kafka has it. start_trace gives the envelope's trace for (number, partition) and body.
    read_through gives the row of the spool through which everybody else has read it, None for
    nobody: rows behind it are not deleted.
    """

    name: str
    partitions: int
    producer: str
    split: Callable[[bytes, int, int], Sequence[Part]]
    waits_for_kafka: bool = False
    start_trace: Callable[[tuple[int, int], bytes], bytes] = _untraced
    read_through: Callable[[], int | None] = _by_nobody


@dataclasses.dataclass(frozen=True, slots=True)
class SpoolRow:
    """A row of the spool: the parts of an append, or (next_numbers) a marker at received_at, ms."""

    number: int
    received_at: int
    parts: Sequence[NumberedPart]
    next_numbers: tuple[int, ...]
    octets: int


def read_row(block: Block) -> SpoolRow:
    """Return what a row of the spool holds; ValueError where it cannot be read."""
    if block.kind == "marker":
        numbers = decode_positions(block.body).next_numbers
        return SpoolRow(block.number, block.received_at, (), numbers, 0)
    parts = decode_parts(block.body)
    return SpoolRow(block.number, block.received_at, parts, (), len(block.body))


@dataclasses.dataclass(slots=True)
class _OpenRow:
    """A row of which `remaining` messages are not acknowledged."""

    number: int
    octets: int
    remaining: int
    sent_at: float


class KafkaPublisher(threading.Thread):
    """Sends rows behind `positions` of the spool that `reader` reads, as they are offered.

    waiting_octets is what the spool holds unacknowledged at the start. Offers come from one thread.
    """

    def __init__(
        self,
        topic: RawTopic,
        reader: SegmentReader,
        positions: Positions,
        kafka: KafkaConfig,
        counters: Counters,
    ) -> None:
        """Take where to go on; `start` begins."""
        super().__init__(name=f"publish-{topic.name}", daemon=True)
        self._topic = topic
        self._reader = reader
        self._kafka = kafka
        self._counters = counters
        lock = threading.RLock()
        # The publishing thread waits for the one, who waits for an acknowledgement for the other.
        self._changed = threading.Condition(lock)
        self._published = threading.Condition(lock)
        # Under the lock: what is offered, and what is on its way.
        self._queue: deque[SpoolRow] = deque()
        self._queue_octets = 0
        self._has_spilled = True
        self._last_row = reader.last_number()
        self._waiting_octets = reader.octets_after(positions.published_row)
        self._published_row = positions.published_row
        self._acknowledged = list(positions.acknowledged)
        self._open: deque[_OpenRow] = deque()
        self._open_octets = 0
        self._epoch = 0
        self._failure: Exception | None = None
        self._is_stopping = False
        # Of the publishing thread alone. Offers look at the cursor, which is past them only by rows
        # that were read from the spool: nothing is queued while there are such.
        self._producer: Any = None
        self._cursor = positions.published_row
        self._ahead: deque[SpoolRow] = deque()
        self._marks: list[deque[tuple[int, int]]] = [deque() for _ in range(topic.partitions)]
        self._marks_open = 0
        self._marked_row = 0

    @property
    def waiting_octets(self) -> int:
        """Octets in the spool that Kafka has not acknowledged."""
        return self._waiting_octets

    def standing(self) -> tuple[int, tuple[int, ...]]:
        """Return the row through which all is acknowledged, and each partition's last number."""
        with self._changed:
            return self._published_row, tuple(self._acknowledged)

    def offer(self, row: SpoolRow) -> None:
        """Take a durable row; it stays in memory where there is room, else it is read again."""
        with self._changed:
            self._last_row = row.number
            self._waiting_octets += row.octets
            # Durable before it was offered, it may have been read with those before it.
            is_read = row.number <= self._cursor
            fits = self._queue_octets + row.octets <= QUEUE_OCTETS_MAX
            if not is_read and not self._has_spilled and fits:
                self._queue.append(row)
                self._queue_octets += row.octets
            elif not is_read:
                self._has_spilled = True
            self._changed.notify_all()

    def wait_published(self, row: int, timeout_seconds: float) -> bool:
        """Wait until everything through a row is acknowledged; False where the time is over."""
        with self._changed:
            return self._published.wait_for(lambda: self._published_row >= row, timeout_seconds)

    def is_published(self, row: int) -> bool:
        """Whether everything through a row is acknowledged."""
        return self._published_row >= row

    def finish(self, drain_seconds: float, through_at: int) -> bool:
        """Publish what is left for so long and end; return whether this collector has left.

        It has where everything is out and a LEFT mark stands behind it in every partition. Who
        leaves data behind has not left: it comes back.
        """
        is_out = self.wait_published(self._last_row, drain_seconds)
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self.join(_CLOSE_SECONDS + self._kafka.request_timeout_milliseconds / 1000)
        if self._producer is None:
            return False
        has_left = False
        try:
            if is_out:
                # Before its first marker nobody waits for it.
                if through_at:
                    self._leave(through_at)
                has_left = True
        except KafkaError as error:
            log.warning("%s: no mark of leaving: %s", self._topic.name, error)
        _end(self._producer)
        return has_left

    def _leave(self, through_at: int) -> None:
        futures = [
            self._send_mark(partition, number, through_at, LEFT)
            for partition, number in enumerate(self._acknowledged)
        ]
        for future in futures:
            future.get(timeout=self._kafka.request_timeout_milliseconds / 1000)

    def run(self) -> None:
        """Publish until `finish`. Raises what is no failure of Kafka's."""
        while not self._is_stopping:
            self._tell_whether_away()
            if self._producer is None and not self._connect():
                continue
            try:
                self._publish_next()
            except (KafkaError, AssertionError, ValueError) as error:
                # ValueError: the topic has not that partition (yet).
                self._failed(self._epoch, self._producer, error)
            if self._failure is not None:
                self._start_over(self._failure)

    def _connect(self) -> bool:
        try:
            self._producer = open_producer(
                self._kafka, linger_milliseconds=0 if self._topic.waits_for_kafka else 5
            )
        except KafkaConfigurationError:
            raise
        except (KafkaError, OSError) as error:
            self._counters.add("publish_failures")
            log.warning("%s: Kafka is away: %s", self._topic.name, error)
            self._pause()
            return False
        return True

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping, _RETRY_SECONDS)

    def _publish_next(self) -> None:
        self._send_marks()
        row = self._next_row()
        if row is None:
            return
        if row.next_numbers:
            self._open_marks(row)
        with self._changed:
            fresh = [part for part in row.parts if part.number > self._acknowledged[part.partition]]
            opened = _OpenRow(row.number, row.octets, len(fresh), time.monotonic())
            self._open.append(opened)
            self._open_octets += row.octets
            self._close_rows()
        for part in fresh:
            self._send_part(opened, row.received_at, part)

    def _send_part(self, opened: _OpenRow, received_at: int, part: NumberedPart) -> None:
        trace = self._topic.start_trace((part.number, part.partition), part.body)
        message = encode_envelope(
            Envelope(self._topic.producer, part.number, received_at, part.body, trace)
        )
        future = self._producer.send(self._topic.name, message, partition=part.partition)
        future.add_callback(self._taken, self._epoch, opened, part, len(message))
        future.add_errback(self._failed, self._epoch, self._producer)

    def _next_row(self) -> SpoolRow | None:
        """Return the row to send next, or None after a short wait without one."""
        with self._changed:
            self._changed.wait_for(self._has_work, _WAIT_SECONDS)
            if self._failure is not None or self._is_stopping or not self._has_room():
                return None
            if self._marks_open and self._published_row != self._marked_row:
                return None
            if not self._ahead and self._queue:
                row = self._queue.popleft()
                self._queue_octets -= row.octets
                self._cursor = row.number
                return row
            if not self._ahead and self._cursor >= self._last_row:
                self._has_spilled = False
                return None
        if not self._ahead:
            blocks = self._reader.read(self._cursor, _READ_ROWS)
            self._ahead.extend(read_row(block) for block in blocks)
            if not self._ahead:
                raise OSError(f"{self._reader.directory}: row {self._cursor + 1} is missing")
        row = self._ahead.popleft()
        self._cursor = row.number
        return row

    def _has_room(self) -> bool:
        return self._open_octets < WINDOW_OCTETS_MAX and len(self._open) < WINDOW_ROWS_MAX

    def _has_work(self) -> bool:
        if self._failure is not None or self._is_stopping:
            return True
        if self._marks_open and self._published_row != self._marked_row:
            return True
        return self._has_room() and (self._cursor < self._last_row or self._has_spilled)

    # What the producer's own thread calls.

    def _taken(
        self, epoch: int, opened: _OpenRow, part: NumberedPart, octets: int, _: object
    ) -> None:
        """Count a message that Kafka has."""
        self._counters.add("published_messages")
        self._counters.add("published_octets", octets)
        with self._changed:
            if epoch != self._epoch:
                return
            self._acknowledged[part.partition] = part.number
            opened.remaining -= 1
            if not opened.remaining:
                self._close_rows()

    def _failed(self, epoch: int, producer: Any, error: Exception) -> None:
        """End the producer before it sends what follows in the same partition."""
        with self._changed:
            if epoch != self._epoch or self._failure is not None:
                return
            self._failure = error
            self._changed.notify_all()
        # close() cannot be used here: it first waits for what is just failing.
        producer._sender.force_close()

    def _close_rows(self) -> None:
        """Move on over the rows in front that are acknowledged as a whole; the lock is held."""
        before, had_room = self._published_row, self._has_room()
        while self._open and not self._open[0].remaining:
            row = self._open.popleft()
            self._open_octets -= row.octets
            self._waiting_octets -= row.octets
            self._published_row = row.number
        if self._published_row != before:
            self._published.notify_all()
            if self._marks_open or not had_room:
                self._changed.notify_all()

    def _start_over(self, error: Exception) -> None:
        self._counters.add("publish_failures")
        log.warning(
            "%s: publishing failed, goes on behind row %d: %s",
            *(self._topic.name, self._published_row, error),
        )
        _end(self._producer)
        self._producer = None
        with self._changed:
            self._epoch += 1
            self._failure = None
            self._open.clear()
            self._open_octets = 0
            self._queue.clear()
            self._queue_octets = 0
            self._has_spilled = True
            self._cursor = self._published_row
        self._ahead.clear()
        for marks in self._marks:
            marks.clear()
        self._marks_open = 0
        self._pause()

    # Marks.

    def _open_marks(self, row: SpoolRow) -> None:
        for marks, next_number in zip(self._marks, row.next_numbers, strict=True):
            marks.append((next_number - 1, row.received_at))
        self._marks_open += self._topic.partitions

    def _send_marks(self) -> None:
        """Send "received through T" where all data before it are acknowledged; the newest only."""
        self._marked_row = self._published_row
        if not self._marks_open:
            return
        for partition, marks in enumerate(self._marks):
            reached = None
            while marks and marks[0][0] <= self._acknowledged[partition]:
                reached = marks.popleft()
                self._marks_open -= 1
            if reached is not None:
                future = self._send_mark(partition, *reached, LIVE)
                future.add_errback(self._failed, self._epoch, self._producer)

    def _send_mark(self, partition: int, number: int, watermark_at: int, state: int) -> Any:
        self._counters.add("published_marks")
        mark = Mark(self._topic.producer, number, watermark_at, state)
        return self._producer.send(self._topic.name, encode_marks([mark]), partition=partition)

    def _tell_whether_away(self) -> None:
        with self._changed:
            oldest = self._open[0].sent_at if self._open else None
        late_seconds = self._kafka.request_timeout_milliseconds / 1000
        is_late = oldest is not None and time.monotonic() - oldest > late_seconds
        is_away = is_late or self._producer is None
        self._counters.set("kafka_away", int(is_away))
        self._counters.set("spool_octets", self._waiting_octets)


def open_producer(kafka: KafkaConfig, *, linger_milliseconds: int) -> Any:
    """Return a producer that keeps order and repeats nothing; raises KafkaError, OSError.

    lz4, at kafka-python's fast level; the relay's reason for zstd is aiokafka's level 9.
    """
    return KafkaProducer(
        **client_arguments(kafka),
        enable_idempotence=True,
        acks="all",
        compression_type="lz4",
        max_in_flight_requests_per_connection=5,
        linger_ms=linger_milliseconds,
        batch_size=min(_BATCH_OCTETS, kafka.message_octets_max),
        max_request_size=kafka.message_octets_max,
        delivery_timeout_ms=kafka.delivery_timeout_milliseconds,
        bootstrap_timeout_ms=kafka.request_timeout_milliseconds,
        max_block_ms=_METADATA_MILLISECONDS,
        reconnect_backoff_max_ms=1_000,
        allow_auto_create_topics=False,
        metrics_enabled=False,  # Its own metrics took a third of its CPU, and nobody reads them.
    )


def _end(producer: Any) -> None:
    """End a producer at once; what it holds is in the spool."""
    producer._sender.force_close()
    producer._sender.join(_CLOSE_SECONDS)
    try:
        producer.close(timeout=0)
    except KafkaError as error:
        log.debug("closing a producer: %s", error)
