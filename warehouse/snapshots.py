"""Copies business rows into the warehouse, so that dashboards need only one data source.

The copies replace by key and may be made again at any time, so they need neither intent nor
position: whatever changed since the last copy is copied, a little of it twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import polars as pl

from rating.records import schema_of
from warehouse.metrics import Counters
from warehouse.sink import TableWriter
from warehouse.tables import SNAPSHOTS

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
}
"""Business table -> condition of the rows that may have changed at or after :since (ms)."""


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
                f"SELECT {', '.join(schema)} FROM {table}"
                f" WHERE {CHANGED_SINCE[table]} LIMIT :limit",
                {"since": since_at, "limit": limit_rows},
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return pl.DataFrame(schema=schema)
            raise
        finally:
            connection.close()
        return pl.DataFrame(rows, schema=schema, orient="row")


def copy_snapshots(
    reader: SnapshotReader,
    writer: TableWriter,
    generation: int,
    counters: Counters,
    *,
    since_at: int,
    now_ms: int,
) -> int:
    """Copy what changed since an earlier copy; return the rows. Errors pass through.

    since_at is the earlier copy's now_ms (0 at first). At most 1,000,000 rows per table.
    """
    copied = 0
    for name, (_, table) in SNAPSHOTS.items():
        frame = reader.changed(name, max(0, since_at - OVERLAP_MS), 1_000_000)
        if frame.height:
            stamped = frame.with_columns(pl.lit(now_ms, pl.Int64).alias("snapshot_at"))
            writer.insert_arrow(
                table.physical(generation),
                stamped.to_arrow(compat_level=pl.CompatLevel.oldest()),
            )
            copied += frame.height
    counters.add("warehouse_snapshot_rows", copied)
    return copied
