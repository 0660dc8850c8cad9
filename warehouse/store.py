"""The store process: sole owner of the chDB directory, with the sink and the HTTP endpoint.

One process holds the directory; everybody else goes through the endpoint with clickhouse-connect's
ordinary HTTP client, exactly as against a server. Start this in a fresh process (spawn, never
fork): a child forked behind the engine's start hangs.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clickhouse_connect
import polars as pl
from clickhouse_connect.driver.exceptions import ClickHouseError

from warehouse.config import WarehouseConfig
from warehouse.endpoint import Endpoint, EndpointServer
from warehouse.engine import Engine
from warehouse.intent_tables import SqliteIntentStore
from warehouse.intents import HeldError, IntentStore, current_generation
from warehouse.metrics import Counters
from warehouse.migrations import migrate
from warehouse.nightly import CheckPorts, NightlyCheck
from warehouse.retention import apply_retention
from warehouse.sink import DivergenceError, RecordReader, Sink
from warehouse.snapshots import SnapshotCopies, SnapshotReader

LOG = logging.getLogger(__name__)

PASSING_ERRORS = (ClickHouseError, sqlite3.Error, OSError, pl.exceptions.PolarsError)
"""What may pass by itself (a full disk, a locked file): the sink waits and replays."""


def chdb_path(config: WarehouseConfig) -> Path:
    """Return the directory that chDB holds."""
    return Path(config.store_directory) / "chdb"


def intents_path(config: WarehouseConfig) -> Path:
    """Return the file of the sink's intents and positions."""
    return Path(config.store_directory) / "store.sqlite"


def open_writer(engine: Engine, config: WarehouseConfig) -> Any:
    """Return an in-process client that writes: the sink's connection to an open engine.

    It is clickhouse-connect's client over chDB: an insert needs no HTTP and no second copy.
    """
    return clickhouse_connect.get_client(
        interface="chdb", path=engine.path, database=config.database
    )


class Store:
    """An open store: engine, schema, endpoint. Use as a context manager."""

    def __init__(self, config: WarehouseConfig, counters: Counters, *, now_ms: int) -> None:
        """Open the engine, bring the schema up to date, and listen (without answering yet).

        RuntimeError where another process holds the directory, OSError where the port is taken,
        ValueError where a password is missing.
        """
        self.config = config
        self.engine = Engine(chdb_path(config))
        try:
            applied = self._migrate(now_ms)
            self._endpoint = Endpoint(config, self.engine, counters)
            self._server = EndpointServer(config, self._endpoint)
        except BaseException:
            self.engine.close()
            raise
        self.port = self._server.port
        LOG.info("store is open", extra={"migrations": applied, "port": self.port})

    def __enter__(self) -> Store:
        """Answer requests from now on."""
        self._server.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Let running requests end, then close the engine."""
        self._server.stop()
        self._endpoint.close()
        self.engine.close()

    def _migrate(self, now_ms: int) -> tuple[int, ...]:
        intents = SqliteIntentStore(intents_path(self.config))
        writer = open_writer(self.engine, self.config)
        try:
            generation = current_generation(intents, self.config.generation)
            applied = migrate(
                writer, generation, now_ms, open_intents=intents.open_intents(generation)
            )
            apply_retention(writer, generation, self.config.retention)
        finally:
            writer.close()
            intents.close()
        return applied

    @property
    def is_serving(self) -> bool:
        """Whether the endpoint's thread runs."""
        return self._server.is_alive


def run(
    config: WarehouseConfig,
    reader: RecordReader,
    *,
    now_ms: Callable[[], int],
    stop: threading.Event,
    snapshots: SnapshotReader | None = None,
    counters: Counters | None = None,
) -> None:
    """Run the store until stop is set: serve the endpoint, sink what the reader gives.

    Raises what opening raises (see `Store`). Where the sink has diverged it stops and the gauge
    `warehouse_sink_diverged` is 1, while the endpoint goes on serving what there is. Returns once
    the insert under way has been committed.
    """
    counted = counters or Counters()
    with Store(config, counted, now_ms=now_ms()) as store:
        intents = SqliteIntentStore(intents_path(config))
        try:
            loop = _SinkLoop(store, reader, intents, counted, snapshots, now_ms)
            loop.run(stop)
        finally:
            intents.close()


class _SinkLoop:
    """Sink and snapshots in turn, each failure retried from what is recorded."""

    def __init__(
        self,
        store: Store,
        reader: RecordReader,
        intents: IntentStore,
        counters: Counters,
        snapshots: SnapshotReader | None,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._config = store.config.sink
        self._reader = reader
        self._intents = intents
        self._counters = counters
        self._copies = SnapshotCopies(snapshots, self._config, counters) if snapshots else None
        self._now_ms = now_ms
        self._nightly = NightlyCheck(
            store.config,
            CheckPorts(
                lambda: open_writer(store.engine, store.config),
                lambda: SqliteIntentStore(intents_path(store.config)),
                now_ms,
            ),
            counters,
        )

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set() and self._store.is_serving:
            # A failed statement leaves its rows on chDB's connection (docs/decisions/0401), so
            # each attempt has a new client.
            writer = open_writer(self._store.engine, self._store.config)
            try:
                self._follow(writer, stop)
            except DivergenceError as error:
                self._counters.set("warehouse_sink_diverged", 1)
                LOG.critical("sink stopped for good, an operator must look: %s", error)
                while self._store.is_serving and not stop.wait(1.0):
                    pass
            except PASSING_ERRORS as error:
                self._counters.add("warehouse_sink_failures")
                LOG.warning("sink waits %s s: %s", self._config.retry_seconds, error)
                stop.wait(self._config.retry_seconds)
            finally:
                writer.close()
        if not stop.is_set():
            raise RuntimeError("the store's endpoint ended by itself")

    def _follow(self, writer: Any, stop: threading.Event) -> None:
        """Sink into the generation in force, until told to stop or another one is."""
        first = self._store.config.generation
        generation = current_generation(self._intents, first)
        sink = Sink(self._config, generation, self._reader, writer, self._intents, self._counters)
        sink.recover()
        while not stop.is_set() and self._store.is_serving:
            if current_generation(self._intents, first) != generation:
                return
            try:
                rows = sink.step()
            except HeldError:
                self._counters.add("warehouse_sink_held")
                rows = 0
            if self._copies is not None:
                self._copies.copy_due(writer, generation, self._now_ms())
            self._nightly.start_if_due(generation)
            if rows < self._config.batch_rows // 2:
                stop.wait(self._config.interval_seconds)
        self._nightly.join(self._config.hold_seconds)
