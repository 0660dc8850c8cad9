"""Databases for tests of both kinds: a template is filled once, each test gets a copy of its own.

PostgreSQL is one server per run. CREATE DATABASE takes it a third of a second, so a copy that a
test has left is made like its template again, row by row, and given to the next test.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from billing.adapters.databases import open_database
from tests.cluster.conftest import require_postgres
from tests.cluster.servers import Postgres

KINDS = ("sqlite", "postgresql")

Fill = Callable[[str], object]
"""Fills the empty database at a URL and closes what it opened."""


@functools.cache
def server() -> Postgres:
    """Return the run's PostgreSQL; skip where it is absent, fail under REQUIRE_PEERS=1."""
    require_postgres()
    directory = Path(tempfile.mkdtemp(prefix="flowrate-databases-"))
    started = Postgres(directory)
    started.start()
    owner = os.getpid()

    def end() -> None:
        if os.getpid() == owner:
            started.kill()
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(end)
    with psycopg.connect(started.database_url("postgres"), autocommit=True) as connection:
        connection.execute("ALTER ROLE ALL SET synchronous_commit = off")
    return started


def sqlalchemy_url(url: str) -> str:
    """Return a PostgreSQL URL with the driver that we use."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


@contextlib.contextmanager
def opened(kind: str, directory: Path) -> Iterator[Callable[[str, Fill], Engine]]:
    """Yield a function from a template's name and its filling to an engine on a copy of it.

    Copies are the caller's until the block ends.
    """
    with contextlib.ExitStack() as stack:

        def copy(template: str, fill: Fill) -> Engine:
            if kind == "sqlite":
                file = directory / f"{uuid.uuid4().hex}.sqlite"
                file.write_bytes(_filled_file(template, fill))
                url = f"sqlite:///{file}"
            else:
                origin = _filled_database(template, fill)
                name = origin.take()
                stack.callback(origin.give_back, name)
                url = sqlalchemy_url(server().database_url(name))
            engine = open_database(url, synchronous="normal")
            stack.callback(engine.dispose)
            return engine

        yield copy


@functools.cache
def _filled_file(template: str, fill: Fill) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"{template}.sqlite"
        fill(f"sqlite:///{file}")
        return file.read_bytes()


@functools.cache
def _filled_database(template: str, fill: Fill) -> _Template:
    name = f"template_{template}_{uuid.uuid4().hex[:8]}"
    fill(sqlalchemy_url(server().create_database(name)))
    return _Template(name)


class _Template:
    """A filled database on the server, its copies that nobody uses now, and its rows."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._free: list[str] = []
        with psycopg.connect(server().database_url(name)) as connection:
            self._rows = {table: _copied_out(connection, table) for table in _tables(connection)}

    def take(self) -> str:
        """Return the name of a copy."""
        if self._free:
            return self._free.pop()
        copy = f"test_{uuid.uuid4().hex}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(copy), sql.Identifier(self._name)
        )
        with psycopg.connect(server().database_url("postgres"), autocommit=True) as connection:
            connection.execute(statement)
        return copy

    def give_back(self, copy: str) -> None:
        """Make a copy that nobody is connected to like the template again."""
        with psycopg.connect(server().database_url(copy)) as connection:
            connection.execute("SET session_replication_role = replica")  # in any order
            connection.execute("SET lock_timeout = '10s'")
            tables = _tables(connection)
            if not self._rows.keys() <= set(tables):
                return  # The test has dropped a table: nobody can use this copy again.
            connection.execute(
                sql.SQL("; ").join(
                    sql.SQL("DELETE FROM {}").format(sql.Identifier(table)) for table in tables
                )
            )
            for table, rows in self._rows.items():
                if rows:
                    _copy_in(connection, table, rows)
        self._free.append(copy)


def _tables(connection: psycopg.Connection) -> list[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    return [name for (name,) in connection.execute(query)]


def _copied_out(connection: psycopg.Connection, table: str) -> bytes:
    statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))
    with connection.cursor().copy(statement) as copy:
        return b"".join(bytes(octets) for octets in copy)


def _copy_in(connection: psycopg.Connection, table: str, rows: bytes) -> None:
    statement = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
    with connection.cursor().copy(statement) as copy:
        copy.write(rows)


@contextlib.contextmanager
def created(options: str) -> Iterator[str]:
    """Yield the URL of a database that CREATE DATABASE makes with these options."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server().database_url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} {options}".encode())
    yield sqlalchemy_url(server().database_url(name))
    server().drop_database(name)


@contextlib.contextmanager
def empty(kind: str, directory: Path) -> Iterator[str]:
    """Yield the URL of an empty database of a kind."""
    if kind == "sqlite":
        yield f"sqlite:///{directory / 'empty.sqlite'}"
        return
    with created("TEMPLATE template0") as url:
        yield url
