"""One round of a worker: messages of several tasks of a stage, in one PostgreSQL transaction.

    messages ─▶ what is new of them ─▶ step ─▶ state, outbox, business rows, positions ─▶ commit

Nothing leaves before that commit, and it holds only while this worker owns the tasks: each has an
epoch that a new owner raises, so that a paused worker that wakes can write nothing (DESIGN §3.1).
Nothing here knows Kafka or Faust. Any exception ends the process (crash-only): what was committed
stands, and the next owner goes on from there.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec
import polars as pl
from sqlalchemy import Connection

from rating.envelopes import EXPIRED, Envelope, Mark, decode_message, unbundled
from rating.ports import Batch, Block, Output, StepResult
from rating.rows import CollectorOutage
from rating.traces import NoSpans, active
from streams.adapters import postgres_topics
from streams.adapters.postgres_outbox import OutboxRow, delete_rows, insert_rows, load_rows
from streams.adapters.postgres_state import PostgresState, StateWrites
from streams.adapters.postgres_tables import current_generation
from streams.adapters.postgres_tasks import load_standing, save_standings, take_epochs
from streams.codec import decode_frame, encode_frame
from streams.observation import RoundTraces
from streams.progress import Standing
from streams.stage import Stage, consumers_of
from streams.topics import RAW_LOGS, STORED, TOPICS, route


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One Kafka message of a task's input: topic (not physical), offset and value."""

    topic: str
    offset: int
    value: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class RoundConfig:
    """What rounds are bounded by; rows_max: of what the API has appended, over all tasks."""

    partitions: int
    state_cache_entries_max: int
    rows_max: int
    message_octets_max: int
    generation: int


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """What a committed round wants published: outbox rows in order, and new watermarks.

    watermarks: task -> (watermark in ms, topic -> partition -> last number given out). is_behind:
    more than a round's rows of the API were waiting, so that none of the messages was taken.
    """

    outputs: Sequence[OutboxRow] = ()
    watermarks: Mapping[str, tuple[int, dict[str, dict[int, int]]]] = dataclasses.field(
        default_factory=dict
    )
    rated: Sequence[pl.DataFrame] = ()
    is_behind: bool = False


@dataclasses.dataclass(slots=True)
class Task:
    """One stage on one partition, owned by this worker since `epoch`."""

    name: str
    stage: Stage
    partition: int
    state: PostgresState
    epoch: int
    standing: Standing
    watermark_at: int


@dataclasses.dataclass(slots=True)
class _Taken:
    """What is new of a task's messages."""

    frames: dict[str, list[pl.DataFrame]] = dataclasses.field(default_factory=dict)
    blocks: list[Block] = dataclasses.field(default_factory=list)
    traces: list[bytes] = dataclasses.field(default_factory=list)
    outages: list[CollectorOutage] = dataclasses.field(default_factory=list)


class OutgrownError(RuntimeError):
    """The topics have a new generation: this worker may take nothing more of its own."""


class BrokenError(RuntimeError):
    """A round failed before, so that memory is ahead of the database: the process must end."""


