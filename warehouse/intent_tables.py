"""The two adapters of `warehouse.intents.IntentStore`: a SQLite file and PostgreSQL.

They share tables and statements; what differs is the connection, the clock that a hold is measured
by, and that in PostgreSQL a change of a source asks first whether its claim still holds.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy

from warehouse.intents import CURRENT, FORMER, ClaimLostError, HeldError, Intent, Source

_SCHEMA_LOCK = 0x464C_5753
"""Advisory lock under which tables are made."""

_KEY = "generation INTEGER NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL"
_DDL = (
    f"CREATE TABLE IF NOT EXISTS sink_intent ({_KEY},"
    " first_position BIGINT NOT NULL, last_position BIGINT NOT NULL, row_count BIGINT NOT NULL,"
    " next_cursor BIGINT NOT NULL DEFAULT 0, begun_number BIGINT NOT NULL DEFAULT 0,"
    " PRIMARY KEY (generation, topic, partition))",
    f"CREATE TABLE IF NOT EXISTS sink_position ({_KEY},"
    " last_position BIGINT NOT NULL, next_cursor BIGINT NOT NULL DEFAULT 0,"
    " PRIMARY KEY (generation, topic, partition))",
    "CREATE TABLE IF NOT EXISTS sink_inserts ("
    " generation INTEGER PRIMARY KEY, begun BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS sink_hold ("
    " generation INTEGER PRIMARY KEY, holder TEXT NOT NULL, until_at DOUBLE PRECISION NOT NULL)",
    "CREATE TABLE IF NOT EXISTS warehouse_generation ("
    " generation INTEGER PRIMARY KEY, state TEXT NOT NULL)",
    f"CREATE TABLE IF NOT EXISTS sink_state ({_KEY}, name TEXT NOT NULL, value BYTEA NOT NULL,"
    " PRIMARY KEY (generation, topic, partition, name))",
    "CREATE TABLE IF NOT EXISTS warehouse_step (generation INTEGER NOT NULL, step TEXT NOT NULL,"
    " value TEXT NOT NULL, PRIMARY KEY (generation, step))",
)
_CLAIMS_DDL = (
    "CREATE TABLE IF NOT EXISTS sink_claim (name TEXT PRIMARY KEY, owner TEXT NOT NULL,"
    " epoch BIGINT NOT NULL, renewed_at TIMESTAMPTZ NOT NULL)",
    "CREATE TABLE IF NOT EXISTS sink_member (owner TEXT PRIMARY KEY,"
    " renewed_at TIMESTAMPTZ NOT NULL)",
)
_ADDED = {
    "sink_intent": ("next_cursor", "begun_number"),
    "sink_position": ("next_cursor",),
}
"""Columns that files of the first release lack."""

_STATE_PER_STATEMENT = 500
"""Entries of a state that are changed by one statement."""

_OF_SOURCE = "generation = %s AND topic = %s AND partition = %s"
_TABLES_OF_GENERATION = (
    "sink_intent",
    "sink_position",
    "sink_state",
    "sink_inserts",
    "sink_hold",
    "warehouse_step",
    "warehouse_generation",
)


def create_tables(connection: sqlalchemy.Connection) -> None:
    """Make the sinks' tables in a cluster's PostgreSQL where they are absent; two at once may."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
    for statement in (*_DDL, *_CLAIMS_DDL):
        connection.exec_driver_sql(statement)


