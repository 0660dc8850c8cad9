"""Writes the rows that stages return into their tables, inside the runner's transaction.

SQLite: one prepared statement per class and an executemany per run of equal classes, so that
20,000 subscribers' counters are one call. PostgreSQL: the rows of each class go through COPY, in
the order of their keys; a handful is faster as statements (tests/benchmarks/bench_rows.py).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from billing.adapters.postgres_copy import Upsert, copy_rows
from billing.adapters.tables import ROW_TABLES
from rating.rows import ADDED, KEYS

STATEMENTS_MAX = 16
"""Most rows of a class that PostgreSQL is sent as statements: above, COPY is faster."""


def write_rows(connection: Connection, rows: Iterable[Any]) -> int:
    """Upsert instances of classes of `rating.rows` by their keys, in order; return how many.

    The last row of a key stands; columns of `rating.rows.ADDED` add. Commits nothing. KeyError or
    TypeError: a row of another class. A transaction on PostgreSQL does best with one call: two
    transactions that upsert the same keys in two orders would wait for each other until the server
    ends one.
    """
    if connection.dialect.name == "postgresql":
        return _write_by_class(connection, rows)
    written = 0
    for row_type, group in itertools.groupby(rows, type):
        values = [_values_of(row_type)(row) for row in group]
        connection.exec_driver_sql(upsert_statement(row_type, connection.dialect.name), values)
        written += len(values)
    return written


def _write_by_class(connection: Connection, rows: Iterable[Any]) -> int:
    """Write all rows of each class together: no class refers to another."""
    by_class: dict[type, list[Any]] = {}
    written = 0
    for row in rows:
        by_class.setdefault(type(row), []).append(row)
        written += 1
    values = {row_type: folded(row_type, some) for row_type, some in by_class.items()}
    for row_type in sorted(values, key=lambda row_type: ROW_TABLES[row_type].name):
        some = values[row_type]
        if len(some) > STATEMENTS_MAX:
            copy_rows(connection, _upsert(row_type), some.values())
        else:
            statement = upsert_statement(row_type, connection.dialect.name)
            connection.exec_driver_sql(statement, [some[key] for key in sorted(some)])
    return written


def folded(row_type: type, rows: Sequence[Any]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return one tuple of values per key: the last row's, with the sums of what adds.

    ON CONFLICT cannot touch a row twice in one statement.
    """
    names = _names(row_type)
    places = [names.index(name) for name in KEYS[row_type]]
    added = {names.index(name) for name in ADDED.get(row_type, ())}
    values_of = _values_of(row_type)
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        values = values_of(row)
        key = tuple(values[place] for place in places)
        if added and key in found:
            pairs = enumerate(zip(values, found[key], strict=True))
            values = tuple(new + old if at in added else new for at, (new, old) in pairs)
        found[key] = values
    return found


@functools.cache
def _names(row_type: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(row_type))


@functools.cache
def _values_of(row_type: type) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that gives a row's values in the order of its fields."""
    return operator.attrgetter(*_names(row_type))


@functools.cache
def _upsert(row_type: type) -> Upsert:
    return Upsert(ROW_TABLES[row_type], _names(row_type), KEYS[row_type], _changes(row_type))


def _changes(row_type: type) -> str:
    """Return what an upsert sets where the key is known."""
    table, keys = ROW_TABLES[row_type].name, KEYS[row_type]
    added = ADDED.get(row_type, ())
    return ", ".join(
        f"{name} = {table}.{name} + excluded.{name}"
        if name in added
        else f"{name} = excluded.{name}"
        for name in _names(row_type)
        if name not in keys
    )


@functools.cache
def upsert_statement(row_type: type, dialect: str) -> str:
    """Return the upsert of a row class, with the driver's positional parameters."""
    table, names = ROW_TABLES[row_type].name, _names(row_type)
    mark = "?" if dialect == "sqlite" else "%s"
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"
        f" ON CONFLICT ({', '.join(KEYS[row_type])}) DO UPDATE SET {_changes(row_type)}"
    )
