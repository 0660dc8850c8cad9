"""Changes of the directory: entries opened and closed at an effective minute."""

from __future__ import annotations

import dataclasses

from sqlalchemy import func, select

from api.instants import to_text
from api.problems import Problem
from api.reads.directory import is_valid, standing_entries
from api.writes.transaction import CommandTransaction
from billing.adapters import tables
from rating.records import DirectoryEntry


def opened(
    transaction: CommandTransaction, kind: str, match: str, target: str, at: int
) -> DirectoryEntry:
    """Return the entry that makes match → target hold from `at` on.

    Its id is made of kind, match and instant; where such an entry exists, its next revision.
    """
    entry_id = f"{kind}/{match}/{at}"
    entry = tables.directory_entry.c
    statement = select(func.max(entry.revision)).where(entry.entry_id == entry_id)
    revision = (transaction.connection.scalar(statement) or 0) + 1
    return DirectoryEntry(entry_id, revision, kind, match, target, 0, at, None)


def closed(transaction: CommandTransaction, kind: str, match: str, at: int) -> list[DirectoryEntry]:
    """Return the entries that end what holds for a match at `at`.

    Raises a 409 Problem where a change is already scheduled behind `at`: two plans for one future
    would leave open which of them the clerk meant.
    """
    ended = []
    for entry in standing_entries(transaction.connection, kind, [match]):
        if entry.valid_from_at > at:
            when = to_text(entry.valid_from_at)
            raise Problem("conflict", f"A change of {match!r} is already scheduled for {when}.")
        if is_valid(entry, at):
            ended.append(dataclasses.replace(entry, revision=entry.revision + 1, valid_until_at=at))
    return ended


def moved(
    transaction: CommandTransaction, kind: str, match: str, target: str, at: int
) -> list[DirectoryEntry]:
    """Return the entries that move a match to another target at `at`.

    An entry that itself began at `at` is not ended but replaced, being the same entry.
    """
    new = opened(transaction, kind, match, target, at)
    old = closed(transaction, kind, match, at)
    return [*(entry for entry in old if entry.entry_id != new.entry_id), new]


def refuse_taken_user_name(transaction: CommandTransaction, user_name: str) -> None:
    """Raise a 409 Problem where a subscriber of any branch logs in under this name.

    A NAS knows no branches, so a User-Name must mean one subscriber in the whole installation.
    """
    subscriber = tables.subscriber.c
    statement = select(subscriber.subscriber_id).where(subscriber.user_name == user_name)
    if transaction.connection.execute(statement).first() is not None:
        raise Problem("conflict", f"The user name {user_name!r} is taken.")
