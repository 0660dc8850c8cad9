"""Keyed state of tasks in the engine's SQLite file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from streams.adapters.state_cache import CachedState

_DDL = (
    "create table if not exists state_space("
    " space_id integer primary key, task text not null, collection text not null,"
    " unique(task, collection))",
    "create table if not exists stage_state("
    " space_id integer not null, key text not null, value blob not null,"
    " primary key(space_id, key)) without rowid",
)


def create_tables(connection: Connection) -> None:
    """Make the state tables where absent."""
    for statement in _DDL:
        connection.exec_driver_sql(statement)


class TaskState(CachedState):
    """The state of one task in SQLite; `bind` gives the connection of each transaction."""

    def bind(self, connection: Connection) -> None:
        """Use this connection, inside whose transaction reads and writes happen."""
        self._connection = connection
        if self._space_ids:
            return
        for collection in self._collections:
            connection.exec_driver_sql(
                "insert or ignore into state_space(task, collection) values(?, ?)",
                (self.task, collection),
            )
        self.attach(connection)

    def attach(self, connection: Connection) -> bool:
        """Use this connection to read; return whether the task has run before."""
        self._connection = connection
        rows = connection.exec_driver_sql(
            "select collection, space_id from state_space where task = ?", (self.task,)
        )
        self._space_ids = {str(row[0]): int(row[1]) for row in rows}
        return self._space_ids.keys() >= set(self._collections)

    def load(self, collection: str, keys: Sequence[str]) -> Iterable[tuple[str, bytes]]:
        """Return (key, encoded value) of those keys that exist."""
        marks = ",".join("?" * len(keys))
        rows = self.connection.exec_driver_sql(
            f"select key, value from stage_state where space_id = ? and key in ({marks})",
            (self._space_ids[collection], *keys),
        )
        return [(key, value) for key, value in rows]

    def load_range(
        self, collection: str, low: str, high: str | None
    ) -> Iterable[tuple[str, bytes]]:
        """Return (key, encoded value) with low <= key < high, ascending."""
        bound = "" if high is None else " and key < ?"
        arguments = (self._space_ids[collection], low, *(() if high is None else (high,)))
        rows = self.connection.exec_driver_sql(
            "select key, value from stage_state where space_id = ? and key >= ?"
            f"{bound} order by key",
            arguments,
        )
        return [(key, value) for key, value in rows]

    def load_first(self, collection: str, low: str) -> Sequence[str]:
        """Return the least key from low on, nothing where there is none."""
        rows = self.connection.exec_driver_sql(
            "select key from stage_state where space_id = ? and key >= ? order by key limit 1",
            (self._space_ids[collection], low),
        )
        return [str(key) for (key,) in rows]

    def write(
        self, puts: Sequence[tuple[str, str, bytes]], deletes: Sequence[tuple[str, str]]
    ) -> None:
        """Write what one step changed."""
        ids = self._space_ids
        if puts:
            self.connection.exec_driver_sql(
                "insert into stage_state values(?, ?, ?)"
                " on conflict(space_id, key) do update set value = excluded.value",
                [(ids[collection], key, value) for collection, key, value in puts],
            )
        if deletes:
            self.connection.exec_driver_sql(
                "delete from stage_state where space_id = ? and key = ?",
                [(ids[collection], key) for collection, key in deletes],
            )
