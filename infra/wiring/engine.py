"""What the engine process needs: the stage runner over SQLite; and the database's schema."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import polars as pl
from sqlalchemy import Connection

from billing.adapters.databases import open_database, reading, writing
from billing.adapters.rows import write_rows
from collectors.adapters.segments import SegmentReader
from infra.settings import Settings
from infra.wiring.databases import business_database
from infra.wiring.paths import LOGS, database_url, log_directory, store_directory
from streams.adapters.asn_store import StoredAsnTables
from streams.embedded import EmbeddedRunner
from streams.sessions import SessionsStageConfig
from streams.topology import StageConfigs, build_stages
from warehouse.intents import kept_position

RATED_TOPIC = "usage.rated"
INTENTS_FILE = "store.sqlite"


def runner(
    settings: Settings, on_committed: Callable[[str, pl.DataFrame], object] | None = None
) -> EmbeddedRunner:
    """Return the stage runner; taking it ends the right of an older one to write.

    on_committed is told topic and rows of each output once its pass has been committed.
    """
    database = open_database(database_url(settings))
    return EmbeddedRunner(
        lambda: writing(database),
        build_stages(stage_configs(settings)),
        {log: SegmentReader(log_directory(settings, log)) for log in LOGS},
        write_rows,
        settings.streams,
        on_committed,
    )


def stage_configs(settings: Settings) -> StageConfigs:
    """Return each stage's settings."""
    return StageConfigs(
        decode=settings.rating.decode,
        sessions=SessionsStageConfig(settings.rating.sessions, settings.collectors.radius),
        attribute=settings.rating.attribution,
        rate=settings.rating.rate,
        asn_tables=asn_tables(settings),
    )


def asn_tables(settings: Settings) -> StoredAsnTables:
    """Return the AS files in the business database, each read when first asked for."""

    @contextlib.contextmanager
    def read() -> Iterator[Connection]:
        database = business_database(settings, "asn")
        try:
            with reading(database) as connection:
                yield connection
        finally:
            database.dispose()

    return StoredAsnTables(read)


def sink_position(settings: Settings) -> int:
    """Return up to where every generation of the warehouse has `usage.rated`; 0 before it ran."""
    path = store_directory(settings) / INTENTS_FILE
    sink = settings.warehouse.sink
    return kept_position(path, settings.warehouse.generation, sink.topic, sink.partition)
