"""The one place that knows SQLite: pragmas, and transactions that take the write lock first.

A deferred transaction that reads and then writes fails at once with "database is locked",
whatever the timeout (DESIGN §5): every writer here begins IMMEDIATE.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

BEGIN_OPTION = "flowrate_begin"
"""Execution option of a connection: the statement that opens its transactions."""

READING: Mapping[str, Any] = {BEGIN_OPTION: "BEGIN DEFERRED"}
"""Execution options of a transaction that sees one snapshot and takes no lock."""

_TRY_AGAIN_SECONDS = 0.001
"""Between two tries for the write lock. SQLite's own wait grows to 100 ms and so misses the few
milliseconds that a busy engine leaves between two passes (docs/decisions/0114)."""

_SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL"}


def open_engine(url: str, *, busy_timeout_ms: int, synchronous: str) -> Engine:
    """Return an engine for a file; see `databases.open_database`."""
    engine = create_engine(url, connect_args={"timeout": busy_timeout_ms / 1000})
    level = _SYNCHRONOUS[synchronous]

    @event.listens_for(engine, "connect")
    def _prepare(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # this module writes BEGIN, not the driver
        _switch_to_wal(dbapi_connection, busy_timeout_ms / 1000)
        for pragma in (f"synchronous={level}", "foreign_keys=ON"):
            dbapi_connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get(BEGIN_OPTION, "BEGIN IMMEDIATE")
        if statement != "BEGIN IMMEDIATE":
            connection.exec_driver_sql(statement)
            return
        # Everything but the write lock (recovery after a crash, say) keeps SQLite's own wait.
        connection.exec_driver_sql("PRAGMA busy_timeout=0")
        try:
            _begin_within(connection, statement, busy_timeout_ms / 1000)
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={busy_timeout_ms}")

    return engine


def _switch_to_wal(dbapi_connection: Any, timeout_seconds: float) -> None:
    """Switch a new file's journal, trying again: where two do so at once, SQLite does not wait."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            dbapi_connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_TRY_AGAIN_SECONDS)
        else:
            return


def _begin_within(connection: Connection, statement: str, timeout_seconds: float) -> None:
    """Begin, trying again while another process writes; OperationalError when the time is over."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            connection.exec_driver_sql(statement)
        except OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_TRY_AGAIN_SECONDS)
        else:
            return
