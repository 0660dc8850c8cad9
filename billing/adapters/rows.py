"""Writes the rows that stages return into their tables, inside the runner's transaction.

One prepared statement per class and an executemany per run of equal classes: 20,000 subscribers'
counters are one call. The SQL is the part that SQLite and PostgreSQL spell alike.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection

from billing.adapters.tables import ROW_TABLES
from rating.rows import ADDED, KEYS


def write_rows(connection: Connection, rows: Iterable[Any]) -> int:
    """Upsert instances of classes of `rating.rows` by their keys, in order; return how many.

    The last row of a key stands; columns of `rating.rows.ADDED` add. Commits nothing. KeyError or
    TypeError: a row of another class.
    """
    written = 0
    for row_type, group in itertools.groupby(rows, type):
        values = [_values_of(row_type)(row) for row in group]
        connection.exec_driver_sql(upsert_statement(row_type, connection.dialect.name), values)
        written += len(values)
    return written


@functools.cache
def _values_of(row_type: type) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that gives a row's values in the order of its fields."""
    names = [field.name for field in dataclasses.fields(row_type)]
    return operator.attrgetter(*names)


@functools.cache
def upsert_statement(row_type: type, dialect: str) -> str:
    """Return the upsert of a row class, with the driver's positional parameters."""
    table, keys = ROW_TABLES[row_type].name, KEYS[row_type]
    names = [field.name for field in dataclasses.fields(row_type)]
    mark = "?" if dialect == "sqlite" else "%s"
    added = ADDED.get(row_type, ())
    changes = [
        f"{name} = {table}.{name} + excluded.{name}"
        if name in added
        else f"{name} = excluded.{name}"
        for name in names
        if name not in keys
    ]
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(changes)}"
    )
