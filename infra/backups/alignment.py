"""Sets the tasks of a restored PostgreSQL on a Kafka that went further than the backup.

Raw topics need nothing: tasks go on from their offsets, and what was metered since is metered
again. Stage topics do: behind the backup's moment they hold outputs of a history that is no longer
true, cut into other messages than the replay will cut, under the same numbers. So what a consumer
has yet to read of the *kept* history goes back into the outbox (with its own number), and every
consumer is set to the topic's end, behind which only the new history comes (docs/decisions/0504).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import Connection

from infra.backups.cluster import exists, open_snapshots, standings
from infra.backups.manifest import BackupError
from infra.settings import Settings
from rating.connections import client_arguments
from rating.envelopes import Envelope, decode_message
from streams.progress import Standing
from streams.topics import KAFKA_TOPICS, RAW_LOGS, physical_topic

SINK_READS = "rate"
"""Stage whose task writes a partition of rated usage."""

_POLL_MILLISECONDS = 1_000
_SILENT_POLLS = 30
"""Polls without a message after which a partition that should have more is given up."""

_INSERT = (
    "insert into stage_output(task, topic, partition, number, received_at, trace, body)"
    " values(%s, %s, %s, %s, %s, %s, %s) on conflict do nothing"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """Who reads one partition of a topic: where it goes on, last number taken per producer.

    tables is the generation of tables that a sink fills, 0 for a task.
    """

    name: str
    offset: int
    numbers: dict[str, int]
    tables: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers first..last of a producer: committed in the backup, unread by some consumer."""

    producer: str
    first: int
    last: int


def align(settings: Settings, *, is_dry: bool) -> list[str]:
    """Align every stage topic, in one transaction; return one sentence per partition moved.

    Run it while no worker runs; again is safe until one has run. BackupError where Kafka no longer
    has what the restored tasks need; then nothing has changed.
    """
    engine = open_snapshots(settings)
    consumer = KafkaConsumer(
        **client_arguments(settings.cluster.kafka),
        enable_auto_commit=False,
        group_id=None,
        max_partition_fetch_bytes=settings.cluster.kafka.message_octets_max + 65_536,
    )
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            told = _align_all(connection, consumer)
            if is_dry:
                transaction.rollback()
        return told or ["nothing to align: no task has read a stage topic"]
    finally:
        consumer.close()
        engine.dispose()


def _align_all(connection: Connection, consumer: KafkaConsumer) -> list[str]:
    generation = connection.exec_driver_sql(
        "select generation from topic_generation where state = 'running'"
        " order by generation desc limit 1"
    ).scalar_one()
    # Whoever still runs with what was before the restore may commit nothing more.
    connection.exec_driver_sql("update stage_task set epoch = epoch + 1")
    tasks = standings(connection)
    told = [line for log in RAW_LOGS for line in _check_raw(consumer, log, generation, tasks)]
    for topic in KAFKA_TOPICS:
        if topic in RAW_LOGS:
            continue
        for partition in sorted(_partitions(consumer, physical_topic(topic, generation))):
            told += _align(connection, consumer, (topic, partition, generation), tasks)
    for task, standing in tasks.items():
        connection.exec_driver_sql(
            "update stage_task set standing = %s where task = %s",
            (msgspec.msgpack.encode(standing), task),
        )
    return told


def _align(
    connection: Connection,
    consumer: KafkaConsumer,
    place: tuple[str, int, int],
    tasks: dict[str, Standing],
) -> list[str]:
    """Align the consumers of one topic partition; place is (topic, partition, generation)."""
    topic, partition, generation = place
    where = TopicPartition(physical_topic(topic, generation), partition)
    readers = [*readers_of(tasks, topic, partition), *_sinks(connection, where)]
    end = consumer.end_offsets([where])[where]
    if not readers:
        return []
    missing = unread(tasks, readers, topic, partition)
    wanted = {
        (numbers.producer, number)
        for numbers in missing
        for number in range(numbers.first, numbers.last + 1)
    } - _in_outbox(connection, topic, partition)
    start = min(reader.offset for reader in readers)
    for envelope in _data(consumer, where, start, end) if wanted else ():
        if (envelope.producer, envelope.number) in wanted:
            wanted.discard((envelope.producer, envelope.number))
            row = (envelope.producer, topic, partition, envelope.number, envelope.received_at)
            connection.exec_driver_sql(_INSERT, (*row, envelope.trace, envelope.body))
    if wanted:
        producer, number = min(wanted)
        raise BackupError(
            f"{where.topic}/{partition}: Kafka no longer has {len(wanted)} outputs that the"
            f" restored tasks need, the first is number {number} of {producer}"
        )
    for reader in readers:
        _set_on(connection, reader, where, end, tasks.get(reader.name))
    kept = sum(numbers.last - numbers.first + 1 for numbers in missing)
    return [
        f"{where.topic}/{partition}: {', '.join(reader.name for reader in readers)} from offset"
        f" {start} to {end}, {kept} outputs are sent again"
    ]


