"""Upserts many rows through COPY: into a temporary table first, from there into the real one.

One session keeps its temporary table (making one per transaction would swell the catalogs), and
each batch is taken out of it in the statement that upserts it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, Table, Text

_TYPES: dict[type, str] = {BigInteger: "int8", Boolean: "bool", Text: "text"}


@dataclasses.dataclass(frozen=True)
class Upsert:
    """Where rows go: the table, its columns in the rows' order, and what happens to known keys.

    changes is the SET list behind ON CONFLICT.
    """

    table: Table
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    changes: str


def copy_rows(connection: Connection, upsert: Upsert, rows: Iterable[Sequence[Any]]) -> None:
    """Upsert rows, no two of the same key, inside the caller's transaction.

    Rows of the table are locked in the order of their keys, so two writers of the same keys wait
    for each other instead of one of them failing. psycopg.DataError: text with a NUL.
    """
    statements = _statements(upsert)
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.execute(statements.make)
        with cursor.copy(statements.copy) as copy:
            copy.set_types(statements.types)
            for row in rows:
                copy.write_row(row)
        cursor.execute(statements.merge)


@dataclasses.dataclass(frozen=True, slots=True)
class _Statements:
    make: str
    copy: str
    merge: str
    types: tuple[str, ...]


@functools.cache
def _statements(upsert: Upsert) -> _Statements:
    """Return what is run for a table; columns and keys are names of ours, never input."""
    name, columns, keys = upsert.table.name, ", ".join(upsert.columns), ", ".join(upsert.keys)
    incoming = f"incoming_{name}"
    return _Statements(
        make=f"CREATE TEMP TABLE IF NOT EXISTS {incoming} (LIKE {name}) ON COMMIT DELETE ROWS",
        copy=f"COPY {incoming} ({columns}) FROM STDIN (FORMAT BINARY)",
        merge=(
            f"WITH taken AS (DELETE FROM {incoming} RETURNING *)"
            f" INSERT INTO {name} ({columns}) SELECT {columns} FROM taken ORDER BY {keys}"
            f" ON CONFLICT ({keys}) DO UPDATE SET {upsert.changes}"
        ),
        types=tuple(_TYPES[type(upsert.table.c[column].type)] for column in upsert.columns),
    )
