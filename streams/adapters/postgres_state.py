"""Keyed state of a worker's tasks in PostgreSQL: read by key, written once per round.

What several tasks change in one round goes to the server together: one COPY into a table that
lives as long as the session, one upsert from there, one delete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from streams.adapters.state_cache import CachedState

_COPIED_FROM_ROWS = 200
"""Fewer rows are sent as arrays of one statement, which saves two of three round trips."""

_STAGING = (
    "create temporary table if not exists staged_state(space_id integer not null,"
    ' key text collate "C" not null, value bytea not null) on commit delete rows'
)
_UPSERT = " on conflict(space_id, key) do update set value = excluded.value"


class StateWrites:
    """What the steps of one round have changed, until `flush` sends it."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.puts: dict[tuple[int, str], bytes] = {}
        self.deletes: set[tuple[int, str]] = set()

    def put(self, space_id: int, key: str, value: bytes) -> None:
        """Remember an upsert; it replaces what was remembered of the key."""
        self.deletes.discard((space_id, key))
        self.puts[space_id, key] = value

    def delete(self, space_id: int, key: str) -> None:
        """Remember a removal; it replaces what was remembered of the key."""
        self.puts.pop((space_id, key), None)
        self.deletes.add((space_id, key))

    def flush(self, connection: Connection) -> None:
        """Send everything within the connection's transaction and forget it."""
        if self.puts:
            self._flush_puts(connection)
        if self.deletes:
            spaces, keys = zip(*self.deletes, strict=True)
            connection.exec_driver_sql(
                "delete from stage_state using unnest(%b::int[], %b::text[]) as gone(space, name)"
                " where space_id = gone.space and key = gone.name",
                (list(spaces), list(keys)),
            )
        self.puts, self.deletes = {}, set()

    def _flush_puts(self, connection: Connection) -> None:
        if len(self.puts) < _COPIED_FROM_ROWS:
            spaces, keys = zip(*self.puts, strict=True)
            connection.exec_driver_sql(
                "insert into stage_state select * from"
                f" unnest(%b::int[], %b::text[], %b::bytea[]){_UPSERT}",
                (list(spaces), list(keys), list(self.puts.values())),
            )
            return
        connection.exec_driver_sql(_STAGING)
        rows = ((space_id, key, value) for (space_id, key), value in self.puts.items())
        copy_rows(connection, "staged_state", ("int4", "text", "bytea"), rows)
        connection.exec_driver_sql(f"insert into stage_state select * from staged_state{_UPSERT}")


def copy_rows(
    connection: Connection,
    table: str,
    types: Sequence[str],
    rows: Iterable[Sequence[Any]],
) -> None:
    """Append rows to a table by COPY in its binary form; types are the columns', in order."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"copy {table} from stdin (format binary)") as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


class PostgresState(CachedState):
    """The state of one task in PostgreSQL; changes wait in `writes` for the round's end."""

    def __init__(
        self, task: str, collections: Mapping[str, Any], *, entries_max: int, writes: StateWrites
    ) -> None:
        """Remember the declaration; `bind` gives the connection."""
        super().__init__(task, collections, entries_max=entries_max)
        self._writes = writes

    def bind(self, connection: Connection) -> None:
        """Use this connection, inside whose transaction reads happen."""
        self._connection = connection
        if self._space_ids:
            return
        for collection in self._collections:
            connection.exec_driver_sql(
                "insert into state_space(task, collection) values(%s, %s) on conflict do nothing",
                (self.task, collection),
            )
        self.attach(connection)

    def attach(self, connection: Connection) -> bool:
        """Use this connection to read; return whether the task has run before."""
        self._connection = connection
        rows = connection.exec_driver_sql(
            "select collection, space_id from state_space where task = %s", (self.task,)
        )
        self._space_ids = {str(row[0]): int(row[1]) for row in rows}
        return self._space_ids.keys() >= set(self._collections)

    def load(self, collection: str, keys: Sequence[str]) -> Iterable[tuple[str, bytes]]:
        """Return (key, encoded value) of those keys that exist."""
        rows = self.connection.exec_driver_sql(
            "select key, value from stage_state where space_id = %s and key = any(%s)",
            (self._space_ids[collection], list(keys)),
        )
        return [(key, bytes(value)) for key, value in rows]

    def load_range(
        self, collection: str, low: str, high: str | None
    ) -> Iterable[tuple[str, bytes]]:
        """Return (key, encoded value) with low <= key < high, ascending by octets."""
        bound = "" if high is None else " and key < %s"
        arguments = (self._space_ids[collection], low, *(() if high is None else (high,)))
        rows = self.connection.exec_driver_sql(
            "select key, value from stage_state where space_id = %s and key >= %s"
            f"{bound} order by key",
            arguments,
        )
        return [(key, bytes(value)) for key, value in rows]

    def load_first(self, collection: str, low: str) -> Sequence[str]:
        """Return the least key from low on, nothing where there is none."""
        rows = self.connection.exec_driver_sql(
            "select key from stage_state where space_id = %s and key >= %s order by key limit 1",
            (self._space_ids[collection], low),
        )
        return [str(key) for (key,) in rows]

    def write(
        self, puts: Sequence[tuple[str, str, bytes]], deletes: Sequence[tuple[str, str]]
    ) -> None:
        """Remember what one step changed, for the end of the round."""
        for collection, key, value in puts:
            self._writes.put(self._space_ids[collection], key, value)
        for collection, key in deletes:
            self._writes.delete(self._space_ids[collection], key)
