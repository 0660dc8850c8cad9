"""The sink's memory in `store.sqlite`: what it is inserting, and up to where it has committed.

An intent is durable before its insert begins and goes in the transaction that moves the position,
so after a crash there is at most one per table generation, topic and partition, and it says
exactly which rows were under way (DESIGN §3.7). The engine reads `sink_position` to trim the topic.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sink_intent (
  generation INTEGER NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
  first_position INTEGER NOT NULL, last_position INTEGER NOT NULL, row_count INTEGER NOT NULL,
  PRIMARY KEY (generation, topic, partition)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sink_position (
  generation INTEGER NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
  last_position INTEGER NOT NULL,
  PRIMARY KEY (generation, topic, partition)
) STRICT, WITHOUT ROWID;
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What a sink follows into which generation of tables: the key of intents and positions."""

    generation: int
    topic: str
    partition: int


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """One insert: the log records first..last and how many rows they have together."""

    first_position: int
    last_position: int
    row_count: int

    def token(self, source: Source) -> str:
        """Return the deduplication token: it stands for exactly these records."""
        return f"{source.topic}:{source.partition}:{self.first_position}-{self.last_position}"


class IntentStore:
    """Intents and positions of every source, each change durable when the call returns."""

    def __init__(self, path: Path) -> None:
        """Open, and create where absent. sqlite3.Error where the file cannot be used."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def position(self, source: Source) -> int:
        """Return the last committed position, 0 where nothing was committed yet."""
        row = self._connection.execute(
            "SELECT last_position FROM sink_position"
            " WHERE generation = ? AND topic = ? AND partition = ?",
            dataclasses.astuple(source),
        ).fetchone()
        return int(row[0]) if row else 0

    def intent(self, source: Source) -> Intent | None:
        """Return the insert that was begun and not committed, if there is one."""
        row = self._connection.execute(
            "SELECT first_position, last_position, row_count FROM sink_intent"
            " WHERE generation = ? AND topic = ? AND partition = ?",
            dataclasses.astuple(source),
        ).fetchone()
        return Intent(*row) if row else None

    def begin(self, source: Source, intent: Intent) -> None:
        """Record an insert before it starts. sqlite3.IntegrityError where one is open already."""
        self._connection.execute(
            "INSERT INTO sink_intent VALUES (?, ?, ?, ?, ?, ?)",
            (*dataclasses.astuple(source), *dataclasses.astuple(intent)),
        )

    def commit(self, source: Source, intent: Intent) -> None:
        """Forget an insert that is complete and move the position to its last record."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "DELETE FROM sink_intent WHERE generation = ? AND topic = ? AND partition = ?",
                dataclasses.astuple(source),
            )
            self._connection.execute(
                "INSERT INTO sink_position VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET last_position = excluded.last_position",
                (*dataclasses.astuple(source), intent.last_position),
            )


def committed_position(path: Path, source: Source) -> int:
    """Return a source's committed position from another process's view; 0 before the first.

    Opens the file read-only. sqlite3.Error where it exists and cannot be read.
    """
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)
    try:
        row = connection.execute(
            "SELECT last_position FROM sink_position"
            " WHERE generation = ? AND topic = ? AND partition = ?",
            dataclasses.astuple(source),
        ).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return 0
        raise
    finally:
        connection.close()
    return int(row[0]) if row else 0
