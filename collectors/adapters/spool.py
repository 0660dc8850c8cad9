"""A collector's log in a cluster: durable on this disk at once, in Kafka as soon as it takes it.

`SpoolingWriter` is a `rating.ports.TopicWriter`. An append splits the block over the partitions,
gives each part its dense number, makes all of it one durable row of a segment log and hands it to
the publisher. Numbers live in the spool: they go on over restarts and kills, and a number once
durable is never given to other data. A collector that lost its spool must take a new collector_id.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from pathlib import Path

from collectors.adapters.kafka_publisher import (
    ENVELOPE_OCTETS_MAX,
    KafkaPublisher,
    RawTopic,
    SpoolRow,
)
from collectors.adapters.segments import SegmentReader, SegmentWriter
from collectors.config import SpoolConfig
from collectors.metrics import Counters
from collectors.spool_frames import (
    NumberedPart,
    Positions,
    decode_parts,
    decode_positions,
    encode_parts,
    encode_positions,
    first_positions,
)
from rating.connections import KafkaConfig

log = logging.getLogger(__name__)

_TRIM_INTERVAL_MS = 15_000
_SEGMENT_SECONDS_MAX = 600
_SEGMENTS_KEPT = 6
_RECOVERY_ROWS = 16
_DRAIN_SECONDS = 10.0


def read_positions(reader: SegmentReader, partitions: int) -> Positions:
    """Return where each partition is: the newest marker, taken on over the rows behind it.

    Raises OSError where the spool was made for another number of partitions or lost its beginning.
    """
    marker = reader.last_marker()
    positions = decode_positions(marker.body) if marker else first_positions(partitions)
    if len(positions.next_numbers) != partitions:
        raise OSError(
            f"{reader.directory}: a spool of {len(positions.next_numbers)} partitions, not"
            f" {partitions}"
        )
    row = marker.number if marker else 0
    next_numbers = list(positions.next_numbers)
    while blocks := reader.read(row, _RECOVERY_ROWS):
        if blocks[0].number != row + 1:
            raise OSError(
                f"{reader.directory}: row {row + 1} is missing and with it the numbers: give this"
                " collector a new collector_id"
            )
        for block in blocks:
            if block.kind == "data":
                for part in decode_parts(block.body):
                    next_numbers[part.partition] = part.number + 1
        row = blocks[-1].number
    return Positions(positions.published_row, tuple(next_numbers), positions.acknowledged)


class SpoolingWriter:
    """Appends blocks durably to the spool in `directory` and publishes them to a raw topic.

    One thread appends. append raises OSError where the disk or the spool is full, and, where the
    topic waits for Kafka, as long as Kafka has not taken what was appended before: then nothing is
    spooled that the sender will send again anyway.
    """

    def __init__(
        self,
        directory: Path,
        topic: RawTopic,
        config: SpoolConfig,
        kafka: KafkaConfig,
        counters: Counters,
    ) -> None:
        """Go on behind what the spool holds, and begin to publish. Raises OSError."""
        self._topic = topic
        self._config = config
        self._counters = counters
        self._part_octets_max = kafka.message_octets_max - ENVELOPE_OCTETS_MAX
        seconds = int(config.keep_published_minutes * 60 / _SEGMENTS_KEPT)
        self._segments = SegmentWriter(
            directory, segment_seconds=min(max(seconds, 1), _SEGMENT_SECONDS_MAX)
        )
        reader = SegmentReader(directory)
        positions = read_positions(reader, topic.partitions)
        self._next_numbers = list(positions.next_numbers)
        marker = reader.last_marker()
        self._through_at = marker.received_at if marker else 0
        self._marker_row = marker.number if marker else 0
        self._trimmed_at = 0
        self.keeps_published = False
        """Whether nothing is deleted that Kafka has, however old."""
        self._refused_octets = 0
        self._unresolved_row = 0
        self._publisher = KafkaPublisher(topic, reader, positions, kafka, counters)
        self._publisher.start()

    @property
    def pace_seconds(self) -> float:
        """Least time between two appends: where answers wait for Kafka a block is a few messages.

        So packets gather before they are appended, and each message holds more of them.
        """
        milliseconds = self._config.radius_pace_milliseconds
        return milliseconds / 1000 if self._topic.waits_for_kafka else 0.0

    @property
    def waiting_octets(self) -> int:
        """Octets in the spool that Kafka has not acknowledged."""
        return self._publisher.waiting_octets

    def append(self, kind: str, received_at: int, body: bytes) -> int:
        """Append a block and return its row; a marker tells every partition "received through".

        A marker raises OSError too while blocks are refused, so that a server that cannot record
        does not look alive.
        """
        if kind == "marker":
            return self._append_marker(received_at)
        self._refuse(len(body))
        number = self.append_parts(received_at, self.number([body]))
        if self._topic.waits_for_kafka:
            self._wait(number)
        return number

    def number(self, bodies: Sequence[bytes]) -> list[NumberedPart]:
        """Return blocks split over the partitions, with the numbers that the next append gives."""
        parts = []
        given: dict[int, int] = {}
        for body in bodies:
            split = self._topic.split(body, self._topic.partitions, self._part_octets_max)
            for partition, part in split:
                number = given.get(partition, self._next_numbers[partition])
                given[partition] = number + 1
                parts.append(NumberedPart(partition, number, part))
        return parts

    def append_parts(self, received_at: int, parts: Sequence[NumberedPart]) -> int:
        """Append what `number` has just returned as one durable row; return the row's number."""
        row = encode_parts(parts)
        number = self._segments.append("data", received_at, row)
        for part in parts:
            self._next_numbers[part.partition] = part.number + 1
        self._counters.add("spool_blocks")
        self._counters.add("spool_parts", len(parts))
        self._publisher.offer(SpoolRow(number, received_at, parts, (), len(row)))
        return number

    @property
    def next_row(self) -> int:
        """The row that the next append becomes."""
        return self._segments.next_number

    def is_published(self) -> bool:
        """Whether Kafka has everything that was appended."""
        return self._publisher.is_published(self.next_row - 1)

    def _refuse(self, octets: int) -> None:
        """Raise OSError where a block of so many octets cannot be taken now."""
        waiting = self._publisher.waiting_octets
        if waiting + octets > self._config.octets_max:
            self._refused_octets = octets
            self._counters.add("spool_refused_full")
            raise OSError(errno.ENOSPC, f"the spool is full, {waiting} octets wait for Kafka")
        self._refused_octets = 0
        if self._unresolved_row and not self._publisher.is_published(self._unresolved_row):
            self._counters.add("spool_refused_away")
            raise OSError(errno.EAGAIN, "Kafka has not yet taken what was appended before")
        self._unresolved_row = 0

    def _wait(self, number: int) -> None:
        seconds = self._config.ack_wait_milliseconds / 1000
        if not self._publisher.wait_published(number, seconds):
            self._unresolved_row = number
            self._counters.add("spool_ack_timeouts")
            raise OSError(errno.ETIMEDOUT, f"Kafka did not acknowledge within {seconds:g} s")

    def _append_marker(self, received_at: int) -> int:
        published_row, acknowledged = self._publisher.standing()
        numbers = tuple(self._next_numbers)
        positions = Positions(published_row, numbers, acknowledged)
        number = self._segments.append("marker", received_at, encode_positions(positions))
        self._through_at = received_at
        self._marker_row = number
        self._publisher.offer(SpoolRow(number, received_at, (), numbers, 0))
        if not self.keeps_published and received_at >= self._trimmed_at + _TRIM_INTERVAL_MS:
            self._trimmed_at = received_at
            self._trim(published_row, received_at)
        if self._refused_octets or self._unresolved_row:
            self._refuse(self._refused_octets)
        return number

    def _trim(self, published_row: int, now_at: int) -> None:
        # The newest marker stays: it holds the numbers.
        read_through = self._topic.read_through()
        consumed = published_row if read_through is None else min(published_row, read_through)
        deleted = self._segments.trim(
            consumed_number=min(consumed, self._marker_row - 1),
            received_before_at=now_at - int(self._config.keep_published_minutes * 60_000),
        )
        self._counters.add("spool_segments_deleted", deleted)

    def close(self, drain_seconds: float = _DRAIN_SECONDS) -> bool:
        """Publish for a while what is left, and close; True where nothing is and this one left."""
        has_left = self._publisher.finish(drain_seconds, self._through_at)
        if self._through_at:
            published_row, acknowledged = self._publisher.standing()
            positions = Positions(published_row, tuple(self._next_numbers), acknowledged)
            self._segments.append("marker", self._through_at, encode_positions(positions))
        self._segments.close()
        if not has_left:
            log.warning(
                "%s: %d octets stay in the spool and are published after the next start",
                *(self._topic.name, self._publisher.waiting_octets),
            )
        return has_left
