"""The audit log: who changed what, when, from what to what; and whether a chain was tampered with.

Entries form one hash chain of the installation, as each branch's ledger forms its own. A chain
shows what was altered, deleted, inserted or swapped inside it; its recorded head shows what was cut
off or put on at its end; an earlier head, kept elsewhere, shows a chain that was made anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from billing.canonical import canonical_json, content_hash
from billing.ledger import GENESIS_HASH, ChainLink

AUDIT_CHAIN = "audit"
"""Name of the audit log's chain; a branch's ledger is ``ledger/<branch>``."""

HIDDEN = "(hidden)"
"""What stands for a secret: that it changed may be known, what it is may not."""

_SECRET_ENDINGS = ("hash", "secret", "password", "token", "pin")


@dataclasses.dataclass(frozen=True, slots=True)
class AuditEntry:
    """One command's changes. branch_id is empty where who acts has no branch.

    action is what was asked for (``POST /v1/accounts``); changes is canonical JSON of `Change`s.
    """

    occurred_at: int
    actor_id: str
    actor_name: str
    branch_id: str
    action: str
    changes: str


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One row: before is None where it was made, after None where it was deleted.

    Of a row that was changed both have the changed columns only. key are the primary key's values.
    """

    table: str
    key: Mapping[str, Any]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def change_of(
    table: str,
    key: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> Change | None:
    """Return what happened to a row, secrets hidden, or None where nothing did."""
    if before == after:
        return None
    if before is not None and after is not None:
        names = [name for name in after if before.get(name) != after[name]]
        before = {name: before.get(name) for name in names}
        after = {name: after[name] for name in names}
    return Change(table, dict(key), _shown(before), _shown(after))


def _shown(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        name: HIDDEN if name.rsplit("_", 1)[-1] in _SECRET_ENDINGS and value else value
        for name, value in row.items()
    }


def encode_changes(changes: Sequence[Change]) -> str:
    """Return the text of `AuditEntry.changes`, in the order given."""
    return canonical_json([dataclasses.asdict(change) for change in changes])


def audit_link(previous: ChainLink | None, entry: AuditEntry) -> ChainLink:
    """Return the link that appends an entry behind `previous` (None: the chain's first)."""
    number = previous.number + 1 if previous else 1
    before = previous.hash if previous else GENESIS_HASH
    return ChainLink(number, content_hash([before, number, *dataclasses.astuple(entry)]))


@dataclasses.dataclass(frozen=True, slots=True)
class StoredLink:
    """A row of a chain as it is stored: its name, its link, and what its link should be.

    expected takes the link before it; it raises ValueError where the row is no row any more.
    """

    name: str
    found: ChainLink
    expected: Callable[[ChainLink | None], ChainLink]


@dataclasses.dataclass(frozen=True, slots=True)
class Break:
    """The first row of a chain that is not what was written; what says how it differs."""

    chain: str
    number: int
    name: str
    what: str

    def __str__(self) -> str:
        """Return the sentence that an auditor reads."""
        row = f"row {self.number}" + (f" ({self.name})" if self.name else "")
        return f"{self.chain}: {row} {self.what}"


def first_break(
    chain: str,
    stored: Iterable[StoredLink],
    head: ChainLink | None,
    remembered: ChainLink | None = None,
) -> Break | None:
    """Return the first row that contradicts its chain, its head or an earlier head; or None.

    stored is the whole chain, ascending; head is where the chain's end was recorded; remembered is
    a head that somebody kept.
    """
    previous: ChainLink | None = None
    name = ""
    for row in stored:
        number = previous.number + 1 if previous else 1
        if row.found.number > number:
            return Break(chain, number, "", "is missing")
        name = row.name
        try:
            expected = row.expected(previous)
        except ValueError as error:
            return Break(chain, number, name, f"was altered: {error}")
        if expected != row.found:
            return Break(chain, number, name, "was altered, inserted or moved")
        if remembered and remembered.number == number and remembered.hash != expected.hash:
            return Break(chain, number, name, "is not the row whose hash was kept")
        previous = expected
    last = previous.number if previous else 0
    for what, end in (("head", head), ("kept head", remembered)):
        if end is not None and end.number > last:
            return Break(chain, last + 1, "", f"is missing: the {what} is {end.number}")
    if previous is not None and (head is None or head.number < last):
        return Break(chain, head.number + 1 if head else 1, name, "stands behind the recorded head")
    if head is not None and previous is not None and head.hash != previous.hash:
        return Break(chain, last, name, "is not the recorded head")
    return None
