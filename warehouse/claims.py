"""Which sink process follows which partition: claims in PostgreSQL, shared out evenly.

A claim is a row with an owner, an epoch and the time of its last renewal by PostgreSQL's clock. A
process that has not renewed for `claim_timeout_seconds` loses its claims to the others, each with
the next epoch, and whatever it then tries to record is refused (`PostgresIntentStore`). What it
may still have under way at ClickHouse is refused there by the insert's deadline
(docs/decisions/0510).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg

from warehouse.intent_tables import connect

_LOCK = 0x464C_5357
"""Advisory lock of a round: two processes never share out at the same time."""

_IS_OVER = "renewed_at < clock_timestamp() - make_interval(secs => %s)"


class Claims:
    """One process's claims. `epochs` holds what it holds: name -> epoch. One thread at a time."""

    def __init__(self, url: str, owner: str, timeout_seconds: float) -> None:
        """Take a libpq URL, a name that no other process has, and the timeout of a claim."""
        self._url = url
        self._owner = owner
        self._timeout_seconds = timeout_seconds
        self._opened: psycopg.Connection[Any] | None = None
        self.epochs: dict[str, int] = {}
        self.renewed_at = float("-inf")
        """Monotonic time at which the last round that succeeded began."""

    def close(self) -> None:
        """Give everything back and close the connection; errors of PostgreSQL are passed over."""
        try:
            with self._connection().transaction() as _:
                run = self._connection().execute
                run("DELETE FROM sink_member WHERE owner = %s", (self._owner,))
                run(
                    "UPDATE sink_claim SET owner = '', epoch = epoch + 1 WHERE owner = %s",
                    (self._owner,),
                )
        except psycopg.Error:
            pass  # The claims then run out by themselves.
        self.epochs.clear()
        if self._opened is not None:
            self._opened.close()

    def is_fresh(self) -> bool:
        """Whether this process's claims cannot have run out yet."""
        return time.monotonic() - self.renewed_at < self._timeout_seconds

    def held_by_others(self) -> int:
        """Return how many claims other processes hold now."""
        return self._number(
            f"SELECT count(*) FROM sink_claim WHERE owner NOT IN ('', %s) AND NOT ({_IS_OVER})",
            (self._owner, self._timeout_seconds),
        )

    def renew(self, shared: Sequence[str], single: Sequence[str] = ()) -> dict[str, int]:
        """Renew, give back and take claims; return what is held now.

        shared names are divided evenly between the processes that renew any; a single one is
        whoever takes it first. Claims on other names are given back. Call it between inserts only.
        psycopg.Error passes through, and the claims are then as before.
        """
        begun = time.monotonic()
        connection = self._connection()
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if shared:
                connection.execute(
                    "INSERT INTO sink_member VALUES (%s, clock_timestamp()) ON CONFLICT (owner)"
                    " DO UPDATE SET renewed_at = excluded.renewed_at",
                    (self._owner,),
                )
            connection.execute(
                f"DELETE FROM sink_member WHERE {_IS_OVER}", (self._timeout_seconds,)
            )
            members = self._number("SELECT count(*) FROM sink_member")
            share = -(-len(shared) // max(1, members))
            held = self._renewed()
            ours = sorted(set(held) & set(shared))
            for name in (*ours[share:], *(set(held) - {*shared, *single})):
                self._give_back(name)
                del held[name]
            wanted = [*single, *shared[: 0 if len(ours) >= share else None]]
            room = {True: len(single), False: max(0, share - len(ours))}
            for name in self._free(wanted):
                is_single = name in single
                if room[is_single] > 0:
                    room[is_single] -= 1
                    held[name] = self._take(name)
        self.epochs.clear()
        self.epochs.update(held)
        self.renewed_at = begun
        return dict(held)

    def _renewed(self) -> dict[str, int]:
        """Renew what is ours and return it."""
        rows = self._connection().execute(
            "UPDATE sink_claim SET renewed_at = clock_timestamp() WHERE owner = %s"
            " RETURNING name, epoch",
            (self._owner,),
        )
        return {str(name): int(epoch) for name, epoch in rows.fetchall()}

    def _free(self, names: Sequence[str]) -> list[str]:
        """Return those names that nobody holds, in the given order."""
        rows = self._connection().execute(
            "SELECT name FROM sink_claim"
            f" WHERE name = ANY(%s) AND owner <> '' AND NOT ({_IS_OVER})",
            (list(names), self._timeout_seconds),
        )
        taken = {row[0] for row in rows.fetchall()}
        return [name for name in names if name not in taken]

    def _take(self, name: str) -> int:
        return self._number(
            "INSERT INTO sink_claim VALUES (%s, %s, 1, clock_timestamp()) ON CONFLICT (name)"
            " DO UPDATE SET owner = excluded.owner, epoch = sink_claim.epoch + 1,"
            " renewed_at = excluded.renewed_at RETURNING epoch",
            (name, self._owner),
        )

    def _give_back(self, name: str) -> None:
        self._connection().execute(
            "UPDATE sink_claim SET owner = '', epoch = epoch + 1 WHERE name = %s AND owner = %s",
            (name, self._owner),
        )

    def _number(self, statement: str, arguments: Sequence[object] = ()) -> int:
        row = self._connection().execute(statement, arguments).fetchone()
        assert row is not None
        return int(row[0])

    def _connection(self) -> psycopg.Connection[Any]:
        if self._opened is None or self._opened.closed:
            self._opened = connect(self._url)
        return self._opened
