"""The runner: state, outputs and positions of a task stand or fall together."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import Connection, create_engine, event

from collectors.adapters.segments import SegmentReader, SegmentWriter
from rating.ports import Batch, Output, Put, StateView, StepResult
from rating.records import DeadLetter, DirectoryEntry, Usage, empty_frame, frame_of, schema_of
from streams.adapters.sqlite_topics import append_rows, read_topic
from streams.config import StreamsConfig
from streams.embedded import EmbeddedRunner, OwnershipLostError
from streams.stage import Stage


class CrashError(Exception):
    """The process dies here."""


def begin_on(path: Path) -> Any:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def manual(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @contextlib.contextmanager
    def begin() -> Iterator[Connection]:
        with engine.connect() as connection:
            connection.exec_driver_sql("begin immediate")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("rollback")
                raise
            connection.exec_driver_sql("commit")

    return begin


class Chance:
    """Dies now and then, as told by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.is_armed = True

    def strike(self) -> None:
        if self.is_armed and self.random.random() < 0.15:
            raise CrashError


def stages(chance: Chance) -> tuple[Stage, ...]:
    def measure(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        total = view.get("total", "octets") or 0
        rows = []
        for block in batch.blocks:
            octets = int(block.body)
            total += octets
            rows.append(Usage(f"k{octets % 5}", "s", "flows", "", "c", 0, octets, 0, 0, 0, 0, 0))
        chance.strike()
        return StepResult(
            changes=[Put("total", "octets", total)],
            outputs=[Output("usage.measured", frame_of(Usage, rows))],
        )

    def count(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        frame = batch.frame("usage.measured", schema_of(Usage))
        sums = frame.group_by("rating_key").agg(pl.col("octets_up").sum())
        changes = [
            Put("sums", key, (view.get("sums", key) or 0) + octets)
            for key, octets in sums.iter_rows()
        ]
        chance.strike()
        return StepResult(changes=changes, rows=[("watermark", watermark_at)])

    return (
        Stage("measure", measure, {"total": int}, "radius.accounting", (), ("usage.measured",)),
        Stage("count", count, {"sums": int}, None, ("usage.measured",), ()),
    )


def build(tmp_path: Path, chance: Chance, partitions: int, seen: list[Any]) -> EmbeddedRunner:
    def write(_connection: Connection, rows: Sequence[Any]) -> None:
        seen.extend(rows)

    return EmbeddedRunner(
        begin_on(tmp_path / "engine.sqlite"),
        stages(chance),
        {"radius.accounting": SegmentReader(tmp_path / "log")},
        write,
        StreamsConfig(partitions=partitions, batch_blocks_max=7, state_cache_entries_max=3),
    )


@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize("seed", range(5))
def test_a_death_at_any_step_loses_and_repeats_nothing(
    tmp_path: Path, seed: int, partitions: int
) -> None:
    chance = Chance(seed)
    writer = SegmentWriter(tmp_path / "log")
    seen: list[Any] = []
    runner = build(tmp_path, chance, partitions, seen)
    sent = 0
    for n in range(60):
        for octets in range(n % 4):
            writer.append("data", n, str(octets * n).encode())
            sent += octets * n
        writer.append("marker", n, b"")
        try:
            runner.run_once()
        except CrashError:
            runner = build(tmp_path, chance, partitions, seen)
    chance.is_armed = False
    while runner.run_once():
        pass
    counted = {
        key: value
        for task in runner._tasks
        if task.stage.name == "count"
        for key, value in _scan(runner, tmp_path, task)
    }
    assert sum(counted.values()) == sent
    assert runner.watermarks()["count/0"] == 59
    assert ("watermark", 59) in seen


def _scan(runner: EmbeddedRunner, tmp_path: Path, task: Any) -> list[Any]:
    with begin_on(tmp_path / "engine.sqlite")() as connection:
        task.state.bind(connection)
        return list(task.state.scan("sums"))


def test_an_engine_that_was_taken_over_writes_nothing(tmp_path: Path) -> None:
    chance = Chance(0)
    chance.is_armed = False
    seen: list[Any] = []
    old = build(tmp_path, chance, 1, seen)
    new = build(tmp_path, chance, 1, seen)
    SegmentWriter(tmp_path / "log").append("data", 1, b"7")
    with pytest.raises(OwnershipLostError):
        old.run_once()
    assert new.run_once()


def test_what_a_reader_leaves_is_written_and_trimmed_once_it_was_taken(tmp_path: Path) -> None:
    def measure(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        row = Usage("k", "s", "flows", "", "c", 0, 1, 0, 0, 0, 0, 0)
        two = frame_of(Usage, [row, row])
        return StepResult(outputs=[Output("usage.measured", two) for _ in batch.blocks])

    def count(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        return StepResult(
            rows=[(batch.frame("usage.measured", schema_of(Usage)).height, watermark_at)]
        )

    seen: list[Any] = []
    runner = EmbeddedRunner(
        begin_on(tmp_path / "engine.sqlite"),
        (
            Stage("measure", measure, {}, "radius.accounting", (), ("usage.measured",)),
            Stage("count", count, {}, None, ("usage.measured",), ()),
        ),
        {"radius.accounting": SegmentReader(tmp_path / "log")},
        lambda _, rows: seen.extend(rows),
        StreamsConfig(batch_rows_max=3),
    )
    writer = SegmentWriter(tmp_path / "log")
    for at in range(3):
        writer.append("data", at, b"")
    writer.append("marker", 9, b"")
    stored, left = [], []
    while runner.run_once():
        stored.append(runner.trim({}))
        left.append(runner.is_behind)
    assert seen == [(2, 0), (2, 0), (2, 9)], "two rows each time, the watermark behind all"
    assert stored == [0, 1, 2], "the second and third frame, and the watermark"
    assert left == [True, True, False]
    with begin_on(tmp_path / "engine.sqlite")() as connection:
        assert read_topic(connection, "usage.measured", 0, after=0, rows_max=9).frames == []


def test_a_stage_may_not_write_to_a_topic_that_it_does_not_declare(tmp_path: Path) -> None:
    def stray(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        row = Usage("k", "s", "flows", "", "c", 0, 1, 0, 0, 0, 0, 0)
        return StepResult(outputs=[Output("usage.rated", frame_of(Usage, [row]))])

    stage = Stage("stray", stray, {}, "radius.accounting", (), ("usage.measured",))
    SegmentWriter(tmp_path / "log").append("data", 1, b"7")
    runner = EmbeddedRunner(
        begin_on(tmp_path / "engine.sqlite"),
        (stage,),
        {"radius.accounting": SegmentReader(tmp_path / "log")},
        lambda _connection, _rows: None,
        StreamsConfig(),
    )
    with pytest.raises(ValueError, match=r"may not produce usage\.rated"):
        runner.run_once()


def test_an_empty_frame_is_no_record() -> None:
    assert empty_frame(Usage).schema == schema_of(Usage)


def test_no_packet_is_taken_before_the_directory_rows_that_wait(tmp_path: Path) -> None:
    taken: list[tuple[int, int]] = []

    def note(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        rows = sum(frame.height for frame in batch.frames.get("directory", ()))
        taken.append((rows, len(batch.blocks)))
        return StepResult()

    begin = begin_on(tmp_path / "engine.sqlite")
    SegmentWriter(tmp_path / "log").append("data", 1, b"7")
    runner = EmbeddedRunner(
        begin,
        (Stage("note", note, {}, "radius.accounting", ("directory",)),),
        {"radius.accounting": SegmentReader(tmp_path / "log")},
        lambda _connection, _rows: None,
        StreamsConfig(batch_rows_max=2),
    )
    with begin() as connection:
        for number in range(5):
            row = DirectoryEntry(f"e{number}", 1, "identity", "mac:00", "s", 0, 0, None)
            frame = frame_of(DirectoryEntry, [row])
            append_rows(connection, "directory", "api", frame, partitions=1)
    while runner.run_once():
        pass
    assert taken == [(2, 0), (2, 0), (1, 1)]


def test_dead_letters_are_bounded(tmp_path: Path) -> None:
    def refuse(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        letters = [DeadLetter("log", "bad", "", block.body, 0) for block in batch.blocks]
        return StepResult(outputs=[Output("dead.letters", frame_of(DeadLetter, letters))])

    writer = SegmentWriter(tmp_path / "log")
    runner = EmbeddedRunner(
        begin_on(tmp_path / "engine.sqlite"),
        (Stage("refuse", refuse, {}, "radius.accounting"),),
        {"radius.accounting": SegmentReader(tmp_path / "log")},
        lambda _connection, _rows: None,
        StreamsConfig(batch_blocks_max=1, dead_letters_max=3),
    )
    for number in range(9):
        writer.append("data", number, str(number).encode())
        runner.run_once()
    assert runner.trim({}) == 6
    with begin_on(tmp_path / "engine.sqlite")() as connection:
        read = read_topic(connection, "dead.letters", 0, after=0, rows_max=99)
    assert [frame["body"][0] for frame in read.frames] == [b"6", b"7", b"8"]


@pytest.mark.parametrize(
    ("sizes", "steps"),
    [
        ([10] * 20, [10, 10]),
        ([40, 40, 40, 200, 10], [2, 1, 1, 1]),
        ([1] * 20, [12, 8]),
        ([500], [1]),
    ],
)
def test_a_step_takes_so_many_octets_of_a_log_and_at_least_a_block(
    tmp_path: Path, sizes: list[int], steps: list[int]
) -> None:
    taken: list[int] = []

    def count(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        taken.append(len(batch.blocks))
        return StepResult()

    writer = SegmentWriter(tmp_path / "log")
    for size in sizes:
        writer.append("data", 1, bytes(size))
    runner = EmbeddedRunner(
        begin_on(tmp_path / "db"),
        [Stage("count", count, {}, raw_log="log")],
        {"log": SegmentReader(tmp_path / "log")},
        lambda _connection, _rows: None,
        StreamsConfig(batch_blocks_max=12, batch_octets_max=100),
    )
    while runner.run_once():
        pass
    assert taken == steps


def test_a_stage_that_takes_more_of_a_kept_topic_reads_it_from_the_beginning(
    tmp_path: Path,
) -> None:
    begin = begin_on(tmp_path / "flowrate.sqlite")
    taken: list[str] = []

    def learn(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        taken.extend(batch.frame("directory", schema_of(DirectoryEntry))["entry_id"])
        return StepResult()

    def run(*entry_ids: str, anew: int) -> list[str]:
        anew_of = {"directory": anew} if anew else {}
        stage = Stage("attribute", learn, {}, topics=("directory",), taken_anew=anew_of)
        runner = EmbeddedRunner(begin, (stage,), {}, lambda connection, rows: 0, StreamsConfig())
        rows = [DirectoryEntry(e, 1, "identity", e, "s", 0, 0, None) for e in entry_ids]
        with begin() as connection:
            append_rows(
                connection, "directory", "api", frame_of(DirectoryEntry, rows), partitions=1
            )
        taken.clear()
        while runner.run_once():
            pass
        return list(taken)

    assert run("a", "b", anew=0) == ["a", "b"]
    assert run("c", anew=0) == ["c"]
    assert run("d", anew=1) == ["a", "b", "c", "d"]
    assert run("e", anew=1) == ["e"]
    assert run(anew=0) == ["d", "e"], "back again, what came meanwhile is taken"
