"""A range of the raw logs run again beside what runs, and what that would have measured otherwise.

The same stages read the same blocks with today's settings, rules and code, on state of their own
that begins a warm-up before the range. Their usage per minute is compared with the usage that was
sent; the difference is signed usage, received now, under the repair's id. Nothing else leaves: no
rows, no bindings, no alerts (DESIGN §3.8).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import polars as pl
from sqlalchemy import Connection

from rating.ports import Block
from rating.records import SessionBinding, Usage, frame_of, schema_of
from streams.adapters import sqlite_topics
from streams.config import StreamsConfig
from streams.embedded import EmbeddedRunner
from streams.stage import Stage

MINUTE_MS = 60_000
MEASURING = ("decode", "translate", "sessions", "attribute")
"""Stages that are run again: rate is not, it takes the difference as usage."""

_KEY = ("rating_key", "subscriber_id", "source", "traffic_class", "minute")
_SUMS = ("octets_up", "octets_down", "packets_up", "packets_down", "seconds")
_SEED = "seed"

_LOG_DDL = (
    "create table replayed(log text not null, received_at integer not null, origin text not null,"
    " number integer not null, body blob not null, unique(log, origin, number))",
    "create table replay_block(log text not null, number integer not null, kind text not null,"
    " received_at integer not null, body blob not null, primary key(log, number))",
)


@dataclasses.dataclass(frozen=True, slots=True)
class RepairRange:
    """What is repaired: minutes in [from_at, until_at), ms; read_from_at is the warm-up's begin.

    read_until_at is behind the range: what was received by then tells of its minutes.
    """

    from_at: int
    until_at: int
    read_from_at: int
    read_until_at: int


class ReplayLog:
    """Raw blocks of a range in the order in which they were received, in a scratch database."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Connection]]) -> None:
        """Make the tables; begin opens a transaction on the scratch database."""
        self._begin = begin
        with begin() as connection:
            for statement in _LOG_DDL:
                connection.exec_driver_sql(statement)

    def add(self, log: str, blocks: Iterable[tuple[int, str, int, bytes]]) -> int:
        """Add (received_at, origin, number, body) of a log; one that came before is ignored.

        Returns how many were read. origin and number together name a block.
        """
        rows = [(log, *block) for block in blocks]
        if rows:
            with self._begin() as connection:
                connection.exec_driver_sql(
                    "insert or ignore into replayed values(?, ?, ?, ?, ?)", rows
                )
        return len(rows)

    def seal(self, log: str, until_at: int) -> None:
        """Put a log in order, with a marker behind every minute and at until_at (ms)."""
        with self._begin() as connection:
            connection.exec_driver_sql(
                "insert into replay_block"
                " select log, row_number() over (order by received_at, kind, origin, number),"
                " kind, received_at, body from ("
                "  select log, 'data' as kind, received_at, origin, number, body from replayed"
                "   where log = ? union all"
                "  select distinct ?, 'marker', received_at / 60000 * 60000 - 1, '', 0, x''"
                "   from replayed where log = ? union all"
                "  select ?, 'marker', ?, '', 0, x'')",
                (log, log, log, log, until_at),
            )

    def reader(self, log: str) -> ReplayReader:
        """Return a reader of one sealed log."""
        return ReplayReader(self._begin, log)


class ReplayReader:
    """A `rating.ports.TopicReader` of a sealed log."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Connection]], log: str) -> None:
        """Remember which log; each read is a transaction of its own."""
        self._begin = begin
        self._log = log

    def read(self, after: int, limit: int) -> Sequence[Block]:
        """Return at most `limit` blocks with number > after, ascending."""
        with self._begin() as connection:
            rows = connection.exec_driver_sql(
                "select number, kind, received_at, body from replay_block"
                " where log = ? and number > ? order by number limit ?",
                (self._log, after, limit),
            ).fetchall()
        return [Block(*row) for row in rows]


def run_again(
    begin: Callable[[], AbstractContextManager[Connection]],
    logs: ReplayLog,
    stages: Sequence[Stage],
    directory: Sequence[pl.DataFrame],
    bindings: Sequence[pl.DataFrame],
) -> pl.DataFrame:
    """Return the usage (columns of Usage) that the measuring stages make of sealed logs.

    begin opens a transaction on the scratch database of `logs`, but may not be the one that the
    logs read with: the runner reads inside its own. directory and bindings are known beforehand.
    """
    measuring = tuple(stage for stage in stages if stage.name in MEASURING)
    config = StreamsConfig()
    readers = {stage.raw_log: logs.reader(stage.raw_log) for stage in measuring if stage.raw_log}
    runner = EmbeddedRunner(begin, measuring, readers, lambda connection, rows: None, config)
    with begin() as connection:
        for topic, frames in (("directory", directory), ("session.bindings", bindings)):
            for frame in frames:
                sqlite_topics.append_rows(connection, topic, _SEED, frame, partitions=1)
    while runner.run_once():
        pass
    with begin() as connection:
        read = sqlite_topics.read_topic(connection, "usage.measured", 0, after=0, rows_max=2**62)
    return pl.concat([pl.DataFrame(schema=schema_of(Usage)), *read.frames])


def differences(
    sent: pl.DataFrame, again: pl.DataFrame, which: RepairRange, *, repair_id: str, now_ms: int
) -> pl.DataFrame:
    """Return signed usage that turns what was sent into what was measured again.

    Both have the columns of Usage; only minutes of the range count. Sessions are left out of the
    comparison: a session that began before the warm-up may have another name there.
    """
    sums = pl.concat(
        [
            _summed(again, which),
            _summed(sent, which).with_columns(*(-pl.col(name) for name in _SUMS)),
        ]
    )
    found = sums.group_by(_KEY).agg(pl.col(name).sum() for name in _SUMS)
    found = found.filter(pl.any_horizontal(pl.col(name) != 0 for name in _SUMS))
    return found.select(
        *("rating_key", "subscriber_id", "source"),
        pl.lit(f"repair/{repair_id}").alias("session_id"),
        *("traffic_class", "minute", *_SUMS),
        pl.lit(now_ms, pl.Int64).alias("received_at"),
    ).sort(_KEY)


def _summed(usage: pl.DataFrame, which: RepairRange) -> pl.DataFrame:
    inside = usage.filter(
        (pl.col("minute") >= which.from_at // MINUTE_MS)
        & (pl.col("minute") < which.until_at // MINUTE_MS)
    )
    return inside.group_by(_KEY).agg(pl.col(name).sum() for name in _SUMS)


def binding_rows(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of attribute's binding table (BINDING_SCHEMA) as SessionBinding has them."""
    rows: list[Any] = []
    for row in table.iter_rows(named=True):
        until_at = row["valid_until_at"]
        rows.append(
            SessionBinding(
                row["binding_id"],
                row["revision"],
                (row["hi"] << 64 | row["lo"]).to_bytes(16, "big"),
                row["prefix_length"],
                row["port_block"],
                row["subscriber_id"],
                row["session_id"],
                row["valid_from_at"],
                until_at,
                row["received_at"],
            )
        )
    return frame_of(SessionBinding, rows)