class _SqlIntentStore:
    """What both adapters do alike; statements are written with `%s`."""

    def _rows(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        """Give a function that runs statements which are committed together."""
        raise NotImplementedError
        yield

    _now = ""
    """SQL of the database's own clock, in seconds since 1970."""

    def _check_claim(self, run: Callable[..., Any], source: Source) -> None:
        """Raise ClaimLostError where another process holds the source."""

    def position(self, source: Source) -> int:
        """Return the last committed position, 0 where nothing was committed yet."""
        return self._of_position("last_position", source)

    def cursor(self, source: Source) -> int:
        """Return where a reader finds the record behind `position`."""
        return self._of_position("next_cursor", source)

    def _of_position(self, column: str, source: Source) -> int:
        rows = self._rows(
            f"SELECT {column} FROM sink_position WHERE {_OF_SOURCE}", dataclasses.astuple(source)
        )
        return int(rows[0][0]) if rows else 0

    def intent(self, source: Source) -> Intent | None:
        """Return the insert that was begun and not committed, if there is one."""
        rows = self._rows(
            "SELECT first_position, last_position, row_count, next_cursor FROM sink_intent"
            f" WHERE {_OF_SOURCE}",
            dataclasses.astuple(source),
        )
        return Intent(*rows[0]) if rows else None

    def inserts_since(self, source: Source) -> int:
        """Return how many inserts all sinks began since this source's intent; 0 without one."""
        rows = self._rows(
            "SELECT begun - begun_number FROM sink_inserts JOIN sink_intent USING (generation)"
            f" WHERE {_OF_SOURCE}",
            dataclasses.astuple(source),
        )
        return int(rows[0][0]) if rows else 0

    def begin(self, source: Source, intent: Intent) -> None:
        """Record an insert before it starts; ValueError, HeldError or ClaimLostError: not begun."""
        with self._transaction() as run:
            self._check_claim(run, source)
            begun = _count_insert(run, source.generation, 1)
            held = run(
                f"SELECT holder FROM sink_hold WHERE generation = %s AND until_at > {self._now}",
                (source.generation,),
            )
            if held:
                raise HeldError(f"{held[0][0]} holds inserts into generation {source.generation}")
            if run(f"SELECT 1 FROM sink_intent WHERE {_OF_SOURCE}", dataclasses.astuple(source)):
                raise ValueError(f"{source.claim}: an insert is open already")
            run(
                "INSERT INTO sink_intent (generation, topic, partition, first_position,"
                " last_position, row_count, next_cursor, begun_number)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                (*dataclasses.astuple(source), *dataclasses.astuple(intent), begun),
            )

    def commit(
        self, source: Source, intent: Intent, state: Mapping[str, bytes | None] | None = None
    ) -> None:
        """Forget a complete insert, move position and state; ClaimLostError: not done."""
        with self._transaction() as run:
            self._check_claim(run, source)
            run(f"DELETE FROM sink_intent WHERE {_OF_SOURCE}", dataclasses.astuple(source))
            run(
                "INSERT INTO sink_position (generation, topic, partition, last_position,"
                " next_cursor) VALUES (%s, %s, %s, %s, %s)"
                " ON CONFLICT (generation, topic, partition) DO UPDATE SET"
                " last_position = excluded.last_position, next_cursor = excluded.next_cursor",
                (*dataclasses.astuple(source), intent.last_position, intent.next_cursor),
            )
            changes = list((state or {}).items())
            for first in range(0, len(changes), _STATE_PER_STATEMENT):
                _change_state(run, source, changes[first : first + _STATE_PER_STATEMENT])

    def state(self, source: Source) -> dict[str, bytes]:
        """Return what the source's reader remembers as of its position."""
        rows = self._rows(
            f"SELECT name, value FROM sink_state WHERE {_OF_SOURCE}", dataclasses.astuple(source)
        )
        return {str(name): bytes(value) for name, value in rows}

    def seed(self, source: Source, position: int, cursor: int) -> None:
        """Let a source begin behind a position; without effect where it has one."""
        self._rows(
            "INSERT INTO sink_position (generation, topic, partition, last_position, next_cursor)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (generation, topic, partition) DO NOTHING",
            (*dataclasses.astuple(source), position, cursor),
        )

    def positions(self, generation: int) -> dict[Source, int]:
        """Return the position of every source of a generation."""
        rows = self._rows(
            "SELECT topic, partition, last_position FROM sink_position WHERE generation = %s"
            " ORDER BY topic, partition",
            (generation,),
        )
        return {Source(generation, topic, int(part)): int(last) for topic, part, last in rows}

    def open_intents(self, generation: int) -> dict[Source, Intent]:
        """Return the inserts of a generation that were begun and not committed."""
        rows = self._rows(
            "SELECT topic, partition, first_position, last_position, row_count, next_cursor"
            " FROM sink_intent WHERE generation = %s ORDER BY topic, partition",
            (generation,),
        )
        return {Source(generation, row[0], int(row[1])): Intent(*row[2:]) for row in rows}

    def hold(self, generation: int, holder: str, seconds: float) -> bool:
        """Hold off all inserts into a generation for so long, or longer; False: another does."""
        with self._transaction() as run:
            _count_insert(run, generation, 0)
            rows = run(
                f"INSERT INTO sink_hold VALUES (%s, %s, {self._now} + %s)"
                " ON CONFLICT (generation) DO UPDATE SET holder = excluded.holder,"
                " until_at = excluded.until_at WHERE sink_hold.holder = excluded.holder"
                f" OR sink_hold.until_at <= {self._now} RETURNING holder",
                (generation, holder, seconds),
            )
        return bool(rows)

    def release(self, generation: int, holder: str) -> None:
        """Let inserts go on; without effect where the holder holds nothing."""
        self._rows(
            "DELETE FROM sink_hold WHERE generation = %s AND holder = %s", (generation, holder)
        )

    def generations(self) -> Mapping[int, str]:
        """Return the state of each generation that was recorded."""
        rows = self._rows("SELECT generation, state FROM warehouse_generation ORDER BY generation")
        return {int(number): str(state) for number, state in rows}

    def set_generation(self, generation: int, state: str) -> None:
        """Record a generation's state. A new current one makes the one before it former."""
        with self._transaction() as run:
            if state == CURRENT:
                run(
                    "UPDATE warehouse_generation SET state = %s"
                    " WHERE state = %s AND generation <> %s",
                    (FORMER, CURRENT, generation),
                )
            run(
                "INSERT INTO warehouse_generation VALUES (%s, %s)"
                " ON CONFLICT (generation) DO UPDATE SET state = excluded.state",
                (generation, state),
            )

    def forget_generation(self, generation: int) -> None:
        """Delete a generation with its positions, intents and steps."""
        with self._transaction() as run:
            for table in _TABLES_OF_GENERATION:
                run(f"DELETE FROM {table} WHERE generation = %s", (generation,))

    def steps(self, generation: int) -> dict[str, str]:
        """Return what a rebuild of this generation has noted: step -> value."""
        rows = self._rows(
            "SELECT step, value FROM warehouse_step WHERE generation = %s", (generation,)
        )
        return {str(step): str(value) for step, value in rows}

    def note_step(self, generation: int, step: str, value: str) -> None:
        """Note that a step of a rebuild is done, replacing an earlier note of it."""
        self._rows(
            "INSERT INTO warehouse_step VALUES (%s, %s, %s)"
            " ON CONFLICT (generation, step) DO UPDATE SET value = excluded.value",
            (generation, step, value),
        )


def _change_state(
    run: Callable[..., list[tuple[Any, ...]]],
    source: Source,
    changes: Sequence[tuple[str, bytes | None]],
) -> None:
    key = dataclasses.astuple(source)
    gone = [name for name, value in changes if value is None]
    if gone:
        marks = ", ".join(["%s"] * len(gone))
        run(f"DELETE FROM sink_state WHERE {_OF_SOURCE} AND name IN ({marks})", (*key, *gone))
    kept = [(*key, name, value) for name, value in changes if value is not None]
    if kept:
        run(
            "INSERT INTO sink_state (generation, topic, partition, name, value) VALUES "
            + ", ".join(["(%s, %s, %s, %s, %s)"] * len(kept))
            + " ON CONFLICT (generation, topic, partition, name)"
            " DO UPDATE SET value = excluded.value",
            [value for row in kept for value in row],
        )


def _count_insert(run: Callable[..., list[tuple[Any, ...]]], generation: int, more: int) -> int:
    """Count an insert and return how many were begun.

    Locks the generation's row until the transaction ends, so that a hold and an insert never both
    see the other one absent.
    """
    ((begun,),) = run(
        "INSERT INTO sink_inserts VALUES (%s, %s) ON CONFLICT (generation)"
        " DO UPDATE SET begun = sink_inserts.begun + excluded.begun RETURNING begun",
        (generation, more),
    )
    return int(begun)


class SqliteIntentStore(_SqlIntentStore):
    """An embedded installation's `store.sqlite`. One sink follows a source: there are no claims."""

    _now = "((julianday('now') - 2440587.5) * 86400.0)"

    def __init__(self, path: Path) -> None:
        """Open, and create where absent. sqlite3.Error where the file cannot be used."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=15.0
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._transaction() as run:
            for statement in _DDL:
                run(statement)
            for table, columns in _ADDED.items():
                known = {row[1] for row in run(f"PRAGMA table_info({table})")}
                for column in columns:
                    if column not in known:
                        run(f"ALTER TABLE {table} ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _rows(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement.replace("%s", "?"), arguments).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._rows
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


class PostgresIntentStore(_SqlIntentStore):
    """A cluster's PostgreSQL. Changes of a source are refused once its claim is another's.

    owner and epochs are those of `warehouse.claims.Claims`; without an owner (tools) nothing may be
    begun or committed. One thread at a time; a lost connection is opened again by the next call.
    """

    _now = "extract(epoch from clock_timestamp())"

    def __init__(self, url: str, owner: str = "", epochs: Mapping[str, int] | None = None) -> None:
        """Remember a libpq URL (`postgresql://…`); opened by the first call."""
        self._url = url
        self._owner = owner
        self._epochs = epochs if epochs is not None else {}
        self._opened: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._opened is not None:
            self._opened.close()

    def _connection(self) -> psycopg.Connection[Any]:
        if self._opened is None or self._opened.closed:
            self._opened = connect(self._url)
        return self._opened

    def _rows(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._transaction() as run:
            return run(statement, arguments)

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        connection = self._connection()

        def run(statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement, arguments)
            return cursor.fetchall() if cursor.description else []

        with connection.transaction():
            yield run

    def _check_claim(self, run: Callable[..., Any], source: Source) -> None:
        held = run(
            "SELECT 1 FROM sink_claim WHERE name = %s AND owner = %s AND epoch = %s FOR SHARE",
            (source.claim, self._owner, self._epochs.get(source.claim, -1)),
        )
        if not held:
            raise ClaimLostError(f"{source.claim} is another's now")


def connect(url: str) -> psycopg.Connection[Any]:
    """Open a connection with limits, so that nothing waits for a dead server for ever."""
    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=10,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        options="-c statement_timeout=30s -c lock_timeout=10s"
        " -c idle_in_transaction_session_timeout=30s -c timezone=UTC",
    )
