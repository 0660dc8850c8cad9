"""Reads what a topic holds since an instant, in all its generations, for those who look back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import OffsetOutOfRangeError

from rating.connections import KafkaConfig, client_arguments
from rating.envelopes import Envelope, decode_message, unbundled
from streams.topics import physical_topic

_POLL_MILLISECONDS = 1_000


class RangeLostError(Exception):
    """Kafka no longer holds the beginning of what was asked for."""


class KafkaRanges:
    """The topics of the generations that are there, read without a consumer group."""

    def __init__(
        self, config: KafkaConfig, generations: Sequence[tuple[int, int]], *, is_cut: bool = False
    ) -> None:
        """Connect. generations: (number, partitions), oldest first; is_cut: older ones are gone.

        Raises kafka-python's errors where no broker answers.
        """
        self._generations = tuple(generations)
        self._is_cut = is_cut
        self._consumer = KafkaConsumer(
            **client_arguments(config),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # What was trimmed meanwhile must not be skipped in silence.
        )

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def read(self, topic: str, since_at: int) -> Iterator[tuple[int, Envelope]]:
        """Yield (place, envelope) of data published at or after an instant (ms), to the end.

        0 asks for whatever is kept.
        A place is a partition of one generation. The end is where the topic ended when reading
        began. Repeated messages come repeated. RangeLostError where a partition has been trimmed
        behind since_at, or a generation that reached there is gone.
        """
        parts = [
            TopicPartition(physical_topic(topic, generation), partition)
            for generation, partitions in self._generations
            for partition in range(partitions)
        ]
        place_of = {part: place for place, part in enumerate(parts)}
        oldest = parts[: self._generations[0][1]]
        self._consumer.assign(parts)
        starts = self._consumer.offsets_for_times(dict.fromkeys(parts, since_at))
        first = self._consumer.beginning_offsets(parts)
        ends = self._consumer.end_offsets(parts)
        for part in parts:
            start = starts[part].offset if starts[part] else ends[part]
            # Nobody knows what was before the first message of the oldest generation that is kept.
            is_cut = bool(first[part]) or (self._is_cut and part in oldest)
            if since_at and is_cut and start <= first[part] and start < ends[part]:
                where = f"{part.topic}, partition {part.partition}"
                raise RangeLostError(f"{where}: Kafka has nothing as old as that any more")
            self._consumer.seek(part, start)
        while any(self._consumer.position(part) < ends[part] for part in parts):
            try:
                polled = self._consumer.poll(_POLL_MILLISECONDS)
            except OffsetOutOfRangeError as error:
                raise RangeLostError(f"{topic}: trimmed while it was read: {error}") from error
            for part, records in polled.items():
                values = [record.value for record in records if record.offset < ends[part]]
                for value in itertools.chain.from_iterable(map(unbundled, values)):
                    decoded = decode_message(value)
                    if isinstance(decoded, Envelope):
                        yield place_of[part], decoded
