"""What the tasks of one worker send to one partition in a round, as one Kafka message: pure.

Each task has a message for each partition: what they are together grows with the square of the
partitions, and each costs its receiver as much as the few rows in it do.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rating.envelopes import BUNDLED_OCTETS, bundle

BUNDLE_OCTETS_MAX = 131_072
"""Beyond it a bundle saves nothing more."""

Message = tuple[str, int, bytes]
"""Topic, partition and value."""


def bundled(messages: Sequence[Message], topics: Collection[str], octets_max: int) -> list[Message]:
    """Return messages with those of one partition in bundles, none beyond octets_max.

    Only topics whose readers know bundles are bundled. The order in each partition stays.
    """
    bundles: list[tuple[str, int, list[bytes]]] = []
    room: dict[tuple[str, int], tuple[int, list[bytes]]] = {}
    for topic, partition, value in messages:
        needed = len(value) + 2 * BUNDLED_OCTETS
        left, parts = room.get((topic, partition), (0, []))
        if needed > left or topic not in topics:
            left, parts = min(octets_max, BUNDLE_OCTETS_MAX), []
            bundles.append((topic, partition, parts))
        parts.append(value)
        room[topic, partition] = left - needed, parts
    return [(topic, partition, bundle(parts)) for topic, partition, parts in bundles]
