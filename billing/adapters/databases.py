"""Opens the business database, SQLite or PostgreSQL, and transactions that mean the same on both.

What both promise (the rest of `billing.adapters`, and `api`, rely on nothing else):

- `reading` sees one snapshot and waits for no writer.
- `writing` commits whole or not at all. Inside, a read that a write depends on stands behind
  `take_turns`: SQLite has one writer anyway, PostgreSQL queues the writers of one thing
  (docs/decisions/0502).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ARRAY, Connection, Engine, Table, Text, any_, bindparam, func, select
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import OperationalError

from billing.adapters import postgres, sqlite
from billing.adapters.postgres import UnfitDatabaseError
from billing.config import DatabaseConfig

__all__ = [
    "COMMANDS",
    "UnfitDatabaseError",
    "among",
    "asking",
    "check_database",
    "is_unavailable",
    "open_database",
    "reading",
    "take_schema_turn",
    "take_turns",
    "upsert",
    "writing",
]

COMMANDS = "commands"
"""The turn of an API command; the ledger's is per branch (`ledger.post`)."""


def open_database(
    url: str,
    *,
    busy_timeout_ms: int = 15_000,
    synchronous: str = "full",
    config: DatabaseConfig | None = None,
    application: str = "flowrate",
) -> Engine:
    """Return an engine for the business database (`sqlite:///path` or a PostgreSQL URL).

    busy_timeout_ms is how long a writer of SQLite waits for another process's transaction;
    synchronous is ``full`` (a commit survives a power cut) or ``normal``, KeyError otherwise.
    config and application (the name that PostgreSQL shows) are PostgreSQL's.
    """
    if url.startswith("sqlite"):
        return sqlite.open_engine(url, busy_timeout_ms=busy_timeout_ms, synchronous=synchronous)
    return postgres.open_engine(url, config or DatabaseConfig(), application)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open one short write transaction: commits on leaving, rolls back on an exception.

    SQLite takes the write lock before the first read. PostgreSQL reads what is committed at each
    statement (READ COMMITTED), so what `take_turns` waited for is seen. Never do network IO inside.
    """
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open one read transaction: every query inside sees the same snapshot."""
    with engine.connect() as connection:
        options = sqlite.READING if engine.dialect.name == "sqlite" else postgres.READING
        connection = connection.execution_options(**options)
        with connection.begin():
            yield connection


@contextmanager
def asking(engine: Engine) -> Iterator[Connection]:
    """Open a connection for one question: PostgreSQL is spared BEGIN and COMMIT around it."""
    if engine.dialect.name == "sqlite":
        with reading(engine) as connection:
            yield connection
        return
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


def among(
    connection: Connection, query: Any, column: Any, values: Iterable[str], /, **parameters: Any
) -> Iterator[Any]:
    """Yield the rows of a query whose text column has one of the values; none asks nothing.

    All values are one parameter, so the statement is the same for any number of them: with a
    query that is made once it is compiled once, and prepared once by the server.
    """
    ordered = sorted(values)
    if not ordered:
        return
    is_sqlite = connection.dialect.name == "sqlite"
    statement = _among(query, column, is_sqlite)
    for start in range(0, len(ordered), _VALUES_PER_QUERY):
        some = ordered[start : start + _VALUES_PER_QUERY]
        bound = {"among": json.dumps(some) if is_sqlite else some, **parameters}
        yield from connection.execute(statement, bound)


_VALUES_PER_QUERY = 1_000


@functools.lru_cache(maxsize=256)
def _among(query: Any, column: Any, is_sqlite: bool) -> Any:
    """Return a query restricted to the values in parameter ``among``."""
    if is_sqlite:
        each = func.json_each(bindparam("among", type_=Text)).table_valued("value")
        return query.where(column.in_(select(each.c.value)))
    return query.where(column == any_(bindparam("among", type_=ARRAY(Text))))


def upsert(connection: Connection, table: Table) -> Any:
    """Return an insert into `table` that takes ``on_conflict_do_…``, which both spell alike."""
    if connection.dialect.name == "sqlite":
        return sqlite_dialect.insert(table)
    return postgresql_dialect.insert(table)


def take_turns(connection: Connection, *names: str) -> None:
    """Wait until no other transaction has a turn at these names, and hold it to the end of ours.

    Whoever reads in order to write takes its turn first. One call takes its names in order, so two
    calls never wait for each other; a transaction that calls twice takes COMMANDS first and a
    branch's ledger last, and rows in between.
    """
    if connection.dialect.name != "sqlite":
        postgres.take_turns(connection, sorted(set(names)))


def take_schema_turn(connection: Connection) -> None:
    """Wait, however long, for the turn to change tables, and lift the limit of a statement."""
    if connection.dialect.name != "sqlite":
        postgres.take_schema_turn(connection)


def check_database(connection: Connection) -> None:
    """Raise UnfitDatabaseError where the same input could give other results than elsewhere."""
    if connection.dialect.name != "sqlite":
        postgres.check_database(connection)


def is_unavailable(error: OperationalError) -> bool:
    """Return whether the database is away or too busy, so that a repeat later may succeed."""
    if "sqlite" in type(error.orig).__module__:
        return "locked" in str(error.orig)
    return True
