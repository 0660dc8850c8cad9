"""The runner of one machine: every task's state, outputs and positions in one transaction.

One pass takes each stage in topology order, so a datagram that came in leaves as rated usage in
the same commit; what stages hand to one another is written only where some of it has to wait. Any
exception ends the process (crash-only): the transaction is gone, and the supervisor starts again
from what was committed.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import polars as pl
from sqlalchemy import Connection

from rating.ports import Batch, Block, StepResult, TopicReader
from streams.adapters import sqlite_topics
from streams.adapters.sqlite_state import TaskState
from streams.adapters.sqlite_state import create_tables as create_state_tables
from streams.config import StreamsConfig
from streams.handover import Handover
from streams.stage import Stage, consumers_of, producers_of
from streams.topics import STORED

_OWNER_DDL = (
    "create table if not exists engine_owner("
    " only integer primary key check(only = 1), epoch integer not null)"
)

_HANDED = ("flow.minutes", "nat.minutes", "nat.events", "session.bindings", "usage.measured")
"""Topics that only stages read."""
TRIMMED = (*_HANDED, "usage.rated")
"""Topics whose records go once every reader has taken them."""
_BLOCKS_PER_READ = 8


class OwnershipLostError(RuntimeError):
    """Another engine took this data over: this one may write nothing more."""


@dataclasses.dataclass(slots=True)
class _Task:
    """One stage on one partition and where it stands."""

    name: str
    stage: Stage
    partition: int
    state: TaskState
    positions: dict[str, int] = dataclasses.field(default_factory=dict)
    watermarks: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    watermark_at: int = 0


@dataclasses.dataclass(slots=True)
class _Input:
    """What one task found to do in one pass."""

    frames: dict[str, Sequence[pl.DataFrame]] = dataclasses.field(default_factory=dict)
    blocks: list[Block] = dataclasses.field(default_factory=list)
    positions: dict[str, int] = dataclasses.field(default_factory=dict)
    watermarks: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    rows: int = 0
    is_handed: bool = False
    """Whether something came from an earlier task of the pass."""

    @property
    def is_empty(self) -> bool:
        return not (self.positions or self.is_handed)


class EmbeddedRunner:
    """Runs the stages over one SQLite file.

    begin opens a write transaction (`BEGIN IMMEDIATE`) and commits or rolls back at its end;
    readers maps raw log names to their readers; write_rows upserts `rating.rows` instances.
    """

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[Connection]],
        stages: Sequence[Stage],
        readers: Mapping[str, TopicReader],
        write_rows: Callable[[Connection, Sequence[Any]], object],
        config: StreamsConfig,
        on_committed: Callable[[str, pl.DataFrame], object] | None = None,
    ) -> None:
        """Create the tables, take the ownership and load every task's position.

        on_committed is told topic and rows of each output once its pass has been committed.
        """
        self._begin = begin
        self._stages = tuple(stages)
        self._readers = readers
        self._write_rows = write_rows
        self._config = config
        self._on_committed = on_committed
        self._produced: list[tuple[str, pl.DataFrame]] = []
        self.counters: Counter[str] = Counter()
        self.is_behind = False
        """Whether the last pass left something, since a batch was full."""
        self._expected = {
            topic: producers_of(topic, self._stages, config.partitions)
            for stage in stages
            for topic in stage.topics
        }
        self._tasks = [
            _Task(name, stage, partition, self._state(name, stage))
            for stage in stages
            for partition, name in enumerate(stage.tasks(config.partitions))
        ]
        self._handover = Handover(
            {
                (topic, partition): [
                    task.name
                    for task in self._tasks
                    if topic in task.stage.topics and task.partition == partition
                ]
                for topic in _HANDED
                if consumers_of(topic, self._stages)
                for partition in range(config.partitions)
            },
            config.partitions,
        )
        with begin() as connection:
            self._epoch = self._take_ownership(connection)
            for task in self._tasks:
                self._load(connection, task)

    def _state(self, name: str, stage: Stage) -> TaskState:
        limit = self._config.state_cache_entries_max
        return TaskState(name, stage.collections, entries_max=limit)

    def _take_ownership(self, connection: Connection) -> int:
        sqlite_topics.create_tables(connection)
        create_state_tables(connection)
        connection.exec_driver_sql(_OWNER_DDL)
        connection.exec_driver_sql(
            "insert into engine_owner values(1, 1)"
            " on conflict(only) do update set epoch = epoch + 1"
        )
        return self._current_epoch(connection)

    @staticmethod
    def _current_epoch(connection: Connection) -> int:
        return int(connection.exec_driver_sql("select epoch from engine_owner").scalar_one())

    def _load(self, connection: Connection, task: _Task) -> None:
        task.state.bind(connection)
        task.positions = sqlite_topics.load_positions(connection, task.name)
        task.watermarks = sqlite_topics.load_watermarks(connection, task.name)
        task.watermark_at = self._watermark(task, task.watermarks)

    def _watermark(self, task: _Task, watermarks: Mapping[tuple[str, str], int]) -> int:
        """Return the least watermark (ms) of all a task's inputs; 0 while one is silent."""
        bounds = [
            watermarks.get((topic, producer), 0)
            for topic in task.stage.topics
            for producer in self._expected[topic]
        ]
        if task.stage.raw_log:
            bounds.append(watermarks.get((task.stage.raw_log, "collector"), 0))
        return min(bounds, default=0)

    def run_once(self) -> bool:
        """Take every task one batch further in one transaction; return whether any had work.

        Raises OwnershipLostError where another engine has taken over; nothing is then written.
        """
        self._produced.clear()
        self._handover.begin()
        self.is_behind = False
        with self._begin() as connection:
            if self._current_epoch(connection) != self._epoch:
                raise OwnershipLostError(f"epoch {self._epoch} was taken over")
            worked = [self._advance(connection, task) for task in self._tasks]
            self._write_left(connection)
        if any(worked):
            self.counters["stream_commits"] += 1
        if self._on_committed:
            for topic, frame in self._produced:
                self._on_committed(topic, frame)
        return any(worked)

    def _advance(self, connection: Connection, task: _Task) -> bool:
        task.state.bind(connection)
        found = self._read(connection, task)
        if found.is_empty:
            return False
        watermarks = {**task.watermarks, **found.watermarks}
        watermark_at = max(task.watermark_at, self._watermark(task, watermarks))
        batch = Batch(frames=found.frames, blocks=found.blocks)
        has_data = bool(batch.blocks) or any(batch.frames.values())
        if has_data or watermark_at > task.watermark_at:
            result = task.stage.step(task.state, batch, watermark_at=watermark_at)
            self._commit(connection, task, result)
            self.counters["stream_steps"] += 1
        if watermark_at > task.watermark_at:
            self._pass_on(connection, task, watermark_at)
        if found.positions:
            sqlite_topics.save_positions(connection, task.name, found.positions)
        if found.watermarks:
            sqlite_topics.save_watermarks(connection, task.name, found.watermarks)
        task.positions.update(found.positions)
        task.watermarks = watermarks
        task.watermark_at = watermark_at
        self.counters["stream_rows_read"] += found.rows
        self.counters["stream_state_evicted"] += task.state.take_evicted()
        return True

    def _read(self, connection: Connection, task: _Task) -> _Input:
        """Return what waits for a task, but only what the API wrote while more than that waits.

        Usage must not be taken before the directory row that says whose it is.
        """
        found = _Input()
        stored = [topic for topic in task.stage.topics if topic in STORED]
        has_more = [self._read_topic(connection, task, topic, found) for topic in stored]
        if any(has_more):
            return found
        if task.stage.raw_log:
            self._read_log(task, task.stage.raw_log, found)
        for topic in task.stage.topics:
            if topic not in STORED:
                self._read_topic(connection, task, topic, found)
        return found

    def _read_topic(self, connection: Connection, task: _Task, topic: str, found: _Input) -> bool:
        """Add a topic's next rows to what was found; return whether more of them wait."""
        place = task.stage.place_of(topic)
        after = task.positions.get(place, 0)
        part = sqlite_topics.read_topic(
            connection, topic, task.partition, after=after, rows_max=self._config.batch_rows_max
        )
        if part.position != after:
            found.positions[place] = part.position
        found.frames[topic] = part.frames
        found.rows += sum(frame.height for frame in part.frames)
        found.watermarks.update({(topic, who): at for who, at in part.watermarks.items()})
        if not part.has_more and self._handover.has(topic):
            self._take_handed(task, topic, found)
        self.is_behind |= part.has_more
        return part.has_more

    def _take_handed(self, task: _Task, topic: str, found: _Input) -> None:
        """Add what earlier tasks of this pass put out, which stands behind all that is stored."""
        rows_max = self._config.batch_rows_max
        rows = sum(frame.height for frame in found.frames[topic])
        entries = self._handover.take(task.name, topic, task.partition, rows_max, rows)
        frames = [entry.frame for entry in entries if entry.frame is not None]
        found.frames[topic] = [*found.frames[topic], *frames]
        found.rows += sum(frame.height for frame in frames)
        found.watermarks.update(
            {
                (topic, entry.producer): entry.watermark_at
                for entry in entries
                if entry.watermark_at is not None
            }
        )
        found.is_handed = found.is_handed or bool(entries)

    def _write_left(self, connection: Connection) -> None:
        """Write what some task has left of what was handed over, and where the others stand."""
        for left in self._handover.left():
            self.is_behind = True
            positions = [
                sqlite_topics.append_record(
                    connection,
                    left.topic,
                    left.partition,
                    entry.producer,
                    frame=entry.frame,
                    watermark_at=entry.watermark_at,
                )
                for entry in left.entries
            ]
            for task in self._tasks:
                if count := left.taken.get(task.name, 0):
                    place = task.stage.place_of(left.topic)
                    task.positions[place] = positions[count - 1]
                    sqlite_topics.save_positions(
                        connection, task.name, {place: task.positions[place]}
                    )

    def _read_log(self, task: _Task, log: str, found: _Input) -> None:
        """Add a raw log's next blocks to what was found."""
        read = self._read_blocks(self._readers[log], task.positions.get(log, 0))
        if read:
            found.positions[log] = read[-1].number
        found.blocks.extend(block for block in read if block.kind == "data")
        markers = [block.received_at for block in read if block.kind == "marker"]
        if markers:
            found.watermarks[log, "collector"] = max(markers)
        self.counters["stream_blocks_read"] += len(read)

    def _read_blocks(self, reader: TopicReader, after: int) -> list[Block]:
        """Return the next blocks of a log, as many as one step may take; a few at a time."""
        taken: list[Block] = []
        octets = 0
        while room := self._config.batch_blocks_max - len(taken):
            found = reader.read(after, min(room, _BLOCKS_PER_READ))
            for block in found:
                octets += len(block.body)
                if taken and octets > self._config.batch_octets_max:
                    self.is_behind = True
                    return taken
                taken.append(block)
            if len(found) < min(room, _BLOCKS_PER_READ):
                return taken
            after = taken[-1].number
        self.is_behind = True
        return taken

    def _commit(self, connection: Connection, task: _Task, result: StepResult) -> None:
        task.state.apply(result.changes)
        for output in result.outputs:
            if output.topic not in task.stage.produces and output.topic != "dead.letters":
                raise ValueError(f"{task.name} may not produce {output.topic}")
            if self._handover.has(output.topic):
                self._handover.put_rows(output.topic, task.name, output.frame)
            else:
                sqlite_topics.append_rows(
                    connection,
                    output.topic,
                    task.name,
                    output.frame,
                    partitions=self._config.partitions,
                )
            self.counters["stream_rows_appended"] += output.frame.height
            if self._on_committed:
                self._produced.append((output.topic, output.frame))
        if result.rows:
            self._write_rows(connection, result.rows)
        self.counters.update(result.counters)

    def _pass_on(self, connection: Connection, task: _Task, watermark_at: int) -> None:
        for topic in task.stage.produces:
            if self._handover.has(topic):
                self._handover.put_watermark(topic, task.name, watermark_at)
            elif consumers_of(topic, self._stages):
                sqlite_topics.append_watermark(
                    connection,
                    topic,
                    task.name,
                    watermark_at,
                    partitions=self._config.partitions,
                )

    def trim(self, outside_positions: Mapping[str, int]) -> int:
        """Delete records that every stage and the outside reader of a topic consumed.

        outside_positions gives the last position that a reader outside the engine (the sink)
        committed, per topic. `directory` and `account.events` are kept: they are history.
        """
        deleted = 0
        with self._begin() as connection:
            for topic in TRIMMED:
                for partition in range(self._config.partitions):
                    through = [
                        task.positions.get(task.stage.place_of(topic), 0)
                        for task in self._tasks
                        if topic in task.stage.topics and task.partition == partition
                    ]
                    if topic == "usage.rated":
                        through.append(outside_positions.get(topic, 0))
                    deleted += sqlite_topics.trim_topic(
                        connection, topic, partition, through=min(through, default=0)
                    )
            deleted += sqlite_topics.trim_to_newest(
                connection, "dead.letters", records_max=self._config.dead_letters_max
            )
        self.counters["stream_records_trimmed"] += deleted
        return deleted

    def watermarks(self) -> dict[str, int]:
        """Return every task's watermark (ms), for pages and metrics."""
        return {task.name: task.watermark_at for task in self._tasks}
