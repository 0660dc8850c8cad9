"""The topics that a cluster keeps in PostgreSQL: `directory` and `account.events`.

The API appends inside the transaction of its command; a worker reads inside the transaction in
which it commits. Numbers of a (topic, partition) are dense and commit in their order, because the
counter's row is locked until the writer's commit: a reader that saw number n has seen all below.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from sqlalchemy import Connection

from streams.codec import decode_frame, encode_frame
from streams.topics import TOPICS, route

_RECORDS_MAX = 10_000

EVERY = -1
"""Partition of rows that every partition reads."""


def append_rows(
    connection: Connection, topic: str, producer: str, frame: pl.DataFrame, *, partitions: int
) -> None:
    """Append a frame to the partitions that its rows belong to. Raises KeyError: no such topic."""
    if TOPICS[topic].route == "every":
        parts: Sequence[tuple[int, pl.DataFrame]] = [(EVERY, frame)]
    else:
        parts = route(TOPICS[topic], frame, partitions)
    for partition, part in parts:
        if part.height:
            number = _next_number(connection, topic, partition)
            connection.exec_driver_sql(
                "insert into topic_record(topic, partition, number, producer, row_count, body)"
                " values(%s, %s, %s, %s, %s, %s)",
                (
                    topic,
                    partition,
                    number,
                    producer,
                    part.height,
                    encode_frame(part, TOPICS[topic].record),
                ),
            )


def _next_number(connection: Connection, topic: str, partition: int) -> int:
    """Return the next number; the counter's row stays locked until the transaction ends."""
    return int(
        connection.exec_driver_sql(
            "insert into topic_counter values(%s, %s, 1) on conflict(topic, partition)"
            " do update set number = topic_counter.number + 1 returning number",
            (topic, partition),
        ).scalar_one()
    )


def stored_partition(topic: str, partition: int) -> int:
    """Return where a task of a partition finds its rows of a topic."""
    return EVERY if TOPICS[topic].route == "every" else partition


def newest_numbers(connection: Connection) -> dict[tuple[str, int], int]:
    """Return the newest number per (topic, stored partition)."""
    rows = connection.exec_driver_sql("select topic, partition, number from topic_counter")
    return {(str(topic), int(partition)): int(number) for topic, partition, number in rows}


def read_rows(
    connection: Connection, topic: str, stored: int, *, after: int, rows_max: int
) -> tuple[list[pl.DataFrame], int]:
    """Return the frames behind a number and the number of the last one taken.

    Whole records, until rows_max rows or _RECORDS_MAX records; the first one always counts.
    """
    record = TOPICS[topic].record
    frames: list[pl.DataFrame] = []
    taken, rows = after, 0
    found = connection.exec_driver_sql(
        "select number, row_count, body from topic_record"
        " where topic = %s and partition = %s and number > %s order by number limit %s",
        (topic, stored, after, _RECORDS_MAX),
    )
    for number, row_count, body in found:
        if rows and rows + row_count > rows_max:
            break
        frames.append(decode_frame(bytes(body), record))
        taken, rows = number, rows + row_count
    return frames, taken


def read_producer(connection: Connection, topic: str, producer: str) -> list[pl.DataFrame]:
    """Return every frame that a producer appended to a topic, in order."""
    record = TOPICS[topic].record
    found = connection.exec_driver_sql(
        "select body from topic_record where topic = %s and producer = %s"
        " order by partition, number",
        (topic, producer),
    )
    return [decode_frame(bytes(body), record) for (body,) in found]


def read_all(connection: Connection, topic: str, stored: int) -> list[pl.DataFrame]:
    """Return every frame of a topic's stored partition, for those who start anew."""
    frames: list[pl.DataFrame] = []
    after = 0
    while True:
        more, after = read_rows(connection, topic, stored, after=after, rows_max=2**62)
        if not more:
            return frames
        frames += more
