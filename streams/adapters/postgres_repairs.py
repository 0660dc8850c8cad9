"""Repairs as rows: each id is posted once, with its usage in the outbox of the same transaction."""

from __future__ import annotations

import dataclasses

import polars as pl
from sqlalchemy import Connection

from streams.adapters.postgres_outbox import OutboxRow, insert_rows, load_rows
from streams.codec import encode_frame
from streams.topics import TOPICS, route

USAGE_TOPIC = "usage.measured"
_ROWS_PER_MESSAGE = 50_000

_DDL = (
    'create table if not exists repair(repair_id text collate "C" primary key,'
    " from_at bigint not null, until_at bigint not null, row_count bigint not null,"
    " octets_up bigint not null, octets_down bigint not null, posted_at bigint not null)"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did: its range and posting time in ms, and the sums of its signed usage."""

    repair_id: str
    from_at: int
    until_at: int
    row_count: int
    octets_up: int
    octets_down: int
    posted_at: int


def create_table(connection: Connection) -> None:
    """Make the table where absent."""
    connection.exec_driver_sql(_DDL)


def find(connection: Connection, repair_id: str) -> Repair | None:
    """Return a repair that was posted, or None."""
    row = connection.exec_driver_sql(
        "select repair_id, from_at, until_at, row_count, octets_up, octets_down, posted_at"
        " from repair where repair_id = %s",
        (repair_id,),
    ).first()
    return Repair(*row) if row else None


def task_of(repair_id: str) -> str:
    """Return the name under which a repair's usage travels."""
    return f"repair/{repair_id}"


def post(connection: Connection, repair: Repair, usage: pl.DataFrame, partitions: int) -> None:
    """Record a repair and put its usage into the outbox, numbered from 1 in each partition.

    Raises sqlalchemy.exc.IntegrityError where the id was posted before.
    """
    fields = dataclasses.astuple(repair)
    connection.exec_driver_sql(f"insert into repair values({', '.join(['%s'] * 7)})", fields)
    rows = []
    for partition, part in route(TOPICS[USAGE_TOPIC], usage, partitions):
        for number, piece in enumerate(part.iter_slices(_ROWS_PER_MESSAGE), start=1):
            rows.append(
                OutboxRow(
                    task_of(repair.repair_id),
                    USAGE_TOPIC,
                    partition,
                    number,
                    repair.posted_at,
                    b"",
                    encode_frame(piece, TOPICS[USAGE_TOPIC].record),
                )
            )
    insert_rows(connection, rows)


def unpublished(connection: Connection, repair_id: str) -> list[OutboxRow]:
    """Return what of a repair Kafka has not acknowledged."""
    return load_rows(connection, [task_of(repair_id)])