def _sinks(connection: Connection, where: TopicPartition) -> list[Reader]:
    """Return the sinks of a partition of rated usage, one per generation of tables they fill."""
    if not exists(connection, "sink_position"):
        return []
    rows = connection.exec_driver_sql(
        "select generation, last_position, next_cursor from sink_position"
        " where topic = %s and partition = %s and last_position > 0",
        (where.topic, where.partition),
    )
    return [
        Reader(f"sink>{tables}", cursor, {f"{SINK_READS}/{where.partition}": last}, tables)
        for tables, last, cursor in rows
    ]


def _set_on(
    connection: Connection,
    reader: Reader,
    where: TopicPartition,
    offset: int,
    standing: Standing | None,
) -> None:
    """Let a reader go on at an offset; a task's standing is saved later, with all others."""
    if standing is not None:
        standing.offsets[where.topic.rpartition(".g")[0]] = offset
        return
    connection.exec_driver_sql(
        "update sink_position set next_cursor = %s"
        " where generation = %s and topic = %s and partition = %s",
        (offset, reader.tables, where.topic, where.partition),
    )


def readers_of(tasks: dict[str, Standing], topic: str, partition: int) -> list[Reader]:
    """Return the tasks that have read a partition of a topic, by name."""
    return [
        Reader(
            task,
            standing.offsets[topic],
            {producer: seen.number for producer, seen in standing.seen.get(topic, {}).items()},
        )
        for task, standing in sorted(tasks.items())
        if topic in standing.offsets and task.rpartition("/")[2] == str(partition)
    ]


def unread(
    tasks: dict[str, Standing], readers: Sequence[Reader], topic: str, partition: int
) -> list[Numbers]:
    """Return what was given out to a partition and not yet read by every reader of it."""
    found = []
    for producer, standing in sorted(tasks.items()):
        last = standing.issued.get(topic, {}).get(partition, 0)
        first = 1 + min(reader.numbers.get(producer, 0) for reader in readers)
        if first <= last:
            found.append(Numbers(producer, first, last))
    return found


def _in_outbox(connection: Connection, topic: str, partition: int) -> set[tuple[str, int]]:
    rows = connection.exec_driver_sql(
        "select task, number from stage_output where topic = %s and partition = %s",
        (topic, partition),
    )
    return {(str(task), int(number)) for task, number in rows}


def _check_raw(
    consumer: KafkaConsumer, log: str, generation: int, tasks: dict[str, Standing]
) -> Iterator[str]:
    """Yield how far each raw partition goes back. BackupError where Kafka has dropped some."""
    topic = physical_topic(log, generation)
    for partition in sorted(_partitions(consumer, topic)):
        where = TopicPartition(topic, partition)
        earliest = consumer.beginning_offsets([where])[where]
        end = consumer.end_offsets([where])[where]
        for reader in readers_of(tasks, log, partition):
            if reader.offset < earliest:
                raise BackupError(
                    f"{topic}/{partition}: {reader.name} goes on at offset {reader.offset}, but"
                    f" Kafka begins at {earliest}: what was received between is lost"
                )
            if reader.offset > end:
                raise BackupError(
                    f"{topic}/{partition}: {reader.name} goes on at offset {reader.offset}, but"
                    f" Kafka ends at {end}: this is another Kafka than the backup's"
                )
            yield f"{topic}/{partition}: {reader.name} meters {end - reader.offset} messages again"


def _partitions(consumer: KafkaConsumer, topic: str) -> Iterable[int]:
    found: set[int] | None = consumer.partitions_for_topic(topic)
    return found or ()


def _data(consumer: Any, where: TopicPartition, start: int, end: int) -> Iterator[Envelope]:
    """Yield the data of a partition from start up to end. BackupError where Kafka falls silent."""
    consumer.assign([where])
    consumer.seek(where, start)
    silent = 0
    while (position := consumer.position(where)) < end:
        polled = consumer.poll(timeout_ms=_POLL_MILLISECONDS)
        silent = 0 if polled else silent + 1
        if silent == _SILENT_POLLS:
            raise BackupError(f"{where.topic}/{where.partition}: nothing behind offset {position}")
        for record in polled.get(where, ()):
            message = decode_message(record.value)
            if record.offset < end and isinstance(message, Envelope):
                yield message
