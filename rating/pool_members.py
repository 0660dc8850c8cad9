"""Which subscribers are in a pool at any time, all at once: usage of everybody asks, few are.

A membership of oneself says as much as none. Each change of memberships writes a mark, a digest of
the mark before and of what changed. What was read once at a mark, and followed since, is true of
every state with that mark: a step that was not committed leaves another mark, and everything is
read again.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable

from rating.ports import Put, StateView

MARKS = "directory_marks"
_MARK = "membership"
_LOW, _HIGH = "membership/", "membership0"

_KNOWN: weakref.WeakKeyDictionary[StateView, dict[bytes | None, frozenset[str]]] = (
    weakref.WeakKeyDictionary()
)
"""View -> mark (None: no change since there are marks) -> subscribers in a pool."""


def is_pooled(subscriber_id: str, targets: Iterable[str]) -> bool:
    """Return whether memberships with these targets can make another rating key than one's own."""
    return any(target != subscriber_id for target in targets)


class PoolMembers:
    """The members as one step sees them: committed state plus what the step changes."""

    def __init__(self, view: StateView) -> None:
        """Read nothing before it is asked for."""
        self._view = view
        self._changed: dict[str, bool] = {}

    def change(self, subscriber_id: str, is_member: bool) -> None:
        """Take that a subscriber is in a pool at some time from now on, or never."""
        self._changed[subscriber_id] = is_member

    def all(self) -> frozenset[str]:
        """Return every subscriber that is in a pool at any time."""
        mark = self._view.get(MARKS, _MARK)
        known = _KNOWN.get(self._view, {})
        if mark not in known:
            scanned = self._view.scan("directory", _LOW, _HIGH)
            memberships = ((key[len(_LOW) :], entries) for key, entries in scanned)
            members = (who for who, held in memberships if is_pooled(who, (e.target for e in held)))
            known = {mark: frozenset(members)}
            _KNOWN[self._view] = known
        return self._after(known[mark])

    def _after(self, before: frozenset[str]) -> frozenset[str]:
        if not self._changed:
            return before
        came = {subscriber for subscriber, is_member in self._changed.items() if is_member}
        return (before - self._changed.keys()) | came

    def put(self) -> Put:
        """Return the mark of what the step has changed so far."""
        mark = self._view.get(MARKS, _MARK)
        digest = hashlib.blake2b(mark or b"", digest_size=16)
        for subscriber_id, is_member in sorted(self._changed.items()):
            digest.update(f"{len(subscriber_id)} {subscriber_id} {is_member}".encode())
        made = digest.digest()
        known = _KNOWN.get(self._view, {})
        if mark in known:
            _KNOWN[self._view] = {mark: known[mark], made: self._after(known[mark])}
        return Put(MARKS, _MARK, made)
