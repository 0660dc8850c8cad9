"""The schema: derived from the records, and shown whole so that a change of it is seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rating.records import RatedUsage, schema_of
from warehouse.connect import WarehouseClient
from warehouse.migrations import MIGRATIONS, drop, migrate
from warehouse.store import Store, open_writer
from warehouse.tables import SNAPSHOTS, TABLES, USAGE_RATED, columns_of

SCHEMA = Path(__file__).with_name("schema.sql")


def test_the_schema_is_the_one_released() -> None:
    """A table that differs needs a new migration, never a changed one: then write it here.

    Rewrite the file with: python -m tests.warehouse.test_tables
    """
    assert _schema() == SCHEMA.read_text(encoding="utf-8"), "schema changed: add a migration"


def _schema() -> str:
    return "".join(f"{text};\n\n" for m in MIGRATIONS for text in m.statements(1))


def test_the_base_table_has_every_field_of_the_record(reading: WarehouseClient) -> None:
    found = reading.query(
        "SELECT name FROM system.columns WHERE table = 'usage_rated_1' ORDER BY position"
    )
    names = [row[0] for row in found.result_rows]
    assert names == [
        *schema_of(RatedUsage),
        "log_partition",
        "log_position",
        "log_generation",
        "insert_before",
    ]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_remembers_tokens(reading: WarehouseClient, table: object) -> None:
    """A rollup without a window counts a replayed insert twice."""
    name = table.physical(1)  # type: ignore[attr-defined]
    found = reading.query(
        "SELECT engine_full FROM system.tables WHERE name = {name:String}",
        parameters={"name": name},
    )
    assert "non_replicated_deduplication_window = 10000" in found.result_rows[0][0]


def test_migrating_again_does_nothing(store: Store) -> None:
    writer = open_writer(store.engine, store.config)
    assert migrate(writer, 1, 99) == ()
    assert int(str(writer.command("SELECT count() FROM schema_migration"))) == len(MIGRATIONS)
    writer.close()


def test_another_generation_stands_beside_and_takes_the_plain_name(store: Store) -> None:
    writer = open_writer(store.engine, store.config)
    try:
        before = writer.command("SELECT count() FROM usage_rated")
        assert migrate(writer, 2, 99) == tuple(m.number for m in MIGRATIONS)
        assert writer.command("SELECT count() FROM usage_rated") == 0
        assert writer.command("SELECT count() FROM usage_rated_1") == before
    finally:
        migrate(writer, 1, 99)
        drop(writer, 2)
        writer.close()
    assert before > 0


def test_optional_fields_are_nullable() -> None:
    columns = {column.name: column.type for column in SNAPSHOTS["live_session"][1].columns}
    assert columns["ended_at"] == "Nullable(Int64)"
    assert columns["started_at"] == "Int64"


def test_a_field_without_a_column_type_is_refused() -> None:
    odd = dataclasses.make_dataclass("Odd", [("x", dict)])
    with pytest.raises(TypeError, match=r"Odd\.x: no column type"):
        columns_of(odd)


def test_snapshots_are_replaced_by_key() -> None:
    for _, table in SNAPSHOTS.values():
        assert table.engine == "ReplacingMergeTree(snapshot_at)"
        assert table.create(1)[-1].endswith("FINAL")
    assert not USAGE_RATED.create(1)[-1].endswith("FINAL")


if __name__ == "__main__":
    SCHEMA.write_text(_schema(), encoding="utf-8")
