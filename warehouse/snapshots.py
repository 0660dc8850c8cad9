"""Copies business rows into the warehouse, so that dashboards need only one data source.

The copies replace by key and may be made again at any time, so they need neither intent nor
position: whatever changed since the last copy is copied, a little of it twice.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import polars as pl
import sqlalchemy
import sqlalchemy.exc

from rating.records import schema_of
from warehouse.config import SinkConfig
from warehouse.metrics import Counters
from warehouse.sink import TableWriter
from warehouse.tables import SNAPSHOTS

LOG = logging.getLogger(__name__)

OVERLAP_MS = 60_000
"""How far each copy reaches back behind the one before, for rows whose instant is not the
commit's."""

CHANGED_SINCE: Mapping[str, str] = {
    "live_session": "last_seen_at >= :since OR ended_at >= :since",
    "alert": "raised_at >= :since",
    "command": (
        "requested_at >= :since OR sent_at >= :since OR acknowledged_at >= :since"
        " OR verified_at >= :since OR settled_at >= :since OR outcome IN ('pending', 'sent')"
    ),
    "loss_minute": "minute >= :since / 60000",
    "loss_hour": "hour >= :since / 3600000",
    "flow_hour": "changed_at >= :since",
    "session": "last_seen_at >= :since OR ended_at >= :since",
    "invoice": (
        "status <> 'draft' AND (issued_at >= :since OR paid_at >= :since OR status = 'void' OR"
        " invoice_id IN (SELECT invoice_id FROM payment WHERE received_at >= :since))"
    ),
    "invoice_line": "status <> 'draft' AND issued_at >= :since",
}
"""Snapshot -> condition of the rows that may have changed at or after :since (ms)."""

SOURCES: Mapping[str, str] = {
    "session": "live_session",
    "invoice_line": "invoice_line JOIN invoice USING (invoice_id)",
}
"""Snapshot -> the business tables it is read from, where they are not named as it is."""

SLOW: Mapping[str, int] = {
    "invoice": 40 * 86_400_000,
    "invoice_line": OVERLAP_MS,
    "flow_hour": 1_800_000,
}
"""Snapshots copied each `invoice_interval_seconds`, and how far (ms) each copy reaches back: a
clerk may enter a payment days after it was received; an hour of flows is told once it is over, the
later the further the engine is behind."""


def statement_of(name: str) -> str:
    """Return the SELECT of a snapshot's changed rows, with :since (ms) and :limit (rows)."""
    columns = ", ".join(schema_of(SNAPSHOTS[name][0]))
    return (
        f"SELECT {columns} FROM {SOURCES.get(name, name)} WHERE {CHANGED_SINCE[name]} LIMIT :limit"
    )


class SnapshotReader(Protocol):
    """Gives business rows that changed; may give unchanged ones too."""

    def changed(self, table: str, since_at: int, limit_rows: int) -> pl.DataFrame:
        """Return rows of one of SNAPSHOTS that changed at or after since_at (ms), as its record.

        Empty where the table is not there (yet).
        """
        ...


class SqliteSnapshotReader:
    """Reads the engine's SQLite file, read-only. One thread at a time."""

    def __init__(self, path: Path) -> None:
        """Remember the file; it is opened for each read, so it may appear later."""
        self._path = path

    def changed(self, table: str, since_at: int, limit_rows: int) -> pl.DataFrame:
        """Return changed rows, newest last; empty where file or table is absent."""
        schema = schema_of(SNAPSHOTS[table][0])
        if table not in CHANGED_SINCE or not self._path.exists():
            return pl.DataFrame(schema=schema)
        uri = f"{self._path.resolve().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=5.0)
        try:
            rows = connection.execute(
                statement_of(table), {"since": since_at, "limit": limit_rows}
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return pl.DataFrame(schema=schema)
            raise
        finally:
            connection.close()
        return pl.DataFrame(rows, schema=schema, orient="row")


class PostgresSnapshotReader:
    """Reads a cluster's PostgreSQL, one snapshot in a transaction of its own."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        """Take the business database."""
        self._engine = engine

    def changed(self, table: str, since_at: int, limit_rows: int) -> pl.DataFrame:
        """Return changed rows; empty where the table is absent. sqlalchemy's errors pass."""
        schema = schema_of(SNAPSHOTS[table][0])
        statement = sqlalchemy.text(statement_of(table))
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(statement, {"since": since_at, "limit": limit_rows})
                found = [tuple(row) for row in rows]
        except sqlalchemy.exc.ProgrammingError as error:
            if getattr(error.orig, "sqlstate", "") == "42P01":  # undefined_table
                return pl.DataFrame(schema=schema)
            raise
        return pl.DataFrame(found, schema=schema, orient="row")


class SnapshotCopies:
    """Copies what is due, each table at its interval. One thread at a time."""

    def __init__(self, reader: SnapshotReader, config: SinkConfig, counters: Counters) -> None:
        """Start with everything due from the beginning."""
        self._reader = reader
        self._config = config
        self._counters = counters
        self._copied_at = {False: 0, True: 0}

    def copy_due(self, writer: TableWriter, generation: int, now_ms: int) -> None:
        """Copy the tables that are due. Failures of the business database are counted and told."""
        for is_slow, seconds in (
            (False, self._config.snapshot_interval_seconds),
            (True, self._config.invoice_interval_seconds),
        ):
            since_at = self._copied_at[is_slow]
            if now_ms < since_at + int(seconds * 1000):
                continue
            names = [name for name in SNAPSHOTS if (name in SLOW) == is_slow]
            try:
                copied = copy_snapshots(
                    self._reader,
                    writer,
                    generation,
                    since_at=since_at,
                    now_ms=now_ms,
                    names=names,
                )
                self._counters.add("warehouse_snapshot_rows", copied)
                self._copied_at[is_slow] = now_ms
            except (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError) as error:
                self._counters.add("warehouse_snapshot_failures")
                LOG.warning("snapshots not copied: %s", error)


def copy_snapshots(
    reader: SnapshotReader,
    writer: TableWriter,
    generation: int,
    *,
    since_at: int,
    now_ms: int,
    names: Sequence[str] = tuple(SNAPSHOTS),
) -> int:
    """Copy what changed since an earlier copy; return the rows. Errors pass through.

    since_at is the earlier copy's now_ms (0 at first). At most 1,000,000 rows per table.
    """
    copied = 0
    for name in names:
        table = SNAPSHOTS[name][1]
        since = max(0, since_at - SLOW.get(name, OVERLAP_MS))
        frame = reader.changed(name, since, 1_000_000)
        if frame.height:
            stamped = frame.with_columns(pl.lit(now_ms, pl.Int64).alias("snapshot_at"))
            writer.insert_arrow(
                table.physical(generation),
                stamped.to_arrow(compat_level=pl.CompatLevel.oldest()),
            )
            copied += frame.height
    return copied
