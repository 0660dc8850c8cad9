"""Numbered changes of the warehouse's schema, recorded in the table `schema_migration`.

A migration's statements can be repeated (IF NOT EXISTS, OR REPLACE), because DDL is not
transactional: a migration is recorded after its last statement, and one that a crash cut short is
run again from its first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from warehouse.filling import Commands, fill
from warehouse.intents import Intent, Source
from warehouse.tables import (
    CHARGE_CELL,
    IN_TIME,
    SNAPSHOTS,
    SUBSCRIBER_DAY,
    SUBSCRIBER_HOUR,
    SUBSCRIBER_MINUTE,
    TABLES,
    USAGE_CELL,
    USAGE_MINUTE,
    USAGE_RATED,
    Table,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema. statements(generation) must be repeatable.

    filled are rollups that it adds: they are derived from the base table behind the statements.
    """

    number: int
    name: str
    statements: Callable[[int], tuple[str, ...]]
    filled: tuple[Table, ...] = ()


SECOND_COLUMNS = ("log_generation", "insert_before")
_FIRST_BASE = dataclasses.replace(
    USAGE_RATED, columns=tuple(c for c in USAGE_RATED.columns if c.name not in SECOND_COLUMNS)
)
_FIRST_SNAPSHOTS = ("live_session", "alert", "command", "loss_minute")
_SECOND_SNAPSHOTS = ("session", "invoice", "invoice_line")
_THIRD_SNAPSHOTS = ("loss_hour", "flow_hour")
_SECOND_ROLLUPS = (SUBSCRIBER_MINUTE, SUBSCRIBER_HOUR, SUBSCRIBER_DAY)


def _created(tables: tuple[Table, ...], generation: int) -> tuple[str, ...]:
    return tuple(statement for table in tables for statement in table.create(generation))


def _first_tables(generation: int) -> tuple[str, ...]:
    snapshots = (SNAPSHOTS[name][1] for name in _FIRST_SNAPSHOTS)
    return _created((_FIRST_BASE, USAGE_MINUTE, USAGE_CELL, CHARGE_CELL, *snapshots), generation)


def _cluster_tables(generation: int) -> tuple[str, ...]:
    base = USAGE_RATED.physical(generation)
    added = [column for column in USAGE_RATED.columns if column.name in SECOND_COLUMNS]
    snapshots = (SNAPSHOTS[name][1] for name in _SECOND_SNAPSHOTS)
    return (
        *(f"ALTER TABLE {base} ADD COLUMN IF NOT EXISTS {c.declaration()}" for c in added),
        f"ALTER TABLE {base} ADD CONSTRAINT IF NOT EXISTS {IN_TIME}",
        USAGE_RATED.point(generation),
        *_created((*_SECOND_ROLLUPS, *snapshots), generation),
    )


def _flow_hours(generation: int) -> tuple[str, ...]:
    return _created(tuple(SNAPSHOTS[name][1] for name in _THIRD_SNAPSHOTS), generation)


MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "first tables", _first_tables),
    Migration(2, "usage per subscriber, sessions, invoices", _cluster_tables, _SECOND_ROLLUPS),
    Migration(3, "loss and flow usage per hour", _flow_hours),
)
"""In order and never changed once released; tests/warehouse/schema.sql shows the sum."""

_RECORD = """CREATE TABLE IF NOT EXISTS schema_migration (
  generation UInt16, number UInt32, name String, applied_at Int64
) ENGINE = MergeTree ORDER BY (generation, number)"""


def pending(client: Commands, generation: int) -> tuple[Migration, ...]:
    """Return the migrations that a generation of tables still needs, in order."""
    client.command(_RECORD)
    return tuple(
        migration
        for migration in MIGRATIONS
        if not int(
            str(
                client.command(
                    "SELECT count() FROM schema_migration "
                    f"WHERE generation = {generation:d} AND number = {migration.number:d}"
                )
            )
        )
    )


def migrate(
    client: Commands,
    generation: int,
    now_ms: int,
    *,
    open_intents: Mapping[Source, Intent] | None = None,
    is_current: bool = True,
) -> tuple[int, ...]:
    """Bring one generation of tables to the newest schema; return the numbers applied.

    The plain names then mean this generation, where it is the current one. No sink may insert
    meanwhile; open_intents are the inserts that wait to be replayed. Errors of the engine pass
    through and leave the failed migration unrecorded, so that the next call repeats it.
    """
    applied = []
    for migration in pending(client, generation):
        for statement in migration.statements(generation):
            if is_current or not statement.startswith("CREATE OR REPLACE VIEW"):
                client.command(statement)
        fill(client, migration.filled, generation, open_intents or {})
        client.command(
            "INSERT INTO schema_migration VALUES "
            f"({generation:d}, {migration.number:d}, '{migration.name}', {now_ms:d})"
        )
        applied.append(migration.number)
    if is_current:
        point(client, generation)
    return tuple(applied)


def point(client: Commands, generation: int) -> None:
    """Let the plain names mean a generation, one after the other; each by itself at once."""
    for table in TABLES:
        client.command(table.point(generation))


def drop(client: Commands, generation: int) -> None:
    """Delete a generation's tables and views; repeatable. The plain names must mean another."""
    for table in reversed(TABLES):
        client.command(f"DROP VIEW IF EXISTS {table.physical(generation)}_fill")
        client.command(f"DROP TABLE IF EXISTS {table.physical(generation)}")
    client.command(
        f"ALTER TABLE schema_migration DELETE WHERE generation = {generation:d}"
        " SETTINGS mutations_sync = 2"
    )
