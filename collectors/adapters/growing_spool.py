"""A collector's log while its topic grows: what comes goes to the newest generation.

Every generation of the topic has a spool of its own, hence numbers of its own. When a newer one is
known, the next append goes there, and the former spool publishes what it still holds, says LEFT
behind it and stays on the disk until the generation is done. Then the database knows which number
was the last that counted; what the spool has beyond it was never taken and is appended again, to
the newest generation. So nothing is lost and nothing goes twice, however long a collector was away.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from collectors.adapters.segments import SegmentReader
from collectors.adapters.spool import SpoolingWriter
from collectors.spool_frames import decode_parts, encode_parts

log = logging.getLogger(__name__)

_MOVING_FILE = "moving.json"
_READ_ROWS = 16
_CLOSE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """A generation of the topic. is_done: nobody reads it any more, its last numbers are known."""

    number: int
    partitions: int
    is_done: bool = False


OpenWriter = Callable[[Path, Generation], SpoolingWriter]
Taken = Callable[[int], Mapping[int, int]]
"""Gives what was taken of this collector in a generation that is done: partition -> number."""


class GrowingSpool:
    """A `rating.ports.TopicWriter` over the spools of a topic's generations.

    directory_of gives a generation's spool, open_writer opens it; write_file replaces a small file
    durably. append comes from one thread, `learn` from another; both may raise OSError.
    """

    def __init__(
        self,
        directory_of: Callable[[int], Path],
        open_writer: OpenWriter,
        write_file: Callable[[Path, str], None],
        first: Generation,
    ) -> None:
        """Append to `first` until `learn` knows better."""
        self._directory_of = directory_of
        self._open_writer = open_writer
        self._write_file = write_file
        self._lock = threading.Lock()
        self._now = first
        self._writer = open_writer(directory_of(first.number), first)
        # Until the database has said that this is the newest one, nothing of it may be deleted.
        self._writer.keeps_published = True
        self._former: dict[int, SpoolingWriter] = {}
        self._left: set[int] = set()
        self._oldest = 0

    @property
    def generation(self) -> int:
        """The oldest generation that may still get something from here; 0 where not yet known."""
        return self._oldest

    @property
    def pace_seconds(self) -> float:
        """The newest generation's; all have the same."""
        return self._writer.pace_seconds

    def append(self, kind: str, received_at: int, body: bytes) -> int:
        """Append to the newest generation and return the row there."""
        with self._lock:
            return self._writer.append(kind, received_at, body)

    def learn(self, known: Sequence[Generation], taken: Taken) -> None:
        """Turn to the newest of the known generations, and go on finishing the others.

        known: those that are not done, and done ones of which a spool may be left.
        """
        newest = max((each for each in known if not each.is_done), key=lambda each: each.number)
        if newest.number > self._now.number:
            self._turn_to(newest)
        self._writer.keeps_published = False
        open_ones = [self._now.number]
        for each in sorted(known, key=lambda each: each.number):
            directory = self._directory_of(each.number)
            if each.number >= self._now.number or not directory.exists():
                continue
            if each.is_done:
                self._close_former(each.number, 0.0)
                self._move(directory, taken(each.number))
            elif not self._finish(each):
                open_ones.append(each.number)
        self._oldest = min(open_ones)

    def _turn_to(self, newest: Generation) -> None:
        opened = self._open_writer(self._directory_of(newest.number), newest)
        with self._lock:
            self._former[self._now.number] = self._writer
            self._writer, self._now = opened, newest
        log.warning("the topic has grown, appends go to generation %d", newest.number)

    def _finish(self, former: Generation) -> bool:
        """Return whether all of a former spool is in Kafka and LEFT behind it."""
        if former.number in self._left:
            return True
        if former.number not in self._former:
            directory = self._directory_of(former.number)
            self._former[former.number] = self._open_writer(directory, former)
        if self._former[former.number].is_published() and self._close_former(
            former.number, _CLOSE_SECONDS
        ):
            self._left.add(former.number)
        return former.number in self._left

    def _close_former(self, number: int, drain_seconds: float) -> bool:
        writer = self._former.pop(number, None)
        return writer is not None and writer.close(drain_seconds)

    def _move(self, directory: Path, taken: Mapping[int, int]) -> None:
        """Append again what of a former spool was never taken, each row once; then delete it."""
        moved = 0
        for row, received_at, bodies in untaken(directory, taken, self._moved_through(directory)):
            with self._lock:
                parts = self._writer.number(bodies)
                note = {
                    "row": row,
                    "generation": self._now.number,
                    "as_row": self._writer.next_row,
                    "digest": _digest(encode_parts(parts)),
                }
                self._write_file(directory / _MOVING_FILE, json.dumps(note) + "\n")
                self._writer.append_parts(received_at, parts)
            moved += 1
        # At once and whole: half a spool without its note would be appended once more.
        gone = directory.rename(directory.with_name(f".{directory.name}.moved"))
        shutil.rmtree(gone, ignore_errors=True)
        log.warning("%s: the topic has grown, %d rows were appended again", directory.name, moved)

    def _moved_through(self, directory: Path) -> int:
        """Return the row through which a former spool was moved before, maybe by a killed one."""
        try:
            note = json.loads((directory / _MOVING_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return 0
        reader = SegmentReader(self._directory_of(note["generation"]))
        found = reader.read(note["as_row"] - 1, 1)
        reader.close()
        is_there = bool(found) and _digest(found[0].body) == note["digest"]
        return int(note["row"]) - (0 if is_there else 1)

    def close(self) -> bool:
        """Publish for a while what is left; True where nothing is and this one has left."""
        with self._lock:
            has_left = [self._close_former(number, _CLOSE_SECONDS) for number in [*self._former]]
            return all([*has_left, self._writer.close()])


def untaken(
    directory: Path, taken: Mapping[int, int], after: int = 0
) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield (row, received_at, block bodies) of a spool's data behind the numbers that were taken.

    Rows through `after` are passed over. Raises OSError.
    """
    reader = SegmentReader(directory)
    try:
        row = after
        while blocks := reader.read(row, _READ_ROWS):
            for block in blocks:
                parts = decode_parts(block.body) if block.kind == "data" else ()
                bodies = [p.body for p in parts if p.number > taken.get(p.partition, 0)]
                if bodies:
                    yield block.number, block.received_at, bodies
            row = blocks[-1].number
    finally:
        reader.close()


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
