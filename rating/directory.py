"""Who is who at an instant: identities, static prefixes and memberships, versioned in time.

A stage keeps the rows of topic `directory` that it needs in three collections of its own state:

* ``directory``: ``kind/match`` -> every standing entry of that match: a lookup is one keyed read;
* ``directory_entries``: entry_id -> where its standing revision lies, so that a revision that
  changes the match leaves its old place;
* ``directory_marks``: who is in a pool, as a digest (`rating.pool_members`).

Where several entries of one match hold at an instant, the greatest priority wins, then the latest
valid_from, then the greatest entry_id: an order that does not depend on arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl

from rating.addresses import parse_prefix
from rating.knots import MINUTE_MS
from rating.pool_members import MARKS, PoolMembers, is_pooled
from rating.ports import Delete, Put, StateView

IDENTITY = "identity"
STATIC_PREFIX = "static_prefix"
MEMBERSHIP = "membership"


def user_identity(user_name: str) -> str:
    """Return the identity of a user name, whether RADIUS or a flow tells it."""
    return f"user_name:{user_name}"


class Entry(NamedTuple):
    """One standing directory entry of a match."""

    entry_id: str
    revision: int
    target: str
    priority: int
    valid_from_at: int
    valid_until_at: int | None

    def holds_at(self, at_ms: int) -> bool:
        """Return whether the entry is valid at an instant (ms): from included, until not."""
        return self.valid_from_at <= at_ms and (
            self.valid_until_at is None or at_ms < self.valid_until_at
        )


class Place(NamedTuple):
    """Where the standing revision of an entry_id lies."""

    revision: int
    key: str


COLLECTIONS: dict[str, object] = {
    "directory": tuple[Entry, ...],
    "directory_entries": Place,
    MARKS: bytes,
}
"""State that a stage with a directory declares, besides its own."""


def standing(entries: Iterable[Entry], at_ms: int) -> str | None:
    """Return the target of the entry that stands at an instant (ms), or None."""
    best: Entry | None = None
    for entry in entries:
        if entry.holds_at(at_ms) and (best is None or _rank(entry) > _rank(best)):
            best = entry
    return None if best is None else best.target


def _is_steady(entries: Iterable[Entry], from_at: int, until_at: int) -> bool:
    """Return whether the same entries are valid at all instants (ms) of a span."""
    for entry in entries:
        if from_at < entry.valid_from_at <= until_at:
            return False
        if entry.valid_until_at is not None and from_at < entry.valid_until_at <= until_at:
            return False
    return True


def _rank(entry: Entry) -> tuple[int, int, str]:
    return entry.priority, entry.valid_from_at, entry.entry_id


class Directory:
    """The directory as one step sees it: committed state plus the rows of its own batch.

    `changes` holds what the step has to commit.
    """

    def __init__(self, view: StateView, kinds: frozenset[str]) -> None:
        """Look up in `view`; take only rows of `kinds`."""
        self._view = view
        self._kinds = kinds
        self._matches: dict[str, tuple[Entry, ...]] = {}
        self._places: dict[str, Place] = {}
        self._found: dict[tuple[tuple[str, ...], int], str] = {}
        self._pool_members = PoolMembers(view)
        self.changes: list[Put | Delete] = []

    def take(self, rows: pl.DataFrame) -> None:
        """Take rows of topic `directory`, in any order; of one entry_id the revision stands."""
        if rows.is_empty():
            return
        touched: set[str] = set()
        concerned = rows.filter(pl.col("kind").is_in(list(self._kinds)))
        if concerned.is_empty():
            return
        self._found.clear()
        ids, keys = concerned["entry_id"], concerned["kind"] + "/" + concerned["match"]
        self._places |= self._view.get_many("directory_entries", set(ids) - self._places.keys())
        self._read(keys)
        for row in concerned.iter_rows(named=True):
            entry_id, revision = row["entry_id"], row["revision"]
            place = self._places.get(entry_id)
            if place is not None and place.revision >= revision:
                continue
            key = f"{row['kind']}/{row['match']}"
            if place is not None:
                self._leave(place.key, entry_id)
                touched.add(place.key)
            columns = ("target", "priority", "valid_from_at", "valid_until_at")
            entry = Entry(entry_id, revision, *(row[name] for name in columns))
            self._matches[key] = (*self._entries(key), entry)
            self._places[entry_id] = Place(revision, key)
            touched.add(key)
            self.changes.append(Put("directory_entries", entry_id, self._places[entry_id]))
        memberships_changed = False
        for key in sorted(touched):
            entries = self._matches[key]
            self.changes.append(
                Put("directory", key, entries) if entries else Delete("directory", key)
            )
            kind, _, match = key.partition("/")
            if kind == MEMBERSHIP:
                self._pool_members.change(match, is_pooled(match, (e.target for e in entries)))
                memberships_changed = True
        if memberships_changed:
            self.changes.append(self._pool_members.put())

    def _read(self, keys: Iterable[str]) -> None:
        """Read many matches at once; a view of a database asks it once for all of them."""
        absent = set(keys) - self._matches.keys()
        found = self._view.get_many("directory", absent) if absent else {}
        for key in absent:
            self._matches[key] = found.get(key, ())

    def _leave(self, key: str, entry_id: str) -> None:
        self._matches[key] = tuple(e for e in self._entries(key) if e.entry_id != entry_id)

    def _entries(self, key: str) -> tuple[Entry, ...]:
        entries = self._matches.get(key)
        if entries is None:
            entries = self._view.get("directory", key) or ()
            self._matches[key] = entries
        return entries

    def subscriber_at(self, identity: str, at_ms: int) -> str | None:
        """Return the subscriber_id that an identity ``kind:value`` names at an instant, or None."""
        return standing(self._entries(f"{IDENTITY}/{identity}"), at_ms)

    def first_subscriber_at(self, identities: tuple[str, ...], at_ms: int) -> str:
        """Return the subscriber_id of the first identity that is known, "" where none is."""
        found = self._found.get((identities, at_ms))
        if found is None:
            named = (self.subscriber_at(identity, at_ms) for identity in identities)
            found = next((name for name in named if name is not None), "")
            self._found[identities, at_ms] = found
        return found

    def users_at(self, user_names: Sequence[str], at_ms: int) -> dict[str, str]:
        """Return user name -> subscriber_id of those that are known at an instant (ms)."""
        self._read(f"{IDENTITY}/{user_identity(name)}" for name in user_names)
        found = {name: self.subscriber_at(user_identity(name), at_ms) for name in user_names}
        return {name: subscriber for name, subscriber in found.items() if subscriber is not None}

    def rating_key_at(self, subscriber_id: str, minute: int) -> str:
        """Return the rating key that a subscriber's usage of a minute belongs to.

        Without a membership that is the subscriber_id itself.
        """
        target = standing(self._entries(f"{MEMBERSHIP}/{subscriber_id}"), minute * MINUTE_MS)
        return subscriber_id if target is None else target

    def owners(self, identities: tuple[str, ...], minutes: Sequence[int]) -> list[tuple[str, str]]:
        """Return whom identities name, and the rating key, in each of ascending minutes.

        Both are "" where the directory has nobody.
        """
        owner = self._owner(identities, minutes[0])
        if len(minutes) == 1:
            return [owner]
        keys = [f"{IDENTITY}/{identity}" for identity in identities]
        if owner[0]:
            keys.append(f"{MEMBERSHIP}/{owner[0]}")
        span = (minutes[0] * MINUTE_MS, minutes[-1] * MINUTE_MS)
        for key in keys:
            if not _is_steady(self._entries(key), *span):
                return [self._owner(identities, minute) for minute in minutes]
        return [owner] * len(minutes)

    def _owner(self, identities: tuple[str, ...], minute: int) -> tuple[str, str]:
        subscriber_id = self.first_subscriber_at(identities, minute * MINUTE_MS)
        return subscriber_id, self.rating_key_at(subscriber_id, minute) if subscriber_id else ""

    def members(self, subscriber_ids: Iterable[str]) -> set[str]:
        """Return those subscribers that have a membership at any time, read at once."""
        keys = {subscriber_id: f"{MEMBERSHIP}/{subscriber_id}" for subscriber_id in subscriber_ids}
        self._read(keys.values())
        return {subscriber_id for subscriber_id, key in keys.items() if self._matches[key]}

    def pool_members(self) -> frozenset[str]:
        """Return every subscriber that is in a pool at any time."""
        return self._pool_members.all()

    def read_identities(self, identities: Iterable[str]) -> None:
        """Read at once what lookups of these identities, and of whom they name, will ask for."""
        keys = {f"{IDENTITY}/{identity}" for identity in identities}
        self._read(keys)
        self.members({entry.target for key in keys for entry in self._matches[key]})

    def static_prefixes(self) -> list[tuple[str, Entry]]:
        """Return every (prefix text, entry) of kind static_prefix, in no particular order."""
        low = f"{STATIC_PREFIX}/"
        held = dict(self._view.scan("directory", low, f"{STATIC_PREFIX}0"))
        held.update({key: new for key, new in self._matches.items() if key.startswith(low)})
        return [(key[len(low) :], entry) for key, entries in held.items() for entry in entries]

    def static_subscriber_at(self, address: bytes, at_ms: int) -> str | None:
        """Return who holds a 16-octet address by static prefix at an instant: longest match.

        A match that is no prefix is passed over (the API refuses it).
        """
        whole = int.from_bytes(address, "big")
        best: tuple[int, tuple[int, int, str], str] | None = None
        for text, entry in self.static_prefixes():
            if not entry.holds_at(at_ms):
                continue
            try:
                prefix = parse_prefix(text)
            except ValueError:
                continue
            shift = 128 - prefix.length
            if whole >> shift != int.from_bytes(prefix.address, "big") >> shift:
                continue
            found = (prefix.length, _rank(entry), entry.target)
            if best is None or found > best:
                best = found
        return None if best is None else best[2]
