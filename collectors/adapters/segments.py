"""A raw log on one machine: hourly SQLite segments of numbered blocks (DESIGN §5).

`SegmentWriter` is a `rating.ports.TopicWriter`, `SegmentReader` a `TopicReader`. One process
writes, others read without locks (WAL). Numbers run on across segments and over restarts; a
segment's file name is the number of its first block, so a reader finds any block by name alone.
"""

from __future__ import annotations

import bisect
import itertools
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rating.ports import Block

KINDS = {"data": 0, "marker": 1}
_KIND_NAMES = {code: name for name, code in KINDS.items()}
_BUSY_TIMEOUT_SECONDS = 10.0
_PAGE_OCTETS = 16_384
_CHECKPOINT_PAGES = 256
"""Pages of the write-ahead log that go into the segment at once (4 MiB).

Whoever appends waits for that, and a NAS for whoever appends: 3 ms, where SQLite's own 1,000 pages
took 10 to 30 ms. In all it costs the same.
"""


def _segment_paths(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.sqlite"))


def _first_number(path: Path) -> int:
    return int(path.stem)


class SegmentWriter:
    """Appends blocks durably: every append is one transaction with synchronous=FULL.

    directory is made where absent. A new segment begins when received_at enters another
    `segment_seconds` slot; the old one is checkpointed and closed, so it is one plain file.
    """

    def __init__(self, directory: Path, *, segment_seconds: int = 3600) -> None:
        """Open the newest segment and go on behind its last block. Raises OSError."""
        self.directory = directory
        self._slot_ms = segment_seconds * 1000
        directory.mkdir(parents=True, exist_ok=True)
        self._connection: sqlite3.Connection | None = None
        self._slot = -1
        paths = _segment_paths(directory)
        self.next_number = _first_number(paths[-1]) if paths else 1
        if paths:
            self._open(paths[-1])

    def _open(self, path: Path) -> None:
        try:
            connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute(f"pragma page_size={_PAGE_OCTETS}")
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=full")
            connection.execute(f"pragma wal_autocheckpoint={_CHECKPOINT_PAGES}")
            connection.execute(
                "create table if not exists block("
                "number integer primary key, kind integer not null,"
                " received_at integer not null, body blob not null)"
            )
            row = connection.execute(
                "select number, received_at from block order by number desc limit 1"
            ).fetchone()
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from error
        self._connection = connection
        if row is not None:
            self.next_number = row[0] + 1
            self._slot = row[1] // self._slot_ms
        else:
            self._slot = -1

    def append(self, kind: str, received_at: int, body: bytes) -> int:
        """Append one block durably and return its number; raises OSError (full disk, …)."""
        slot = received_at // self._slot_ms
        # Only forwards: a clock that steps back must not open a segment per block.
        if self._connection is None or slot > self._slot:
            if self._connection is None or self._slot >= 0:
                self.close()
                self._open(self.directory / f"{self.next_number:020d}.sqlite")
            self._slot = slot
        connection = self._connection
        if connection is None:
            raise OSError(f"{self.directory}: no open segment")
        number = self.next_number
        try:
            connection.execute(
                "insert into block values(?, ?, ?, ?)", (number, KINDS[kind], received_at, body)
            )
        except sqlite3.Error as error:
            raise OSError(f"{self.directory}: block {number}: {error}") from error
        self.next_number = number + 1
        return number

    def trim(self, *, consumed_number: int, received_before_at: int) -> int:
        """Delete whole segments that everyone consumed and that ended before an instant (ms).

        Never deletes the newest segment. Returns the number of segments deleted.
        """
        paths = _segment_paths(self.directory)
        deleted = 0
        for path, following in itertools.pairwise(paths):
            if _first_number(following) - 1 > consumed_number:
                break
            reader = SegmentReader(self.directory)
            last = reader.read(_first_number(following) - 2, 1)
            reader.close()
            if last and last[0].received_at >= received_before_at:
                break
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            deleted += 1
        return deleted

    def close(self) -> None:
        """Checkpoint and close the open segment; append opens one again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._slot = -1


class SegmentReader:
    """Reads a directory of segments in order of numbers; the directory may still be empty."""

    def __init__(self, directory: Path) -> None:
        """Remember the directory; files are opened when first read."""
        self.directory = directory
        self._path: Path | None = None
        self._connection: sqlite3.Connection | None = None

    def read(self, after: int, limit: int) -> Sequence[Block]:
        """Return at most `limit` blocks with number > after, ascending and without gaps.

        Raises OSError for an unreadable segment and for a gap that trimming did not make.
        """
        blocks: list[Block] = []
        paths = _segment_paths(self.directory)
        firsts = [_first_number(path) for path in paths]
        index = max(bisect.bisect_right(firsts, after + 1) - 1, 0)
        position = after
        while index < len(paths) and len(blocks) < limit:
            rows = self._rows(paths[index], position, limit - len(blocks))
            for number, kind, received_at, body in rows:
                if blocks and number != position + 1:
                    raise OSError(f"{paths[index]}: block {position + 1} is missing")
                blocks.append(Block(number, _KIND_NAMES[kind], received_at, body))
                position = number
            index += 1
        return blocks

    def last_number(self) -> int:
        """Return the number of the newest block, 0 where there is none."""
        for path in reversed(_segment_paths(self.directory)):
            rows = self._select(path, "select max(number) from block", ())
            if rows and rows[0][0] is not None:
                return int(rows[0][0])
        return 0

    def last_marker(self) -> Block | None:
        """Return the newest marker, None where there is none."""
        for path in reversed(_segment_paths(self.directory)):
            rows = self._select(
                path,
                "select number, kind, received_at, body from block"
                " where kind = ? order by number desc limit 1",
                (KINDS["marker"],),
            )
            if rows:
                number, kind, received_at, body = rows[0]
                return Block(number, _KIND_NAMES[kind], received_at, body)
        return None

    def octets_after(self, number: int) -> int:
        """Return the octets of all data bodies behind a block."""
        statement = "select total(length(body)) from block where number > ? and kind = ?"
        arguments = (number, KINDS["data"])
        rows = [
            row
            for path in _segment_paths(self.directory)
            for row in self._select(path, statement, arguments)
        ]
        return int(sum(octets for (octets,) in rows))

    def _rows(self, path: Path, after: int, limit: int) -> list[tuple[int, int, int, bytes]]:
        return self._select(
            path,
            "select number, kind, received_at, body from block"
            " where number > ? order by number limit ?",
            (after, limit),
        )

    def _select(self, path: Path, statement: str, arguments: tuple[int, ...]) -> list[Any]:
        try:
            if self._path != path or self._connection is None:
                self.close()
                self._connection = sqlite3.connect(
                    f"{path.absolute().as_uri()}?mode=ro",
                    uri=True,
                    timeout=_BUSY_TIMEOUT_SECONDS,
                    isolation_level=None,
                    check_same_thread=False,
                )
                self._path = path
            return self._connection.execute(statement, arguments).fetchall()
        except sqlite3.OperationalError as error:
            self.close()
            # The writer makes the table right after the file: between the two there is nothing.
            if "no such table" in str(error):
                return []
            raise OSError(f"{path}: {error}") from error

    def close(self) -> None:
        """Close the open segment; read opens it again."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._path = None
