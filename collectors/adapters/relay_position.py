"""How far the log has been relayed: one small SQLite file, written behind each acknowledgement.

A block that was read and not yet acknowledged as a whole is *open*: a row with an octet per packet,
1 where it is done. So a restart repeats what was on its way, and nothing else. The file is not
synced at each commit: a process that is killed loses nothing of it, a machine that loses its power
may relay the last moments again, which the second server knows by their content.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from collectors.radius.relay_packets import Place

_BUSY_TIMEOUT_SECONDS = 10.0
_DDL = (
    "create table if not exists relay_tag(only integer primary key, tag blob not null)",
    "create table if not exists relay_position("
    " log text primary key, read_through integer not null)",
    "create table if not exists relay_open("
    " log text not null, block integer not null, done blob not null,"
    " primary key(log, block)) without rowid",
)


class RelayPosition:
    """The position in each log (embedded: one; in a cluster one per generation of the topic)."""

    def __init__(self, path: Path, new_tag: bytes) -> None:
        """Open or make the file; a new one takes new_tag, 8 octets of chance. Raises OSError."""
        self._path = path
        try:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("pragma journal_mode=wal")
            self._connection.execute("pragma synchronous=normal")
            for statement in _DDL:
                self._connection.execute(statement)
            self._connection.execute("insert or ignore into relay_tag values(1, ?)", (new_tag,))
            (self.tag,) = self._connection.execute("select tag from relay_tag").fetchone()
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from error
        self._open: dict[str, dict[int, bytearray]] = {}

    def read_through(self, log: str) -> int | None:
        """Return the last block that was read, None for a log that never was."""
        statement = "select read_through from relay_position where log = ?"
        rows = self._execute(statement, (log,)).fetchall()
        return int(rows[0][0]) if rows else None

    def begin(self, log: str, read_through: int) -> None:
        """Say where a log that never was read begins."""
        statement = "insert or ignore into relay_position values(?, ?)"
        self._execute(statement, (log, read_through))

    def open_blocks(self, log: str) -> dict[int, bytearray]:
        """Return block -> octets, one per packet, not 0 where it is done; ascending."""
        if log not in self._open:
            statement = "select block, done from relay_open where log = ? order by block"
            rows = self._execute(statement, (log,)).fetchall()
            self._open[log] = {int(block): bytearray(done) for block, done in rows}
        return self._open[log]

    def note_read(self, log: str, blocks: Iterable[tuple[int, int]], through: int) -> None:
        """Note blocks that were read: (number, packets); through is the last one read."""
        known = self.open_blocks(log)
        rows = []
        for block, packets in blocks:
            if packets:
                known[block] = bytearray(packets)
                rows.append((log, block, bytes(packets)))
        self._execute("begin immediate", ())
        self._many("insert or replace into relay_open values(?, ?, ?)", rows)
        statement = "update relay_position set read_through = ? where log = ?"
        self._execute(statement, (through, log))
        self._execute("commit", ())

    def note_done(self, log: str, places: Iterable[Place]) -> None:
        """Note packets that are done; a block of which all are is forgotten."""
        known = self.open_blocks(log)
        touched = set()
        for block, index in places:
            if block in known:
                known[block][index] = 1
                touched.add(block)
        if not touched:
            return
        whole = [block for block in touched if 0 not in known[block]]
        rows = [(bytes(known[block]), log, block) for block in touched if 0 in known[block]]
        for block in whole:
            del known[block]
        self._execute("begin immediate", ())
        self._many("update relay_open set done = ? where log = ? and block = ?", rows)
        self._many("delete from relay_open where log = ? and block = ?", [(log, b) for b in whole])
        self._execute("commit", ())

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _execute(self, statement: str, arguments: tuple[object, ...]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, arguments)
        except sqlite3.Error as error:
            self._roll_back()
            raise OSError(f"{self._path}: {error}") from error

    def _many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            self._roll_back()
            raise OSError(f"{self._path}: {error}") from error

    def _roll_back(self) -> None:
        # What memory holds is ahead of the file then: it is read anew.
        self._open = {}
        if self._connection.in_transaction:
            self._connection.execute("rollback")


def relayed_through(path: Path, log: str) -> int | None:
    """Return the block through which all is relayed or given up, by another process's file.

    None where the file or the log in it is not there, or cannot be read.
    """
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_SECONDS
        )
        try:
            row = connection.execute(
                "select min(read_through, coalesce((select min(block) - 1 from relay_open"
                " where log = ?1), read_through)) from relay_position where log = ?1",
                (log,),
            ).fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return None
    return None if row is None or row[0] is None else int(row[0])
