"""The outbox of the cluster's tasks: outputs that are committed and may not yet be in Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from rating.envelopes import Envelope, encode_envelope
from streams.adapters.postgres_state import copy_rows

_COPIED_FROM_ROWS = 50
_TYPES = ("text", "text", "int4", "int8", "int8", "bytea", "bytea")


class OutboxRow(NamedTuple):
    """One output: number is dense per (task, topic, partition); received_at is ms."""

    task: str
    topic: str
    partition: int
    number: int
    received_at: int
    trace: bytes
    body: bytes


def message_of(row: OutboxRow) -> tuple[str, int, bytes]:
    """Return a row as the relay publishes it: topic, partition and the enveloped body."""
    envelope = Envelope(row.task, row.number, row.received_at, row.body, row.trace)
    return row.topic, row.partition, encode_envelope(envelope)


def insert_rows(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    """Append rows within the transaction that makes them true."""
    if len(rows) >= _COPIED_FROM_ROWS:
        copy_rows(connection, "stage_output", _TYPES, rows)
    elif rows:
        connection.exec_driver_sql(
            "insert into stage_output select * from unnest(%b::text[], %b::text[], %b::int[],"
            " %b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[])",
            tuple(list(column) for column in zip(*rows, strict=True)),
        )


def load_rows(connection: Connection, tasks: Sequence[str]) -> list[OutboxRow]:
    """Return what tasks have in the outbox, in the order of their numbers."""
    rows = connection.exec_driver_sql(
        "select task, topic, partition, number, received_at, trace, body from stage_output"
        " where task = any(%s) order by task, topic, partition, number",
        (list(tasks),),
    )
    return [
        OutboxRow(task, topic, partition, number, at, bytes(trace), bytes(body))
        for task, topic, partition, number, at, trace, body in rows
    ]


def delete_rows(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    """Delete rows that Kafka has acknowledged; absent ones are no error."""
    if rows:
        tasks, topics, partitions, numbers = (
            list(column) for column in zip(*[row[:4] for row in rows], strict=True)
        )
        connection.exec_driver_sql(
            "delete from stage_output as o using unnest(%b::text[], %b::text[], %b::int[],"
            " %b::bigint[]) as gone(task, topic, partition, number)"
            " where o.task = gone.task and o.topic = gone.topic"
            " and o.partition = gone.partition and o.number = gone.number",
            (tasks, topics, partitions, numbers),
        )
