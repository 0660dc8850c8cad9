"""Topics as rows of the engine's SQLite file, read and appended inside its transactions.

Positions ascend over all topics of the file. Appending takes the file's write lock first
(`BEGIN IMMEDIATE`), so a reader that saw position n has seen everything below n.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Mapping, Sequence

import polars as pl
from sqlalchemy import Connection

from streams.codec import decode_frame, encode_frame
from streams.topics import TOPICS, route

_DDL = (
    "create table if not exists topic_record("
    " position integer primary key autoincrement,"
    " topic text not null, partition integer not null, producer text not null,"
    " row_count integer not null, watermark_at integer, body blob)",
    "create index if not exists topic_record_order on topic_record(topic, partition, position)",
    "create table if not exists topic_position("
    " task text not null, topic text not null, position integer not null,"
    " primary key(task, topic))",
    "create table if not exists topic_watermark("
    " task text not null, topic text not null, producer text not null,"
    " watermark_at integer not null, primary key(task, topic, producer))",
)


@dataclasses.dataclass(frozen=True, slots=True)
class TopicRead:
    """What a task read of one topic partition.

    frames are in order; watermarks holds the newest watermark (ms) per producer; position is the
    last record taken (the given one where nothing was new); has_more: rows_max left some behind.
    """

    frames: Sequence[pl.DataFrame]
    watermarks: Mapping[str, int]
    position: int
    has_more: bool


def create_tables(connection: Connection) -> None:
    """Make the topic tables where absent."""
    for statement in _DDL:
        connection.exec_driver_sql(statement)


def append_rows(
    connection: Connection, topic: str, producer: str, frame: pl.DataFrame, *, partitions: int
) -> None:
    """Append a frame to the partitions that its rows belong to. Raises KeyError: no such topic."""
    for partition, part in route(TOPICS[topic], frame, partitions):
        if part.height:
            append_record(connection, topic, partition, producer, frame=part)


def append_watermark(
    connection: Connection, topic: str, producer: str, watermark_at: int, *, partitions: int
) -> None:
    """Append "received through" (ms) behind a producer's rows, to every partition."""
    for partition in range(partitions):
        append_record(connection, topic, partition, producer, watermark_at=watermark_at)


def append_record(
    connection: Connection,
    topic: str,
    partition: int,
    producer: str,
    *,
    frame: pl.DataFrame | None = None,
    watermark_at: int | None = None,
) -> int:
    """Append rows or a watermark (ms) to one partition; return the position."""
    rows = 0 if frame is None else frame.height
    body = None if frame is None else encode_frame(frame, TOPICS[topic].record)
    cursor = connection.exec_driver_sql(
        "insert into topic_record(topic, partition, producer, row_count, watermark_at, body)"
        " values(?, ?, ?, ?, ?, ?)",
        (topic, partition, producer, rows, watermark_at, body),
    )
    return int(cursor.lastrowid)


def read_topic(
    connection: Connection, topic: str, partition: int, *, after: int, rows_max: int
) -> TopicRead:
    """Return what stands behind a position, whole records until rows_max rows are reached."""
    record = TOPICS[topic].record
    frames: list[pl.DataFrame] = []
    watermarks: dict[str, int] = {}
    position, rows, has_more = after, 0, False
    cursor = connection.exec_driver_sql(
        "select position, producer, row_count, watermark_at, body from topic_record"
        " where topic = ? and partition = ? and position > ? order by position",
        (topic, partition, after),
    )
    for position_, producer, row_count, watermark_at, body in cursor:
        has_more = bool(rows) and rows + row_count > rows_max
        if has_more:
            break
        position = position_
        if watermark_at is not None:
            watermarks[producer] = watermark_at
        else:
            frames.append(decode_frame(body, record))
            rows += row_count
    cursor.close()
    return TopicRead(frames, watermarks, position, has_more)


def read_bodies(
    connection: sqlite3.Connection, topic: str, *, after: int, rows_max: int
) -> list[tuple[int, pl.DataFrame]]:
    """Return (position, frame) of a topic's records over all partitions, for outside readers.

    At least one record where there is any; then whole records while rows_max is not exceeded.
    """
    record = TOPICS[topic].record
    found: list[tuple[int, pl.DataFrame]] = []
    rows = 0
    cursor = connection.execute(
        "select position, row_count, body from topic_record"
        " where topic = ? and position > ? and body is not null order by position",
        (topic, after),
    )
    for position, row_count, body in cursor:
        if rows and rows + row_count > rows_max:
            break
        found.append((position, decode_frame(body, record)))
        rows += row_count
    cursor.close()
    return found


def load_positions(connection: Connection, task: str) -> dict[str, int]:
    """Return the last position that a task committed, per topic (or raw log)."""
    rows = connection.exec_driver_sql(
        "select topic, position from topic_position where task = ?", (task,)
    )
    return {str(row[0]): int(row[1]) for row in rows}


def save_positions(connection: Connection, task: str, positions: Mapping[str, int]) -> None:
    """Commit a task's positions with its transaction."""
    connection.exec_driver_sql(
        "insert into topic_position values(?, ?, ?)"
        " on conflict(task, topic) do update set position = excluded.position",
        [(task, topic, position) for topic, position in positions.items()],
    )


def load_watermarks(connection: Connection, task: str) -> dict[tuple[str, str], int]:
    """Return the newest watermark (ms) that a task read, per (topic, producer)."""
    rows = connection.exec_driver_sql(
        "select topic, producer, watermark_at from topic_watermark where task = ?", (task,)
    )
    return {(topic, producer): watermark_at for topic, producer, watermark_at in rows}


def save_watermarks(
    connection: Connection, task: str, watermarks: Mapping[tuple[str, str], int]
) -> None:
    """Commit the watermarks that a task read with its transaction."""
    connection.exec_driver_sql(
        "insert into topic_watermark values(?, ?, ?, ?) on conflict(task, topic, producer)"
        " do update set watermark_at = excluded.watermark_at",
        [(task, topic, producer, at) for (topic, producer), at in watermarks.items()],
    )


def trim_topic(connection: Connection, topic: str, partition: int, *, through: int) -> int:
    """Delete records of a partition up to a position that everyone consumed; return how many."""
    cursor = connection.exec_driver_sql(
        "delete from topic_record where topic = ? and partition = ? and position <= ?",
        (topic, partition, through),
    )
    return int(cursor.rowcount)


def trim_to_newest(connection: Connection, topic: str, *, records_max: int) -> int:
    """Delete all but the newest records of a topic that nobody consumes; return how many."""
    cursor = connection.exec_driver_sql(
        "delete from topic_record where topic = ? and position <= ("
        " select position from topic_record where topic = ?"
        " order by position desc limit 1 offset ?)",
        (topic, topic, records_max),
    )
    return int(cursor.rowcount)
