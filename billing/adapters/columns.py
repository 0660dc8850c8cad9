"""How columns of business tables are written, and the one `metadata` that holds the tables."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, MetaData, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables of `billing.adapters.tables`; `infra.migrate` brings a database to exactly this."""

_TYPES: dict[Any, Any] = {int: BigInteger, str: Text, bool: Boolean}


def key_column(name: str) -> Column[Any]:
    """Return a text column of the primary key."""
    return Column(name, Text, primary_key=True)


def text_column(name: str, *, default: str | None = None) -> Column[Any]:
    """Return a text column that is never null; `default` also fills rows written without it."""
    return Column(name, Text, nullable=False, server_default=default)


def number_column(name: str, *, default: str | None = None) -> Column[Any]:
    """Return a 64-bit signed integer column that is never null."""
    return Column(name, BigInteger, nullable=False, server_default=default)


def optional_number(name: str) -> Column[Any]:
    """Return a 64-bit signed integer column that may be null (not yet, or without end)."""
    return Column(name, BigInteger)


def reference_column(name: str, target: str, *, nullable: bool = False) -> Column[Any]:
    """Return a text column that names a row of another table (``table.column``)."""
    return Column(name, Text, ForeignKey(target), nullable=nullable)


def record_columns(record: type, keys: tuple[str, ...]) -> list[Column[Any]]:
    """Return the columns of a record class, in field order; `keys` are the primary key."""
    columns: list[Column[Any]] = []
    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        arguments = typing.get_args(hints[field.name])
        scalar = next((a for a in arguments if a is not type(None)), hints[field.name])
        columns.append(
            Column(
                field.name,
                _TYPES[scalar],
                primary_key=field.name in keys,
                autoincrement=False,
                nullable=type(None) in arguments,
            )
        )
    return columns
