"""What the store process needs: its settings with passwords, and the topic it sinks."""

from __future__ import annotations

import dataclasses
import sqlite3

import polars as pl

from infra.secrets import Secrets
from infra.settings import Settings
from infra.wiring.paths import database_path, store_directory
from streams.adapters import sqlite_topics
from warehouse.config import WarehouseConfig


def warehouse_config(settings: Settings, secrets: Secrets) -> WarehouseConfig:
    """Return the warehouse's settings with directory and passwords filled in.

    Passwords that the settings do not name are the data directory's own: a cluster's processes,
    which have a directory each, are told those of the ClickHouse server.
    """
    return dataclasses.replace(
        settings.warehouse,
        store_directory=str(store_directory(settings)),
        reader_password=settings.warehouse.reader_password or secrets.store_reader_password,
        sink_password=settings.warehouse.sink_password or secrets.store_sink_password,
    )


class RatedTopicReader:
    """Reads `usage.rated` from the engine's file for the sink; opens the file read-only."""

    def __init__(self, settings: Settings) -> None:
        """Remember where the engine's file is; it may not exist yet."""
        self._path = database_path(settings)
        self._partitions = settings.streams.partitions
        self._connection: sqlite3.Connection | None = None

    def read(self, after_position: int, limit_rows: int) -> list[tuple[int, pl.DataFrame]]:
        """Return (position, rows) of whole records behind a position, in order.

        Stops before the record that would exceed limit_rows, but gives at least one. Raises
        sqlite3.Error where the file cannot be read.
        """
        if self._connection is None:
            if not self._path.exists():
                return []
            self._connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode=ro", uri=True, timeout=10.0, check_same_thread=False
            )
        return sqlite_topics.read_bodies(
            self._connection, "usage.rated", after=after_position, rows_max=limit_rows
        )

    def cursor(self, position: int) -> int:
        """Return 0: a position of the engine's topic is found by itself."""
        return 0
