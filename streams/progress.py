"""How far a task of the cluster is: what it read of each producer, what it gave out.

Pure: messages in, what is new of them out. A producer's data are taken in the order of their
numbers, last + 1 and no other; what is lower was taken before, what is higher stops everything.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rating.envelopes import EXPIRED, LIVE, Envelope, Mark


class SequenceGapError(RuntimeError):
    """Data of a producer are missing: an operator must look, nothing further is taken."""


class Seen(msgspec.Struct, array_like=True):
    """What is known of one producer on one topic partition.

    number: of its last data taken. watermark_at: of its newest mark, ms. state: of that mark.
    expired_at: when it was last given up, ms.
    """

    number: int = 0
    watermark_at: int = 0
    state: int = LIVE
    is_marked: bool = False
    expired_at: int = 0


class Standing(msgspec.Struct, array_like=True):
    """Everything that a task has beside its keyed state; one row of `stage_task`.

    offsets: topic -> Kafka offset to go on from. stored: topic -> last number taken of a topic in
    PostgreSQL. seen: topic -> producer -> how far it is. issued: topic -> partition -> last number
    given out.
    """

    offsets: dict[str, int] = {}
    stored: dict[str, int] = {}
    seen: dict[str, dict[str, Seen]] = {}
    issued: dict[str, dict[int, int]] = {}

    def seen_of(self, topic: str, producer: str) -> Seen:
        """Return what is known of a producer, to be changed in place."""
        return self.seen.setdefault(topic, {}).setdefault(producer, Seen())

    def take(self, topic: str, envelope: Envelope) -> bool:
        """Return whether data are new, and count them; False where they were taken before.

        SequenceGapError where data before them are missing.
        """
        seen = self.seen_of(topic, envelope.producer)
        if envelope.number <= seen.number:
            return False
        if envelope.number != seen.number + 1:
            raise SequenceGapError(
                f"{topic}: {envelope.producer} sent number {envelope.number} behind {seen.number}"
            )
        seen.number = envelope.number
        return True

    def mark(self, topic: str, mark: Mark) -> int | None:
        """Take a mark; return when the producer's lease ran out (ms), if it is given up or back.

        SequenceGapError where it speaks of data that have not come.
        """
        seen = self.seen_of(topic, mark.producer)
        if mark.number > seen.number:
            raise SequenceGapError(
                f"{topic}: {mark.producer} marked number {mark.number}, came {seen.number}"
            )
        was_expired = seen.state == EXPIRED
        if mark.state == EXPIRED:
            # An expiry that speaks of the past was overtaken by the producer's own marks.
            if was_expired or mark.watermark_at < seen.watermark_at:
                return None
            seen.state, seen.expired_at = EXPIRED, mark.watermark_at
            return seen.expired_at
        # What a producer sent before it was given up does not bring it back.
        if mark.watermark_at < max(seen.watermark_at, seen.expired_at if was_expired else 0):
            return None
        seen.watermark_at, seen.state, seen.is_marked = mark.watermark_at, mark.state, True
        return seen.expired_at if was_expired else None

    def place(self, offsets: Sequence[tuple[str, int]]) -> tuple[list[int], dict[str, int]]:
        """Return which of these messages (topic, offset) go on from here, and where others do not.

        They come in the order of each topic. The first are indices; the second is topic -> offset
        that is missing in front of what is left out.
        """
        expected = dict(self.offsets)
        missing: dict[str, int] = {}
        placed = []
        for index, (topic, offset) in enumerate(offsets):
            at = expected.get(topic, 0)
            if offset > at:
                missing[topic] = at
            else:
                placed.append(index)
                expected[topic] = max(at, offset + 1)
        return placed, missing

    def watermark_of(self, topic: str, producer: str) -> int:
        """Return a producer's watermark in ms, 0 before its first mark."""
        seen = self.seen.get(topic, {}).get(producer)
        return seen.watermark_at if seen else 0

    def collectors_watermark(self, log: str) -> int:
        """Return the least watermark (ms) of the collectors that are waited for; 0 without any."""
        live = self.collectors_live(log)
        return min((self.watermark_of(log, name) for name in live), default=0)

    def collectors_live(self, log: str) -> set[str]:
        """Return the collectors that are waited for."""
        seen = self.seen.get(log, {})
        return {name for name, each in seen.items() if each.is_marked and each.state == LIVE}

    def issue(self, topic: str, partition: int) -> int:
        """Return the next number of an output."""
        numbers = self.issued.setdefault(topic, {})
        numbers[partition] = numbers.get(partition, 0) + 1
        return numbers[partition]
