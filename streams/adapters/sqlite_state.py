"""Keyed state of tasks in the engine's SQLite file, with a bounded cache of decoded values.

The cache is written through inside the runner's transaction. A failed transaction ends the
process (crash-only), so cache and file cannot part.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from rating.ports import Delete, Put
from streams.codec import decode_value, encode_value

_DDL = (
    "create table if not exists state_space("
    " space_id integer primary key, task text not null, collection text not null,"
    " unique(task, collection))",
    "create table if not exists stage_state("
    " space_id integer not null, key text not null, value blob not null,"
    " primary key(space_id, key)) without rowid",
)
_KEYS_PER_QUERY = 500


def create_tables(connection: Connection) -> None:
    """Make the state tables where absent."""
    for statement in _DDL:
        connection.exec_driver_sql(statement)


class TaskState:
    """A `rating.ports.StateView` of one task; `apply` writes the changes of one step.

    collections maps each collection's name to the type of its values. Values that came out are
    shared with the cache: nobody may change them.
    """

    def __init__(self, task: str, collections: Mapping[str, Any], *, entries_max: int) -> None:
        """Remember the declaration; `bind` gives the connection."""
        self._task = task
        self._collections = dict(collections)
        self._entries_max = entries_max
        self._cache: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._space_ids: dict[str, int] = {}
        self._connection: Connection | None = None
        self._evicted = 0

    def bind(self, connection: Connection) -> None:
        """Use this connection, inside whose transaction reads and writes happen."""
        self._connection = connection
        if self._space_ids:
            return
        for collection in self._collections:
            connection.exec_driver_sql(
                "insert or ignore into state_space(task, collection) values(?, ?)",
                (self._task, collection),
            )
        rows = connection.exec_driver_sql(
            "select collection, space_id from state_space where task = ?", (self._task,)
        )
        self._space_ids = {str(row[0]): int(row[1]) for row in rows}

    @property
    def connection(self) -> Connection:
        """The bound connection; an unbound state is a bug of the runner."""
        assert self._connection is not None, f"state of {self._task} is not bound"
        return self._connection

    def get(self, collection: str, key: str) -> Any:
        """Return the value, or None where the key is absent."""
        return self.get_many(collection, (key,)).get(key)

    def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that exist."""
        found: dict[str, Any] = {}
        missing: list[str] = []
        for key in keys:
            slot = (collection, key)
            if slot in self._cache:
                self._cache.move_to_end(slot)
                value = self._cache[slot]
                if value is not None:
                    found[key] = value
            else:
                missing.append(key)
        for start in range(0, len(missing), _KEYS_PER_QUERY):
            found.update(self._load(collection, missing[start : start + _KEYS_PER_QUERY]))
        return found

    def _load(self, collection: str, keys: Sequence[str]) -> dict[str, Any]:
        kind = self._collections[collection]
        marks = ",".join("?" * len(keys))
        rows = self.connection.exec_driver_sql(
            f"select key, value from stage_state where space_id = ? and key in ({marks})",
            (self._space_ids[collection], *keys),
        )
        loaded = {key: decode_value(value, kind) for key, value in rows}
        for key in keys:
            # None is remembered too: most keys that a step looks up and misses it asks for again.
            self._remember((collection, key), loaded.get(key))
        return loaded

    def _remember(self, slot: tuple[str, str], value: Any) -> None:
        self._cache[slot] = value
        self._cache.move_to_end(slot)
        while len(self._cache) > self._entries_max:
            self._cache.popitem(last=False)
            self._evicted += 1

    def take_evicted(self) -> int:
        """Return how many values left the cache for want of room since this was last asked."""
        taken, self._evicted = self._evicted, 0
        return taken

    def scan(self, collection: str, low: str = "", high: str | None = None) -> Iterator[Any]:
        """Yield (key, value) with low <= key < high in ascending key order."""
        kind = self._collections[collection]
        bound = "" if high is None else " and key < ?"
        arguments = (self._space_ids[collection], low, *(() if high is None else (high,)))
        rows = self.connection.exec_driver_sql(
            "select key, value from stage_state where space_id = ? and key >= ?"
            f"{bound} order by key",
            arguments,
        ).fetchall()
        for key, value in rows:
            cached = self._cache.get((collection, key))
            yield key, (cached if cached is not None else decode_value(value, kind))

    def apply(self, changes: Iterable[Put | Delete]) -> None:
        """Write one step's changes; the last change of a key stands."""
        final = {(change.collection, change.key): change for change in changes}
        puts: list[tuple[int, str, bytes]] = []
        deletes: list[tuple[int, str]] = []
        for slot, change in final.items():
            space_id = self._space_ids[change.collection]
            if isinstance(change, Put):
                puts.append((space_id, change.key, encode_value(change.value)))
                self._remember(slot, change.value)
            else:
                deletes.append((space_id, change.key))
                self._remember(slot, None)
        if puts:
            self.connection.exec_driver_sql(
                "insert into stage_state values(?, ?, ?)"
                " on conflict(space_id, key) do update set value = excluded.value",
                puts,
            )
        if deletes:
            self.connection.exec_driver_sql(
                "delete from stage_state where space_id = ? and key = ?", deletes
            )
