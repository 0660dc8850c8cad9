"""Backup of a cluster's PostgreSQL and warehouse while it runs, and both filled from one.

PostgreSQL's snapshot is the one moment: pg_dump reads it, and of the warehouse travel the rows up
to the sink's positions in it. What Kafka holds stays there: `align` sets the restored tasks on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, create_engine

from infra.backups import postgres_dump, rated
from infra.backups.manifest import BackupError, Manifest, RatedPart
from infra.secrets import open_secrets
from infra.settings import Settings
from infra.wiring.books import Books, examine_books
from infra.wiring.paths import database_url
from infra.wiring.store import warehouse_config
from streams.progress import Standing
from warehouse.config import WarehouseConfig
from warehouse.exports import Reached
from warehouse.intents import CURRENT, Source

DATABASE = Path("database/flowrate.dump")
WAREHOUSE = Path("warehouse")

_OBJECTS = (
    "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'"
)


def create(settings: Settings, directory: Path, *, has_warehouse: bool) -> tuple[Manifest, Books]:
    """Fill a backup's folder from PostgreSQL and the warehouse; return manifest without parts.

    BackupError where pg_dump fails; errors of database and warehouse pass through.
    """
    engine = open_snapshots(settings)
    try:
        with engine.connect() as connection, connection.begin():
            snapshot = connection.exec_driver_sql("select pg_export_snapshot()").scalar_one()
            books = examine_books(connection)
            generation = _topic_generation(connection)
            positions = {
                task: dict(standing.offsets) for task, standing in standings(connection).items()
            }
            postgres_dump.dump(database_url(settings), directory / DATABASE, snapshot=str(snapshot))
            tables, reached = sinks(connection, settings.warehouse.generation)
    finally:
        engine.dispose()
    part = None
    if has_warehouse:
        part = rated.export(_warehouse(settings), tables, reached, directory / WAREHOUSE)
    return _manifest(books, generation, positions, part), books


def restore(settings: Settings, directory: Path, manifest: Manifest, now_ms: int) -> Books:
    """Fill an empty database and an empty generation of tables; return the restored books.

    BackupError where either holds something already; then nothing has changed.
    """
    engine = open_snapshots(settings)
    try:
        with engine.connect() as connection:
            held = connection.exec_driver_sql(_OBJECTS).scalar_one()
        if held:
            raise BackupError(
                f"the database holds {held} tables, indexes and sequences: a backup is restored"
                " into an empty one (createdb)"
            )
        if manifest.warehouse is not None:
            rated.load(_warehouse(settings), manifest.warehouse, directory / WAREHOUSE, now_ms)
        postgres_dump.restore(database_url(settings), directory / DATABASE)
        with engine.connect() as connection:
            return examine_books(connection)
    finally:
        engine.dispose()


def _warehouse(settings: Settings) -> WarehouseConfig:
    return warehouse_config(settings, open_secrets(settings.data_dir))


def open_snapshots(settings: Settings) -> Engine:
    """Return an engine whose transactions see one snapshot each."""
    return create_engine(database_url(settings), isolation_level="REPEATABLE READ")


def standings(connection: Connection) -> dict[str, Standing]:
    """Return how far each task that ever ran is; empty where no worker has run."""
    if not exists(connection, "stage_task"):
        return {}
    rows = connection.exec_driver_sql(
        "select task, standing from stage_task where length(standing) > 0 order by task"
    )
    return {
        str(task): msgspec.msgpack.decode(bytes(encoded), type=Standing) for task, encoded in rows
    }


def sinks(connection: Connection, first: int) -> tuple[int, list[Reached]]:
    """Return the generation of tables in force and how far the sinks have filled it.

    first is the generation in force where none was ever recorded.
    """
    if not exists(connection, "sink_position"):
        return first, []
    current = connection.exec_driver_sql(
        "select max(generation) from warehouse_generation where state = %s", (CURRENT,)
    ).scalar()
    generation = int(current or first)
    rows = connection.exec_driver_sql(
        "select topic, partition, last_position from sink_position where generation = %s"
        " order by topic, partition",
        (generation,),
    )
    sources = [(Source(generation, topic, partition), last) for topic, partition, last in rows]
    return generation, [Reached(s.log_generation, s.partition, int(last)) for s, last in sources]


def _topic_generation(connection: Connection) -> int:
    if not exists(connection, "topic_generation"):
        return 0
    found: Any = connection.exec_driver_sql(
        "select max(generation) from topic_generation where state in ('running', 'draining')"
    ).scalar()
    return int(found or 0)


def exists(connection: Connection, table: str) -> bool:
    """Return whether the database has a table."""
    found = connection.exec_driver_sql("select to_regclass(%s)", (table,)).scalar()
    return found is not None


def _manifest(
    books: Books, generation: int, positions: dict[str, dict[str, int]], part: RatedPart | None
) -> Manifest:
    return Manifest(
        form=1,
        mode="cluster",
        version="",
        schema_revision=books.schema_revision,
        made_at=0,
        topic_generation=generation,
        positions=positions,
        chain_heads=books.chain_heads,
        warehouse=part,
        parts=(),
    )
