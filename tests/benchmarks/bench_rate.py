"""How fast the rate stage is: usage records per second and CPU seconds per million.

Run ``python -m tests.benchmarks.bench_rate [subscribers] [rounds] [steps]``. Each round is one
interim of every subscriber: five minutes of accounting, and flows of three classes for half of
them. A second line is about small steps, as many as given: one packet's minute of each of a few
hundred subscribers, as a worker of a cluster gets them. In both state lives in memory, so this is
the step alone. The last line is of the same rounds through the embedded runner: state, counters,
balances and rated rows of each are committed to SQLite (synchronous=FULL) before the next one.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from billing.adapters.databases import open_database, writing
from billing.adapters.rows import write_rows
from infra.garbage import collect_garbage_rarely
from infra.migrate import migrate
from rating.config import RateConfig
from rating.curves import AllowanceOverage
from rating.events import SubscriptionStarted, account_event
from rating.periods import Calendar
from rating.plans import Meter, Plan
from rating.ports import Batch, Block, MemoryState, Output, StateView, StepResult
from rating.rate_step import COLLECTIONS, step
from rating.records import AccountEvent, Usage, frame_of, schema_of
from streams.adapters import sqlite_topics
from streams.config import StreamsConfig
from streams.embedded import EmbeddedRunner
from streams.stage import Stage

START_MINUTE = 28_401_120  # 2024-01-01T00:00Z
INTERIM_MINUTES = 5
SMALL_ROWS = 300
"""Rows of a small step, each of another subscriber."""
CLASSES = ("cdn", "international", "local")
GB = 10**9


def plans() -> list[Plan]:
    """A class-blind and a class-weighted plan."""
    curve = AllowanceOverage(5 * GB, Fraction(5), GB)
    blind = Meter("data", curve)
    weighted = Meter("data", curve, class_weights={"cdn": (0, 1), "local": (1, 2)})
    return [
        Plan(name, 1, name.title(), "BDT", meters=(meter,))
        for name, meter in (("blind", blind), ("weighted", weighted))
    ]


def subscriptions(subscribers: int) -> pl.DataFrame:
    """Return the start of every subscription; one in ten is class-weighted."""
    blind, weighted = plans()
    at = START_MINUTE * 60_000
    events = [
        account_event(
            f"start-{number}",
            f"sub-{number:06d}",
            SubscriptionStarted(weighted if number % 10 == 0 else blind, Calendar("Asia/Dhaka")),
            effective_at=at,
            received_at=at - 60_000,
        )
        for number in range(subscribers)
    ]
    return frame_of(AccountEvent, events)


def subscribe(state: MemoryState, subscribers: int) -> None:
    """Take in every subscription."""
    batch = Batch({"account.events": [subscriptions(subscribers)]})
    state.apply(step(state, batch, watermark_at=START_MINUTE * 60_000))


def interim(round_number: int, subscribers: int, chance: np.random.Generator) -> pl.DataFrame:
    """One interim of every subscriber as a frame of Usage."""
    first = START_MINUTE + round_number * INTERIM_MINUTES
    received_at = (first + INTERIM_MINUTES) * 60_000
    keys = [f"sub-{number:06d}" for number in range(subscribers)]

    def rows(names: list[str], source: str, traffic_class: str, octets: int) -> pl.DataFrame:
        count = len(names) * INTERIM_MINUTES
        name = np.repeat(np.array(names), INTERIM_MINUTES)
        minutes = np.tile(np.arange(first, first + INTERIM_MINUTES), len(names))
        return pl.DataFrame(
            {
                "rating_key": name,
                "subscriber_id": name,
                "source": [source] * count,
                "session_id": name if source == "accounting" else [""] * count,
                "traffic_class": [traffic_class] * count,
                "minute": minutes,
                "octets_up": chance.integers(0, octets // 10, count),
                "octets_down": chance.integers(0, octets, count),
                "packets_up": chance.integers(0, 1000, count),
                "packets_down": chance.integers(0, 1000, count),
                "seconds": np.full(count, 60),
                "received_at": np.full(count, received_at),
            },
            schema=schema_of(Usage),
        )

    frames = [rows(keys, "accounting", "unclassified", 30_000_000)]
    frames += [rows(keys[::2], "flows", name, 10_000_000) for name in CLASSES]
    return pl.concat(frames)


def small_step(
    number: int, rows: int, subscribers: int, chance: np.random.Generator
) -> pl.DataFrame:
    """One minute of accounting of each of a few subscribers, each received by itself."""
    minute = START_MINUTE + number
    names = [f"sub-{chosen:06d}" for chosen in chance.choice(subscribers, rows, replace=False)]
    return pl.DataFrame(
        {
            "rating_key": names,
            "subscriber_id": names,
            "source": ["accounting"] * rows,
            "session_id": names,
            "traffic_class": ["unclassified"] * rows,
            "minute": np.full(rows, minute),
            "octets_up": chance.integers(0, 3_000_000, rows),
            "octets_down": chance.integers(0, 30_000_000, rows),
            "packets_up": chance.integers(0, 1000, rows),
            "packets_down": chance.integers(0, 1000, rows),
            "seconds": np.full(rows, 60),
            "received_at": (minute + 1) * 60_000 + chance.integers(0, 1000, rows),
        },
        schema=schema_of(Usage),
    )


def interims(subscribers: int, rounds: int) -> None:
    """Print the rates of a number of rounds."""
    chance = np.random.default_rng(1)
    batches = [interim(number, subscribers, chance) for number in range(rounds)]
    minutes = [(number + 1) * INTERIM_MINUTES for number in range(rounds)]
    wall, cpu = run(batches, minutes, subscribers)
    records = sum(usage.height for usage in batches)
    print(
        f"rate: {records:,} usage records, {subscribers:,} subscribers: "
        f"{records / wall:,.0f} records/s, {cpu / records * 1e6:.2f} CPU s per million"
    )


def small_steps(subscribers: int, steps: int) -> None:
    """Print what a row costs in steps of few rows, and what a step of one row does."""
    chance = np.random.default_rng(1)
    costs = []
    for rows in (SMALL_ROWS, 1):
        batches = [small_step(number, rows, subscribers, chance) for number in range(steps)]
        _, cpu = run(batches, range(1, steps + 1), subscribers)
        costs.append(cpu / steps)
    full, single = costs
    print(
        f"rate, {steps} steps of {SMALL_ROWS} rows: {full / SMALL_ROWS * 1e6:.0f} µs CPU per row, "
        f"{full * 1e3:.1f} ms a step; with one row {single * 1e3:.1f} ms"
    )


def run(
    batches: Sequence[pl.DataFrame], minutes: Iterable[int], subscribers: int
) -> tuple[float, float]:
    """Return the seconds (wall, CPU) of steps whose watermarks lie so many minutes on."""
    state, config = MemoryState(), RateConfig()
    subscribe(state, subscribers)
    wall = cpu = 0.0
    for usage, minute in zip(batches, minutes, strict=True):
        batch = Batch({"usage.measured": [usage]})
        watermark_at = (START_MINUTE + minute) * 60_000
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        result = step(state, batch, watermark_at=watermark_at, config=config)
        wall += time.perf_counter() - wall_before
        cpu += time.process_time() - cpu_before
        state.apply(result)
    return wall, cpu


@dataclasses.dataclass(frozen=True, slots=True)
class Rounds:
    """A raw log whose blocks name rounds of usage, and the stage that puts each of them out."""

    batches: Sequence[pl.DataFrame]

    def read(self, after: int, limit: int) -> Sequence[Block]:
        """Return one round and the marker behind it: a pass takes no more."""
        number = after // 2
        if limit < 2 or number >= len(self.batches):
            return []
        at = (START_MINUTE + (number + 1) * INTERIM_MINUTES) * 60_000
        return [
            Block(after + 1, "data", at, str(number).encode()),
            Block(after + 2, "marker", at, b""),
        ]

    def step(self, view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        """Put the rounds of a batch out as measured usage."""
        frames = [self.batches[int(block.body)] for block in batch.blocks]
        return StepResult((), [Output("usage.measured", frame) for frame in frames])


def committed(subscribers: int, rounds: int) -> None:
    """Print the rates of rounds that are committed to SQLite one by one."""
    chance = np.random.default_rng(1)
    source = Rounds([interim(number, subscribers, chance) for number in range(rounds)])
    log = "radius.accounting"
    stages = (
        Stage("rounds", source.step, {}, raw_log=log, produces=("usage.measured",)),
        Stage(
            "rate",
            functools.partial(step, config=RateConfig()),
            COLLECTIONS,
            topics=("account.events", "usage.measured"),
            produces=("usage.rated",),
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'flowrate.sqlite'}"
        migrate(url)
        database = open_database(url)
        with writing(database) as connection:
            sqlite_topics.create_tables(connection)
            starts = subscriptions(subscribers)
            sqlite_topics.append_rows(connection, "account.events", "bench", starts, partitions=1)
        readers: Mapping[str, Any] = {log: _Silent(source)}
        config = dataclasses.replace(StreamsConfig(), batch_blocks_max=2)
        runner = EmbeddedRunner(lambda: writing(database), stages, readers, write_rows, config)
        while runner.run_once():
            pass
        readers[log].is_silent = False
        wall, cpu = time.perf_counter(), time.process_time()
        while runner.run_once():
            pass
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        commits = runner.counters["stream_commits"]
        database.dispose()
    records = sum(usage.height for usage in source.batches)
    print(
        f"rate with its commit: {records:,} usage records in {commits} transactions: "
        f"{records / wall:,.0f} records/s, {cpu / records * 1e6:.2f} CPU s per million"
    )


@dataclasses.dataclass(slots=True)
class _Silent:
    """A reader that says nothing until it may, so that subscriptions come first."""

    reader: Rounds
    is_silent: bool = True

    def read(self, after: int, limit: int) -> Sequence[Block]:
        return [] if self.is_silent else self.reader.read(after, limit)


def main(subscribers: int = 5_000, rounds: int = 6, steps: int = 40) -> None:
    """Print a line about rounds and one about small steps, in a process as the stages have."""
    collect_garbage_rarely()
    interims(subscribers, rounds)
    small_steps(subscribers, steps)
    committed(subscribers, rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
