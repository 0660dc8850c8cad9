"""The transaction of one API command: business rows, directory rows, account events."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert

from api.instants import MINUTE_MS, next_minute, to_text
from api.keys import Principal, branch_for
from api.models.parties import Branch
from api.models.values import EventStatus
from api.ports import Services
from api.problems import invalid_field
from api.reads.parties import get_branch, rating_key_branch
from api.tables import account_event_sent
from billing.adapters import tables
from rating.events import Payload, account_event
from rating.records import AccountEvent, DirectoryEntry, frame_of

PRODUCER = "api"


@dataclasses.dataclass
class CommandTransaction:
    """What one command writes through; the caller commits, or rolls all of it back.

    now_at is read once, so everything that a command writes has the same time.
    """

    services: Services
    principal: Principal
    connection: Connection
    now_at: int = 0
    counted: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the clock."""
        self.now_at = self.services.now_ms()

    def effective_at(self, wanted: int | None, pointer: str = "/effective_at") -> int:
        """Return the wanted instant, or the next minute's start.

        A whole minute and not in the past, so that the usage of a minute always finds the facts
        of its minute already there; otherwise a 422 Problem that names the member.
        """
        if wanted is None:
            return next_minute(self.now_at)
        if wanted % MINUTE_MS:
            raise invalid_field(pointer, to_text(wanted), "a whole minute")
        if wanted < self.now_at:
            expected = f"not in the past; it is {to_text(self.now_at)}"
            raise invalid_field(pointer, to_text(wanted), expected)
        return wanted

    def branch_of(self, wanted: str | None) -> Branch:
        """Return the branch of something new: the key's own, or the one that is named.

        Raises a Problem as `branch_for` does, and 404 where there is no such branch.
        """
        branch_id = branch_for(self.principal, wanted)
        return get_branch(self.connection, branch_id, branch_id)

    def add(self, table: Any, row: Mapping[str, Any]) -> None:
        """Insert one business row."""
        self.connection.execute(insert(table).values(dict(row)))

    def write_directory(self, branch_id: str, entries: Sequence[DirectoryEntry]) -> None:
        """Record directory entries and send them to the stages."""
        if not entries:
            return
        rows = [{**dataclasses.asdict(entry), "branch_id": branch_id} for entry in entries]
        self.connection.execute(insert(tables.directory_entry), rows)
        frame = frame_of(DirectoryEntry, list(entries))
        self.services.append_rows(self.connection, "directory", PRODUCER, frame)
        self._add("api_directory_entries_total", len(entries))

    def send_events(self, events: Sequence[AccountEvent]) -> list[EventStatus]:
        """Send account events to rate; each is pending until rate has answered."""
        if not events:
            return []
        rows = [
            {
                "event_id": event.event_id,
                "branch_id": rating_key_branch(self.connection, None, event.rating_key),
                "sent_at": self.now_at,
            }
            for event in events
        ]
        self.connection.execute(insert(account_event_sent), rows)
        frame = frame_of(AccountEvent, list(events))
        self.services.append_rows(self.connection, "account.events", PRODUCER, frame)
        self._add("api_account_events_total", len(events))
        return [EventStatus.pending(event.event_id) for event in events]

    def event(
        self, rating_key: str, payload: Payload, effective_at: int, event_id: str | None = None
    ) -> AccountEvent:
        """Return an account event received now, under a fresh id unless one is given."""
        return account_event(
            event_id or self.services.new_id("evt"),
            rating_key,
            payload,
            effective_at=effective_at,
            received_at=self.now_at,
        )

    def count(self) -> None:
        """Add to the counters, once the transaction is committed."""
        for name, increment in self.counted.items():
            self.services.count(name, increment)

    def _add(self, name: str, increment: int) -> None:
        self.counted[name] = self.counted.get(name, 0) + increment