class Rounds:
    """The tasks that this worker owns, and their rounds. One thread at a time.

    After an exception of `take_over` or `run` every further call raises BrokenError: what is in
    memory was not committed, and a round on top of it would be.

    begin opens a transaction and commits or rolls back at its end; write_rows upserts
    `rating.rows` instances; traces follows the traced records through the tasks.
    """

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[Connection]],
        stages: Sequence[Stage],
        write_rows: Callable[[Connection, Sequence[Any]], object],
        config: RoundConfig,
        traces: RoundTraces | None = None,
    ) -> None:
        """Own nothing yet; `take_over` does."""
        self._begin = begin
        self._stages = {stage.name: stage for stage in stages}
        self._write_rows = write_rows
        self._config = config
        self._traces = traces or RoundTraces(NoSpans(), lambda: 0)
        self._writes = StateWrites()
        self._acknowledged: dict[str, list[OutboxRow]] = {name: [] for name in self._stages}
        self._business: list[Any] = []
        self._is_broken = False
        self._former: dict[tuple[str, int], Task] = {}
        self._newest: Mapping[tuple[str, int], int] = {}
        self.tasks: dict[tuple[str, int], Task] = {}
        self.counters: Counter[str] = Counter()
        self._producers = {
            topic: [
                f"{stage.name}/{partition}"
                for stage in stages
                if topic in stage.produces
                for partition in range(config.partitions)
            ]
            for stage in stages
            for topic in stage.topics
        }

    # -- ownership -----------------------------------------------------------------------------

    def take_over(self, partitions: Collection[int]) -> list[OutboxRow]:
        """Own the tasks of these partitions and no others; return their outbox, oldest first.

        What the former owner committed stands; it can commit nothing more. OutgrownError where
        another generation of topics is current.
        """
        with self._crash_only():
            return self._take_over(partitions)

    def release(self) -> None:
        """Own nothing any more: others may be given the partitions."""
        self._former, self.tasks = self.tasks, {}

    @contextmanager
    def _crash_only(self) -> Iterator[None]:
        if self._is_broken:
            raise BrokenError("a round failed before")
        self._is_broken = True
        yield
        self._is_broken = False

    def _take_over(self, partitions: Collection[int]) -> list[OutboxRow]:
        names = {
            f"{stage.name}/{partition}": (stage, partition)
            for stage in self._stages.values()
            for partition in sorted(partitions)
        }
        former, self._former, self.tasks = self._former | self.tasks, {}, {}
        self._acknowledged = {name: [] for name in self._stages}
        epochs = take_epochs(self._begin, list(names))
        with self._begin() as connection:
            # Behind the epochs: a growth that comes now takes the tasks away again.
            self._check_generation(connection)
            standings = load_standing(connection, list(names))
            left_over = load_rows(connection, list(names))
        for name, (stage, partition) in names.items():
            watermark_at, encoded = standings[name]
            held = former.get((stage.name, partition))
            if held is not None and epochs[name] == held.epoch + 1:
                # Nobody owned it in between, so what is in memory is what was committed.
                held.epoch = epochs[name]
                self.tasks[stage.name, partition] = held
                continue
            self.tasks[stage.name, partition] = Task(
                name,
                stage,
                partition,
                PostgresState(
                    name,
                    stage.collections,
                    entries_max=self._config.state_cache_entries_max,
                    writes=self._writes,
                ),
                epochs[name],
                msgspec.msgpack.decode(encoded, type=Standing) if encoded else Standing(),
                watermark_at,
            )
        return left_over

    def _check_generation(self, connection: Connection) -> None:
        generation, _ = current_generation(connection)
        if generation != self._config.generation:
            raise OutgrownError(f"generation {generation} of the topics is current")

    def offsets(self) -> dict[tuple[str, int], int]:
        """Return the offset to go on from, per (topic, partition) that was read before."""
        return {
            (topic, task.partition): offset
            for task in self.tasks.values()
            for topic, offset in task.standing.offsets.items()
        }

    def watermarks(self) -> dict[str, tuple[int, dict[str, dict[int, int]]]]:
        """Return every owned task's watermark and numbers, as `Round.watermarks` has them."""
        return {task.name: _progress_of(task) for task in self.tasks.values()}

    # -- rounds --------------------------------------------------------------------------------

    def run(self, stage: str, messages: Mapping[int, Sequence[Message]]) -> Round:
        """Take one round of a stage: messages by partition, in the order of each topic.

        Also takes what the API appended for these partitions; where that is more than rows_max, it
        takes only of that (`Round.is_behind`): usage must not be taken before who it belongs to.
        OwnershipLostError where another worker owns one of the partitions, SequenceGapError where
        data are missing; nothing is then written.
        """
        with self._crash_only():
            return self._run(stage, messages)

    def _run(self, stage: str, messages: Mapping[int, Sequence[Message]]) -> Round:
        acknowledged, self._acknowledged[stage] = self._acknowledged[stage], []
        with self._begin() as connection:
            tasks = [self.tasks[stage, partition] for partition in sorted(messages)]
            stored, is_behind = self._read_stored(connection, tasks)
            results = [
                self._advance(connection, task, () if is_behind else messages[task.partition], rows)
                for task, rows in zip(tasks, stored, strict=True)
            ]
            outputs = [row for rows, _ in results for row in rows]
            # The fence first: who was taken over learns it before any row of the new owner's.
            save_standings(
                connection,
                [
                    (t.name, t.epoch, t.watermark_at, msgspec.msgpack.encode(t.standing))
                    for t in tasks
                ],
            )
            self._writes.flush(connection)
            insert_rows(connection, outputs)
            delete_rows(connection, acknowledged)
            # All at once and last: rows that several workers add to are locked in one order, and
            # not for longer than the commit takes.
            if self._business:
                self._write_rows(connection, self._business)
                self._business = []
        self.counters["stream_commits"] += 1
        moved = {task.name: _progress_of(task) for task in tasks}
        rated = [frame for _, frames in results for frame in frames]
        return Round(outputs, moved, rated, is_behind)

    def acknowledge(self, stage: str, rows: Iterable[OutboxRow]) -> None:
        """Remember that Kafka has these rows; the stage's next round deletes them."""
        self._acknowledged[stage].extend(rows)

    def acknowledged(self) -> list[str]:
        """Return the stages of which the next round deletes rows that Kafka has."""
        return [stage for stage, rows in self._acknowledged.items() if rows]

    def appended(self) -> dict[str, list[int]]:
        """Return the partitions of each stage for which the API has appended something new.

        OutgrownError as `take_over`.
        """
        with self._begin() as connection:
            self._check_generation(connection)
            self._newest = postgres_topics.newest_numbers(connection)
        return self.unread()

    def unread(self) -> dict[str, list[int]]:
        """Return what `appended` would, by what the last round or look has seen: asks nobody."""
        found: dict[str, list[int]] = {}
        for (name, partition), task in self.tasks.items():
            if _unread(task, self._newest):
                found.setdefault(name, []).append(partition)
        return found

    def _advance(
        self,
        connection: Connection,
        task: Task,
        messages: Sequence[Message],
        stored: Mapping[str, list[pl.DataFrame]],
    ) -> tuple[list[OutboxRow], list[pl.DataFrame]]:
        task.state.bind(connection)
        taken = self._take(task, messages)
        taken.frames.update(stored)
        self._traces.take(task.name, taken.traces)
        watermark_at = max(task.watermark_at, self._watermark(task))
        has_data = bool(taken.blocks) or any(taken.frames.values())
        if taken.outages:
            self._business.extend(taken.outages)
            self.counters["stream_collector_outages"] += len(taken.outages)
        rows: list[OutboxRow] = []
        rated: list[pl.DataFrame] = []
        if has_data or watermark_at > task.watermark_at:
            batch = Batch(frames=taken.frames, blocks=taken.blocks)
            with active(next(iter(taken.traces), b"")):
                result = task.stage.step(task.state, batch, watermark_at=watermark_at)
            rows = self._commit(task, result, watermark_at)
            rated = [o.frame for o in result.outputs if o.topic == "usage.rated"]
            self.counters["stream_steps"] += 1
        task.watermark_at = watermark_at
        self.counters["stream_state_evicted"] += task.state.take_evicted()
        return rows, rated

    def _take(self, task: Task, messages: Sequence[Message]) -> _Taken:
        taken = _Taken()
        standing = task.standing
        for message in messages:
            topic = message.topic
            standing.offsets[topic] = max(standing.offsets.get(topic, 0), message.offset + 1)
            for part in unbundled(message.value):
                decoded = decode_message(part)
                if isinstance(decoded, tuple):
                    for mark in decoded:
                        self._take_mark(task, topic, mark, taken)
                elif standing.take(topic, decoded):
                    self._take_data(topic, decoded, taken)
                else:
                    self.counters["stream_repeats_dropped"] += 1
        return taken

    def _take_mark(self, task: Task, topic: str, mark: Mark, taken: _Taken) -> None:
        expired_at = task.standing.mark(topic, mark)
        if expired_at is not None:
            returned_at = None if mark.state == EXPIRED else mark.watermark_at
            outage = CollectorOutage(mark.producer, task.partition, expired_at, returned_at)
            taken.outages.append(outage)

    def _take_data(self, topic: str, envelope: Envelope, taken: _Taken) -> None:
        if envelope.trace:
            taken.traces.append(envelope.trace)
        if topic in RAW_LOGS:
            taken.blocks.append(Block(envelope.number, "data", envelope.received_at, envelope.body))
            self.counters["stream_blocks_read"] += 1
            return
        frame = decode_frame(envelope.body, TOPICS[topic].record)
        taken.frames.setdefault(topic, []).append(frame)
        self.counters["stream_rows_read"] += frame.height

    def _read_stored(
        self, connection: Connection, tasks: Sequence[Task]
    ) -> tuple[list[dict[str, list[pl.DataFrame]]], bool]:
        """Return what the API has appended to each task's topics, and whether more is waiting.

        Over all tasks up to rows_max: a round over every task's rows may take longer than Kafka
        waits for a worker when others join.
        """
        newest = self._newest = postgres_topics.newest_numbers(connection)
        rows_left = self._config.rows_max
        found: list[dict[str, list[pl.DataFrame]]] = [{} for _ in tasks]
        for task, frames_of in zip(tasks, found, strict=True):
            for topic in _unread(task, newest):
                place = task.stage.place_of(topic)
                if rows_left <= 0:
                    break
                frames, number = postgres_topics.read_rows(
                    connection,
                    topic,
                    postgres_topics.stored_partition(topic, task.partition),
                    after=task.standing.stored.get(place, 0),
                    rows_max=rows_left,
                )
                if frames:
                    task.standing.stored[place] = number
                    frames_of[topic] = frames
                    rows = sum(frame.height for frame in frames)
                    rows_left -= rows
                    self.counters["stream_rows_read"] += rows
        return found, any(found) and any(_unread(task, newest) for task in tasks)

    def _watermark(self, task: Task) -> int:
        """Return the least watermark (ms) of all a task's inputs; 0 while one is silent."""
        standing = task.standing
        bounds = [
            standing.watermark_of(topic, producer)
            for topic in task.stage.topics
            for producer in self._producers[topic]
        ]
        if task.stage.raw_log:
            bounds.append(standing.collectors_watermark(task.stage.raw_log))
        return min(bounds, default=0)

    # -- outputs -------------------------------------------------------------------------------

    def _commit(self, task: Task, result: StepResult, watermark_at: int) -> list[OutboxRow]:
        task.state.apply(result.changes)
        self._business.extend(result.rows)
        self.counters.update(result.counters)
        trace = self._traces.give(task.name, result.outputs, watermark_at)
        return self._outbox(task, result.outputs, trace)

    def _outbox(self, task: Task, outputs: Sequence[Output], trace: bytes) -> list[OutboxRow]:
        parts: dict[tuple[str, int], list[pl.DataFrame]] = {}
        for output in outputs:
            if output.topic not in task.stage.produces and output.topic != "dead.letters":
                raise ValueError(f"{task.name} may not produce {output.topic}")
            self.counters["stream_rows_appended"] += output.frame.height
            for partition, part in route(
                TOPICS[output.topic], output.frame, self._config.partitions
            ):
                if part.height:
                    parts.setdefault((output.topic, partition), []).append(part)
        rows = []
        for (topic, partition), frames in parts.items():
            frame = pl.concat(frames) if len(frames) > 1 else frames[0]
            for body, received_at in self._bodies(frame, TOPICS[topic].record):
                number = task.standing.issue(topic, partition)
                rows.append(
                    OutboxRow(task.name, topic, partition, number, received_at, trace, body)
                )
        return rows

    def _bodies(self, frame: pl.DataFrame, record: type) -> list[tuple[bytes, int]]:
        """Return a frame's bodies and newest received_at, halved until each fits a message."""
        body = encode_frame(frame, record)
        if len(body) > self._config.message_octets_max and frame.height > 1:
            half = frame.height // 2
            return [*self._bodies(frame[:half], record), *self._bodies(frame[half:], record)]
        newest: Any = frame["received_at"].max() if "received_at" in frame.columns else 0
        return [(body, int(newest or 0))]


def _unread(task: Task, newest: Mapping[tuple[str, int], int]) -> list[str]:
    """Return the topics of a task to which the API has appended more than it has read."""
    return [
        topic
        for topic in task.stage.topics
        if topic in STORED
        and newest.get((topic, postgres_topics.stored_partition(topic, task.partition)), 0)
        > task.standing.stored.get(task.stage.place_of(topic), 0)
    ]


def _progress_of(task: Task) -> tuple[int, dict[str, dict[int, int]]]:
    numbers = {topic: dict(issued) for topic, issued in task.standing.issued.items()}
    return task.watermark_at, numbers


def marked_topics(stage: Stage, stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Return the topics behind whose data a stage passes its watermark on."""
    return tuple(topic for topic in stage.produces if consumers_of(topic, stages))
