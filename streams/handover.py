"""What tasks of one pass hand to later ones in memory.

A pass is one transaction: what one task puts out and every reader takes in the same pass need not
be written down. What some reader leaves is written behind it, so that the next pass finds it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from streams.topics import TOPICS, route


class Entry(NamedTuple):
    """Rows of one producer, or its watermark (ms): one record of a topic's partition."""

    producer: str
    frame: pl.DataFrame | None
    watermark_at: int | None


class Leftover(NamedTuple):
    """Entries that some reader has not taken; and how many of them each of the others has."""

    topic: str
    partition: int
    entries: Sequence[Entry]
    taken: Mapping[str, int]


@dataclasses.dataclass(slots=True)
class _Queue:
    """The entries of a topic's partition in order, and how many each reader has taken."""

    entries: list[Entry]
    taken: dict[str, int]


class Handover:
    """The topics of one pass, by partition."""

    def __init__(self, readers: Mapping[tuple[str, int], Sequence[str]], partitions: int) -> None:
        """Know the tasks that read each (topic, partition); other topics are not handed over."""
        self._readers = readers
        self._partitions = partitions
        self._queues: dict[tuple[str, int], _Queue] = {}

    def begin(self) -> None:
        """Forget what a pass before left: it was written, or never happened."""
        self._queues.clear()

    def has(self, topic: str) -> bool:
        """Return whether a topic is handed over."""
        return (topic, 0) in self._readers

    def put_rows(self, topic: str, producer: str, frame: pl.DataFrame) -> None:
        """Hand a frame to the partitions that its rows belong to."""
        for partition, part in route(TOPICS[topic], frame, self._partitions):
            if part.height:
                self._queue(topic, partition).entries.append(Entry(producer, part, None))

    def put_watermark(self, topic: str, producer: str, watermark_at: int) -> None:
        """Hand "received through" (ms) over, behind a producer's rows, to every partition."""
        for partition in range(self._partitions):
            self._queue(topic, partition).entries.append(Entry(producer, None, watermark_at))

    def take(
        self, task: str, topic: str, partition: int, rows_max: int, rows: int
    ) -> Sequence[Entry]:
        """Return what a task has not taken: whole entries, until rows_max rows are reached.

        rows: how many it has already.
        """
        queue = self._queues.get((topic, partition))
        if queue is None:
            return ()
        first = last = queue.taken[task]
        for entry in queue.entries[first:]:
            height = 0 if entry.frame is None else entry.frame.height
            if rows and rows + height > rows_max:
                break
            rows += height
            last += 1
        queue.taken[task] = last
        return queue.entries[first:last]

    def left(self) -> Iterator[Leftover]:
        """Yield what must be written, since some reader has not taken it."""
        for (topic, partition), queue in self._queues.items():
            least = min(queue.taken.values())
            if least < len(queue.entries):
                taken = {task: count - least for task, count in queue.taken.items()}
                yield Leftover(topic, partition, queue.entries[least:], taken)

    def _queue(self, topic: str, partition: int) -> _Queue:
        key = (topic, partition)
        if key not in self._queues:
            self._queues[key] = _Queue([], dict.fromkeys(self._readers[key], 0))
        return self._queues[key]
