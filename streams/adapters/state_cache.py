"""A bounded cache of decoded state values in front of a database; subclasses have the SQL.

The cache is written through inside the runner's transaction. A failed transaction ends the
process (crash-only), so cache and database cannot part.
"""

from __future__ import annotations

import abc
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from rating.ports import Delete, Put
from streams.codec import decode_value, encode_value

_KEYS_PER_QUERY = 500
_ABOVE_ALL = "\U0010ffff"
"""Above any key."""
_WHOLE_ENTRIES_MAX = 4_096
"""Entries up to which a collection that was read as a whole stays in memory as a whole."""


class CachedState(abc.ABC):
    """A `rating.ports.StateView` of one task; `apply` writes the changes of one step.

    collections maps each collection's name to the type of its values. Values that came out are
    shared with the cache: nobody may change them.
    """

    def __init__(self, task: str, collections: Mapping[str, Any], *, entries_max: int) -> None:
        """Start with an empty cache of at most entries_max values."""
        self.task = task
        self._collections = dict(collections)
        self._entries_max = entries_max
        self._cache: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._evicted = 0
        self._space_ids: dict[str, int] = {}
        self._connection: Connection | None = None
        # Collections known completely, and for others a key below which they hold nothing: steps
        # ask each time for their timers and for what they keep a little of.
        self._whole: dict[str, dict[str, Any]] = {}
        self._least: dict[str, str] = {}

    @property
    def connection(self) -> Connection:
        """The bound connection; an unbound state is a bug of the runner."""
        assert self._connection is not None, f"state of {self.task} is not bound"
        return self._connection

    @abc.abstractmethod
    def load(self, collection: str, keys: Sequence[str]) -> Iterable[tuple[str, bytes]]:
        """Return (key, encoded value) of those keys that exist."""

    @abc.abstractmethod
    def load_range(
        self, collection: str, low: str, high: str | None
    ) -> Iterable[tuple[str, bytes]]:
        """Return (key, encoded value) with low <= key < high, ascending by octets."""

    @abc.abstractmethod
    def load_first(self, collection: str, low: str) -> Sequence[str]:
        """Return the least key from low on, nothing where there is none."""

    @abc.abstractmethod
    def write(
        self, puts: Sequence[tuple[str, str, bytes]], deletes: Sequence[tuple[str, str]]
    ) -> None:
        """Write (collection, key, encoded value) and delete (collection, key)."""

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
        loaded = {key: decode_value(value, kind) for key, value in self.load(collection, keys)}
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
        whole = self._whole.get(collection)
        if whole is not None:
            found = [k for k in whole if low <= k and (high is None or k < high)]
            yield from [(key, whole[key]) for key in sorted(found)]
        elif high is None or self._least.get(collection, "") < high:
            yield from self._scan(collection, low, high)

    def _scan(self, collection: str, low: str, high: str | None) -> list[tuple[str, Any]]:
        kind = self._collections[collection]
        found = []
        for key, value in self.load_range(collection, low, high):
            cached = self._cache.get((collection, key))
            found.append((key, cached if cached is not None else decode_value(value, kind)))
        if low == "" and high is not None:
            # Else the next look, a moment later, would be just above this one.
            self._least[collection] = found[0][0] if found else self._first_key(collection, high)
        elif low == "" and len(found) <= _WHOLE_ENTRIES_MAX:
            self._whole[collection] = dict(found)
        return found

    def _first_key(self, collection: str, low: str) -> str:
        return next(iter(self.load_first(collection, low)), _ABOVE_ALL)

    def _follow(self, change: Put | Delete) -> None:
        """Keep what is known of a change's collection true."""
        collection, key = change.collection, change.key
        if collection in self._least and isinstance(change, Put):
            self._least[collection] = min(self._least[collection], key)
        whole = self._whole.get(collection)
        if whole is None:
            return
        if isinstance(change, Put):
            whole[key] = change.value
        else:
            whole.pop(key, None)
        if len(whole) > _WHOLE_ENTRIES_MAX:
            del self._whole[collection]

    def apply(self, changes: Iterable[Put | Delete]) -> None:
        """Write one step's changes; the last change of a key stands."""
        final = {(change.collection, change.key): change for change in changes}
        puts: list[tuple[str, str, bytes]] = []
        deletes: list[tuple[str, str]] = []
        for slot, change in final.items():
            self._follow(change)
            if isinstance(change, Put):
                puts.append((*slot, encode_value(change.value)))
                self._remember(slot, change.value)
            else:
                deletes.append(slot)
                self._remember(slot, None)
        self.write(puts, deletes)
