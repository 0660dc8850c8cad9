"""Numbered changes of the warehouse's schema, recorded in the table `schema_migration`.

A migration's statements can be repeated (IF NOT EXISTS, OR REPLACE), because DDL is not
transactional: a migration is recorded after its last statement, and one that a crash cut short is
run again from its first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from warehouse.tables import TABLES


class Commands(Protocol):
    """The part of a clickhouse-connect client that migrations need."""

    def command(self, cmd: str) -> object:
        """Run one statement and return its first value, if it has any."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema. statements(generation) must be repeatable."""

    number: int
    name: str
    statements: Callable[[int], tuple[str, ...]]


def _first_tables(generation: int) -> tuple[str, ...]:
    return tuple(statement for table in TABLES for statement in table.create(generation))


MIGRATIONS: tuple[Migration, ...] = (Migration(1, "first tables", _first_tables),)
"""In order and never changed once released; tests/warehouse/schema.sql shows the sum."""

_RECORD = """CREATE TABLE IF NOT EXISTS schema_migration (
  generation UInt16, number UInt32, name String, applied_at Int64
) ENGINE = MergeTree ORDER BY (generation, number)"""


def migrate(client: Commands, generation: int, now_ms: int) -> tuple[int, ...]:
    """Bring one generation of tables to the newest schema; return the numbers applied.

    The plain names then mean this generation. Errors of the engine pass through and leave the
    failed migration unrecorded, so that the next call repeats it.
    """
    client.command(_RECORD)
    applied = []
    for migration in MIGRATIONS:
        done = client.command(
            "SELECT count() FROM schema_migration "
            f"WHERE generation = {generation:d} AND number = {migration.number:d}"
        )
        if int(str(done)):
            continue
        for statement in migration.statements(generation):
            client.command(statement)
        client.command(
            "INSERT INTO schema_migration VALUES "
            f"({generation:d}, {migration.number:d}, '{migration.name}', {now_ms:d})"
        )
        applied.append(migration.number)
    for table in TABLES:
        client.command(table.point(generation))
    return tuple(applied)
