"""Sets the tasks of a restored PostgreSQL on a Kafka that went further than the backup.

Raw topics need nothing: tasks go on from their offsets, and what was metered since is metered
again. Stage topics do: behind the backup's moment they hold outputs of a history that is no longer
true, cut into other messages than the replay will cut, under the same numbers. So what a consumer
has yet to read of the *kept* history goes back into the outbox (with its own number), and every
consumer is set to the topic's end, behind which only the new history comes (docs/decisions/0504).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import Connection

from infra.backups.cluster import exists, open_snapshots, standings
from infra.backups.manifest import BackupError
from infra.settings import Settings
from infra.wiring.engine import stage_configs
from rating.connections import client_arguments
from rating.envelopes import Envelope, decode_message, unbundled
from streams.progress import Standing
from streams.stage import Stage
from streams.topics import KAFKA_TOPICS, RAW_LOGS, physical_topic
from streams.topology import build_stages

RATED_TOPIC = "usage.rated"
RATED_STAGE = "rate"
"""The stage whose task writes a partition of rated usage."""

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


def align(settings: Settings, *, is_dry: bool, has_sink: bool = True) -> list[str]:
    """Align every stage topic, in one transaction; return one sentence per partition moved.

    has_sink: False where no sink has ever run; rated usage is then left as it is.

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
            stages = build_stages(stage_configs(settings))
            told = list(_Alignment(connection, consumer, stages, has_sink).run())
            if is_dry:
                transaction.rollback()
        return told
    finally:
        consumer.close()
        engine.dispose()


