"""How fast the rate stage is: usage records per second and CPU seconds per million.

Run ``python -m tests.benchmarks.bench_rate [subscribers] [rounds]``. Each round is one interim of
every subscriber: five minutes of accounting, and flows of three classes for half of them. State
lives in memory, so this is the step alone, without the runner's commit.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import numpy as np
import polars as pl

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


def main(subscribers: int = 5_000, rounds: int = 6) -> None:
    """Print the rates of a number of rounds."""
    state, config = MemoryState(), RateConfig()
    subscribe(state, subscribers)
    chance = np.random.default_rng(1)
    batches = [interim(number, subscribers, chance) for number in range(rounds)]
    records, wall, cpu = 0, 0.0, 0.0
    for number, usage in enumerate(batches):
        watermark_at = (START_MINUTE + (number + 1) * INTERIM_MINUTES) * 60_000
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        result = step(
            state,
            Batch({"usage.measured": [usage]}),
            watermark_at=watermark_at,
            config=config,
        )
        wall += time.perf_counter() - wall_before
        cpu += time.process_time() - cpu_before
        records += usage.height
        state.apply(result)
    print(
        f"rate: {records:,} usage records, {subscribers:,} subscribers: "
        f"{records / wall:,.0f} records/s, {cpu / records * 1e6:.2f} CPU s per million"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
