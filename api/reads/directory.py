"""Who belongs to which rating key, read from the directory as the office of record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select

from billing.adapters import tables
from rating.records import DirectoryEntry

_FIELDS = [field.name for field in dataclasses.fields(DirectoryEntry)]


def standing_entries(
    connection: Connection, kind: str, matches: Sequence[str]
) -> list[DirectoryEntry]:
    """Return the newest revision of every entry of a kind with these matches, by valid_from."""
    entry = tables.directory_entry.c
    columns = [entry[name] for name in _FIELDS]
    rows = connection.execute(select(*columns).where(entry.kind == kind, entry.match.in_(matches)))
    return newest(DirectoryEntry(*row) for row in rows)


def newest(entries: Iterable[DirectoryEntry]) -> list[DirectoryEntry]:
    """Return each entry_id's greatest revision, ordered by valid_from_at."""
    standing: dict[str, DirectoryEntry] = {}
    for entry in entries:
        known = standing.get(entry.entry_id)
        if known is None or entry.revision > known.revision:
            standing[entry.entry_id] = entry
    return sorted(standing.values(), key=lambda e: (e.valid_from_at, e.entry_id))


def is_valid(entry: DirectoryEntry, at: int) -> bool:
    """Return whether the entry holds at an instant."""
    until = entry.valid_until_at
    return entry.valid_from_at <= at and (until is None or at < until)


def rating_keys(connection: Connection, subscriber_ids: Sequence[str], at: int) -> dict[str, str]:
    """Return each subscriber's rating key at an instant; its own id where it has no membership.

    A subscriber that was just created belongs to itself from the next minute on.
    """
    keys = {subscriber_id: subscriber_id for subscriber_id in subscriber_ids}
    for entry in standing_entries(connection, "membership", list(subscriber_ids)):
        if is_valid(entry, at):
            keys[entry.match] = entry.target
    return keys


def pool_members(connection: Connection, pool_id: str, at: int) -> list[str]:
    """Return the subscribers that share a pool at an instant, ascending."""
    entry = tables.directory_entry.c
    statement = select(entry.match).where(entry.kind == "membership", entry.target == pool_id)
    candidates = connection.scalars(statement.distinct()).all()
    keys = rating_keys(connection, candidates, at)
    return sorted(subscriber for subscriber, key in keys.items() if key == pool_id)
