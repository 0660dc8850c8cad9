"""Rollups derived from the base table by INSERT SELECT, a day at a time: one day fits in memory.

Every rollup's key lies within one UTC day, so days can be derived one by one in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from warehouse.intents import Intent, Source
from warehouse.tables import USAGE_RATED, Table

DAY_SECONDS = 86_400
NO_TOKENS = "insert_deduplicate = 0"
"""Setting of inserts that stand for no log records: equal blocks are not repeats."""


class Commands(Protocol):
    """The part of a clickhouse-connect client that schema and repairs need."""

    def command(self, cmd: str) -> object:
        """Run one statement and return its first value, if it has any."""
        ...


def numbers(client: Commands, expression: str, rest: str) -> list[int]:
    """Return the distinct values of a number over `FROM …` (rest), ascending."""
    found = client.command(
        f"SELECT arrayStringConcat(arraySort(groupUniqArray({expression})), ' ') {rest}"
    )
    return [int(word) for word in str(found).split()]


def days_of(client: Commands, generation: int, condition: str = "1") -> list[int]:
    """Return the UTC days (since 1970) that the base table has rows of."""
    base = USAGE_RATED.physical(generation)
    return numbers(client, "intDiv(minute, 1440)", f"FROM {base} WHERE {condition}")


def of_day(day: int) -> str:
    """Return the condition of the base table's rows of one UTC day."""
    return f"minute >= {day * 1440} AND minute < {(day + 1) * 1440}"


def outside(intents: Mapping[Source, Intent]) -> str:
    """Return the condition of base rows that no open insert will bring (again)."""
    parts = [
        f"NOT (log_generation = {source.log_generation} AND log_partition = {source.partition}"
        f" AND log_position BETWEEN {intent.first_position} AND {intent.last_position})"
        for source, intent in intents.items()
    ]
    return " AND ".join(parts) or "1"


def derive_into(target: str, table: Table, generation: int, condition: str) -> str:
    """Return the statement that adds a rollup's rows, derived from some base rows, to target."""
    names = ", ".join(column.name for column in table.columns)
    return (
        f"INSERT INTO {target} ({names})\nSELECT {names} FROM (\n"
        f"{table.derive(generation, condition)}\n) SETTINGS {NO_TOKENS}"
    )


def fill(
    client: Commands, tables: Sequence[Table], generation: int, intents: Mapping[Source, Intent]
) -> None:
    """Fill new rollups from the whole base and let their views take over; repeatable.

    No sink may insert meanwhile. Rows of open inserts are left out: their replay brings them to
    every view, whether or not the base had them.
    """
    for table in tables:
        target = table.physical(generation)
        client.command(f"DROP VIEW IF EXISTS {target}_fill")
        client.command(f"TRUNCATE TABLE {target}")
        for day in days_of(client, generation):
            client.command(
                derive_into(target, table, generation, f"{of_day(day)} AND {outside(intents)}")
            )
        client.command(table.fill(generation))
