"""Rows that the stages write: replaced by key, in order; unattributed minutes add."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from sqlalchemy import Engine, select

from billing.adapters.databases import reading, writing
from billing.adapters.rows import upsert_statement, write_rows
from billing.adapters.tables import ROW_TABLES
from rating import rows
from rating.rows import ADDED, KEYS, Alert, PeriodClosing, UnattributedMinute
from tests.billing.conftest import NewDatabase


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    return new_database()


def stored(engine: Engine, row_type: type) -> list[Any]:
    table = ROW_TABLES[row_type]
    columns = [table.c[field.name] for field in dataclasses.fields(row_type)]
    with reading(engine) as connection:
        return [row_type(*row) for row in connection.execute(select(*columns))]


def test_every_row_class_has_its_table() -> None:
    assert set(ROW_TABLES) == set(KEYS)
    assert [n for n in vars(rows) if dataclasses.is_dataclass(vars(rows)[n])] == [
        row.__name__ for row in KEYS
    ]


@pytest.mark.parametrize("row_type", sorted(KEYS, key=str))
def test_each_class_is_written_and_read_back(engine: Engine, row_type: type) -> None:
    values = [
        f"{field.name}-é" if "str" in str(field.type) else number
        for number, field in enumerate(dataclasses.fields(row_type))
    ]
    row = row_type(*[bool(v) if f.type == "bool" else v for v, f in zip(
        values, dataclasses.fields(row_type), strict=True)])  # fmt: skip
    with writing(engine) as connection:
        assert write_rows(connection, [row, row]) == 2
    if row_type not in ADDED:
        assert stored(engine, row_type) == [row]


def test_the_last_row_of_a_key_stands(engine: Engine) -> None:
    first = PeriodClosing("karim", 1, 2, 3, False, "silent")
    last = PeriodClosing("karim", 1, 2, 9, True, "")
    other = Alert("a", "karim", 1, "data", 80, 5, 4, 3)
    with writing(engine) as connection:
        write_rows(connection, [first, other, last])
    assert stored(engine, PeriodClosing) == [last]
    assert stored(engine, Alert) == [other]


def test_unattributed_minutes_add(engine: Engine) -> None:
    with writing(engine) as connection:
        write_rows(connection, [UnattributedMinute("flows", "10.0.0.9", 7, 10, 20)])
        write_rows(connection, [UnattributedMinute("flows", "10.0.0.9", 7, 1, -2)] * 2)
    assert stored(engine, UnattributedMinute) == [
        UnattributedMinute("flows", "10.0.0.9", 7, 12, 16)
    ]


def test_nothing_is_committed_by_itself(engine: Engine) -> None:
    with pytest.raises(TypeError, match="dataclass"), writing(engine) as connection:
        write_rows(connection, [Alert("a", "karim", 1, "data", 80, 5, 4, 3), 7])
    assert stored(engine, Alert) == []


def test_postgresql_takes_the_same_statement_with_its_own_marks() -> None:
    sqlite = upsert_statement(UnattributedMinute, "sqlite")
    assert upsert_statement(UnattributedMinute, "postgresql") == sqlite.replace("?", "%s")
    assert "unattributed_minute.octets_up + excluded.octets_up" in sqlite
