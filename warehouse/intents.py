"""The sinks' memory: what is being inserted, how far each has committed, which tables are in force.

An intent is durable before its insert begins and goes in the transaction that moves the position,
so after a crash there is at most one per table generation, topic and partition, and it says
exactly which rows were under way (DESIGN §3.7). `IntentStore` is the port; `intent_tables` has its
two adapters, a file for an embedded installation and PostgreSQL for a cluster.
"""

from __future__ import annotations

import dataclasses
import re
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

_LOG_GENERATION = re.compile(r"\.g(\d+)\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What a sink follows into which generation of tables: the key of intents and positions."""

    generation: int
    topic: str
    partition: int

    @property
    def log_generation(self) -> int:
        """The topic's own generation: 2 for ``usage.rated.g2``, 1 for a name without one."""
        found = _LOG_GENERATION.search(self.topic)
        return int(found.group(1)) if found else 1

    @property
    def claim(self) -> str:
        """Name under which one sink process at a time holds this source."""
        return f"{self.topic}:{self.partition}>{self.generation}"


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """One insert: the log records first..last and how many rows they have together.

    next_cursor is where a reader finds the record behind the last one: a Kafka offset, 0 where the
    position itself is enough.
    """

    first_position: int
    last_position: int
    row_count: int
    next_cursor: int = 0

    def token(self, source: Source) -> str:
        """Return the deduplication token: it stands for exactly these records."""
        return f"{source.topic}:{source.partition}:{self.first_position}-{self.last_position}"


FILLING, CURRENT, FORMER = "filling", "current", "former"
"""States of a generation: a rebuild fills it; everybody reads and writes it; kept until dropped."""


class ClaimLostError(Exception):
    """Another process holds this source now: whoever is told so must not go on with it."""


class HeldError(Exception):
    """Somebody holds all inserts off for a moment (a repair of a rollup): try again later."""


class IntentStore(Protocol):
    """Intents, positions and generations; each change is durable when the call returns.

    A generation and source that were never written have position 0, cursor 0 and no intent.
    Errors of the database pass through as `sqlite3.Error` or `psycopg.Error`, and the change is
    then not made, or made whole (a connection lost at the commit): read again before going on.
    """

    def position(self, source: Source) -> int:
        """Return the last committed position, 0 where nothing was committed yet."""
        ...

    def cursor(self, source: Source) -> int:
        """Return where a reader finds the record behind `position`."""
        ...

    def intent(self, source: Source) -> Intent | None:
        """Return the insert that was begun and not committed, if there is one."""
        ...

    def inserts_since(self, source: Source) -> int:
        """Return how many inserts all sinks began since this source's intent; 0 without one."""
        ...

    def begin(self, source: Source, intent: Intent) -> None:
        """Record an insert before it starts.

        ValueError where one is open already, HeldError while inserts are held off, ClaimLostError
        where another process holds the source.
        """
        ...

    def commit(
        self, source: Source, intent: Intent, state: Mapping[str, bytes | None] | None = None
    ) -> None:
        """Forget an insert that is complete, move the position to its last record, change the
        source's state (None deletes): all at once.

        ClaimLostError where another process holds the source: it will do so.
        """
        ...

    def state(self, source: Source) -> dict[str, bytes]:
        """Return what the source's reader remembers as of `position`; mostly nothing."""
        ...

    def seed(self, source: Source, position: int, cursor: int) -> None:
        """Let a source begin behind a position; without effect where it has one."""
        ...

    def positions(self, generation: int) -> dict[Source, int]:
        """Return the position of every source of a generation."""
        ...

    def open_intents(self, generation: int) -> dict[Source, Intent]:
        """Return the inserts of a generation that were begun and not committed."""
        ...

    def hold(self, generation: int, holder: str, seconds: float) -> bool:
        """Hold off all inserts into a generation for so long, or longer; False: another does."""
        ...

    def release(self, generation: int, holder: str) -> None:
        """Let inserts go on; without effect where the holder holds nothing."""
        ...

    def generations(self) -> Mapping[int, str]:
        """Return the state of each generation that was recorded."""
        ...

    def set_generation(self, generation: int, state: str) -> None:
        """Record a generation's state. A new current one makes the one before it former."""
        ...

    def forget_generation(self, generation: int) -> None:
        """Delete a generation with its positions, intents and steps."""
        ...

    def steps(self, generation: int) -> dict[str, str]:
        """Return what a rebuild of this generation has noted: step -> value."""
        ...

    def note_step(self, generation: int, step: str, value: str) -> None:
        """Note that a step of a rebuild is done, replacing an earlier note of it."""
        ...


def current_generation(intents: IntentStore, first: int) -> int:
    """Return the generation in force; first where none was ever recorded."""
    return _current(intents.generations(), first)


def _current(states: Mapping[int, str], first: int) -> int:
    return max((number for number, state in states.items() if state == CURRENT), default=first)


def committed_position(path: Path, source: Source) -> int:
    """Return a source's committed position from another process's view; 0 before the first.

    Opens the file read-only. sqlite3.Error where it exists and cannot be read.
    """
    rows = _read_only(
        path,
        "SELECT last_position FROM sink_position"
        " WHERE generation = ? AND topic = ? AND partition = ?",
        (source.generation, source.topic, source.partition),
    )
    return int(rows[0][0]) if rows else 0


def kept_position(path: Path, first: int, topic: str, partition: int) -> int:
    """Return up to where no generation needs a topic's records any more; 0 before the first.

    That is the least position of the generation in force and of one that a rebuild fills.
    """
    states = {int(n): str(s) for n, s in _read_only(path, _STATES, ())}
    needed = {_current(states, first), *(n for n, s in states.items() if s == FILLING)}
    return min(committed_position(path, Source(n, topic, partition)) for n in needed)


_STATES = "SELECT generation, state FROM warehouse_generation"


def _read_only(path: Path, statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)
    try:
        return connection.execute(statement, arguments).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        connection.close()