class _Alignment:
    """One alignment: the restored tasks by name, and where their topics are."""

    def __init__(
        self,
        connection: Connection,
        consumer: KafkaConsumer,
        stages: Sequence[Stage],
        has_sink: bool,
    ) -> None:
        """Read how far the restored tasks are, and fence whoever still runs with an older state."""
        self._connection = connection
        self._consumer = consumer
        self._stages = stages
        self._has_sink = has_sink
        self._generation = connection.exec_driver_sql(
            "select generation from topic_generation where state in ('running', 'draining')"
            " order by generation desc limit 1"
        ).scalar_one()
        connection.exec_driver_sql("update stage_task set epoch = epoch + 1, owner = 0")
        self._tasks = standings(connection)

    def run(self) -> Iterator[str]:
        """Check the raw topics, then align the others; yield what was found and done."""
        for log in RAW_LOGS:
            for partition in self._partitions(log):
                yield from self._check_raw(log, partition)
        for topic in KAFKA_TOPICS:
            for partition in () if topic in RAW_LOGS else self._partitions(topic):
                yield from self._align(topic, partition)
        for task, standing in self._tasks.items():
            self._connection.exec_driver_sql(
                "insert into stage_task(task, epoch, owner, watermark_at, standing)"
                " values(%s, 1, 0, 0, %s)"
                " on conflict(task) do update set standing = excluded.standing",
                (task, msgspec.msgpack.encode(standing)),
            )

    def _partitions(self, topic: str) -> list[int]:
        name = physical_topic(topic, self._generation)
        found: set[int] | None = self._consumer.partitions_for_topic(name)
        return sorted(found or ())

    def _at(self, topic: str, partition: int) -> tuple[TopicPartition, int, int]:
        """Return a topic partition as Kafka knows it, its first offset and its end."""
        at = TopicPartition(physical_topic(topic, self._generation), partition)
        return (
            at,
            self._consumer.beginning_offsets([at])[at],
            self._consumer.end_offsets([at])[at],
        )

    def _check_raw(self, log: str, partition: int) -> Iterator[str]:
        """Yield how much is metered again; BackupError where Kafka does not have it."""
        at, first, end = self._at(log, partition)
        for reader in readers_of(self._stages, self._tasks, log, partition):
            goes_on = f"{at.topic}/{partition}: {reader.name} goes on at offset {reader.offset}"
            if reader.offset < first:
                raise BackupError(
                    f"{goes_on}, but Kafka begins at {first}: what was received between is lost"
                )
            if reader.offset > end:
                raise BackupError(
                    f"{goes_on}, but Kafka ends at {end}: this is another Kafka than the backup's"
                )
            again = end - reader.offset
            yield f"{at.topic}/{partition}: {reader.name} meters {again} messages again"

    def _align(self, topic: str, partition: int) -> Iterator[str]:
        """Put back what is unread of the kept history, and set every reader on the end."""
        at, first, end = self._at(topic, partition)
        readers = readers_of(self._stages, self._tasks, topic, partition)
        if topic == RATED_TOPIC:
            readers += self._sinks(at)
            if not readers and end and self._has_sink:
                # A sink without a position begins with the topic: with the undone history.
                raise BackupError(
                    f"{at.topic}/{partition} holds {end} messages, but the backup's sink had taken"
                    f" none: delete {at.topic}, run `flowrate topics apply`, then align (with"
                    " --without-sink, where no sink ran: before the first one does)"
                )
        if not readers:
            return
        start = min(reader.offset for reader in readers)
        missing = unread(self._tasks, readers, topic, partition)
        self._put_back(topic, at, missing, (max(start, first), end))
        for reader in readers:
            self._set_on(reader, topic, at, end)
        names = ", ".join(reader.name for reader in readers)
        again = sum(numbers.last - numbers.first + 1 for numbers in missing)
        yield (
            f"{at.topic}/{partition}: {names} from offset {start} to {end},"
            f" {again} outputs are sent again"
        )

    def _put_back(
        self, topic: str, at: TopicPartition, missing: Sequence[Numbers], offsets: tuple[int, int]
    ) -> None:
        """Let the outbox hold all that is missing; BackupError where Kafka no longer has it."""
        held = self._connection.exec_driver_sql(
            "select task, number from stage_output where topic = %s and partition = %s",
            (topic, at.partition),
        )
        wanted = {
            (numbers.producer, number)
            for numbers in missing
            for number in range(numbers.first, numbers.last + 1)
        } - {(str(task), int(number)) for task, number in held}
        for envelope in _data(self._consumer, at, *offsets) if wanted else ():
            key = (envelope.producer, envelope.number)
            if key in wanted:
                wanted.discard(key)
                place = (envelope.producer, topic, at.partition, envelope.number)
                self._connection.exec_driver_sql(
                    _INSERT, (*place, envelope.received_at, envelope.trace, envelope.body)
                )
        if wanted:
            producer, number = min(wanted)
            raise BackupError(
                f"{at.topic}/{at.partition}: Kafka no longer has {len(wanted)} outputs that the"
                f" restored tasks need, the first is number {number} of {producer}"
            )

    def _sinks(self, at: TopicPartition) -> list[Reader]:
        """Return the sinks of a partition of rated usage, one per generation of their tables."""
        if not exists(self._connection, "sink_position"):
            return []
        rows = self._connection.exec_driver_sql(
            "select generation, last_position, next_cursor from sink_position"
            " where topic = %s and partition = %s and last_position > 0 order by generation",
            (at.topic, at.partition),
        )
        producer = f"{RATED_STAGE}/{at.partition}"
        return [
            Reader(f"sink of tables {tables}", cursor, {producer: last}, tables)
            for tables, last, cursor in rows
        ]

    def _set_on(self, reader: Reader, topic: str, at: TopicPartition, offset: int) -> None:
        if not reader.tables:
            self._tasks[reader.name].offsets[topic] = offset
            return
        self._connection.exec_driver_sql(
            "update sink_position set next_cursor = %s"
            " where generation = %s and topic = %s and partition = %s",
            (offset, reader.tables, at.topic, at.partition),
        )


def readers_of(
    stages: Sequence[Stage], tasks: dict[str, Standing], topic: str, partition: int
) -> list[Reader]:
    """Return the tasks that read a partition of a topic or raw log; one that never ran is new."""
    readers = []
    for stage in stages:
        if topic not in (*stage.topics, stage.raw_log):
            continue
        task = f"{stage.name}/{partition}"
        standing = tasks.setdefault(task, Standing())
        seen = standing.seen.get(topic, {})
        numbers = {producer: each.number for producer, each in seen.items()}
        readers.append(Reader(task, standing.offsets.get(topic, 0), numbers))
    return readers


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
            if record.offset < end:
                messages = map(decode_message, unbundled(record.value))
                yield from (message for message in messages if isinstance(message, Envelope))
