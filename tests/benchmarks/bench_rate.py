"""How fast the rate stage is: usage records per second and CPU seconds per million.

Run ``python -m tests.benchmarks.bench_rate [subscribers] [rounds] [steps]``. Each round is one
interim of every subscriber: five minutes of accounting, and flows of three classes for half of
them. A second line is about small steps, as many as given: one packet's minute of each of a few
hundred subscribers, as a worker of a cluster gets them. State lives in memory, so this is the step
alone, without the runner's commit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
import polars as pl

from infra.garbage import collect_garbage_rarely
from rating.config import RateConfig
from rating.curves import AllowanceOverage
from rating.events import SubscriptionStarted, account_event
from rating.periods import Calendar
from rating.plans import Meter, Plan
from rating.ports import Batch, MemoryState
from rating.rate_step import step
from rating.records import AccountEvent, Usage, frame_of, schema_of

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


def subscribe(state: MemoryState, subscribers: int) -> None:
    """Start every subscription; one in ten is class-weighted."""
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
    batch = Batch({"account.events": [frame_of(AccountEvent, events)]})
    state.apply(step(state, batch, watermark_at=at))


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


def main(subscribers: int = 5_000, rounds: int = 6, steps: int = 40) -> None:
    """Print a line about rounds and one about small steps, in a process as the stages have."""
    collect_garbage_rarely()
    interims(subscribers, rounds)
    small_steps(subscribers, steps)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
