"""How fast minutes seen outside of a NAT find who held their ports, and what that takes to know.

`python -m tests.benchmarks.bench_translate`: every outside address is cut into blocks that
subscribers hold; each second some are taken back and given to others, and every minute brings rows
of random blocks. One core: polars is held to one thread. State lives in memory, without the
runner's commit.
"""

from __future__ import annotations

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import argparse
import resource
import time

import numpy as np
import polars as pl

from rating.address_columns import packed
from rating.nat_pools import cell_of
from rating.ports import Batch, MemoryState
from rating.records import FlowMinute, NatEvent, schema_of
from rating.session_config import AttributionConfig
from rating.translate_step import step

FIRST_MINUTE = 28_401_120
FIRST_PORT = 1_024
_V4 = 0xFFFF_0000_0000
_OUTSIDE = _V4 | 0xC633_0000
_INSIDE = _V4 | 0x6440_0000


def addresses(base: int, numbers: np.ndarray) -> pl.Series:
    """Return IPv4 addresses counted from a base."""
    low = (base + numbers).astype(np.uint64)
    return packed(np.zeros(len(low), np.uint64), low)


class Nat:
    """Blocks of ports and who holds them."""

    def __init__(self, blocks: int, ports: int) -> None:
        self.ports = ports
        self.per_address = (65_536 - FIRST_PORT) // ports
        self.inside = np.arange(blocks)
        self.chance = np.random.default_rng(1)

    def events(self, blocks: np.ndarray, at: int, *, is_release: bool) -> pl.DataFrame:
        """Return what the NAT says of some blocks at an instant."""
        first = FIRST_PORT + blocks % self.per_address * self.ports
        ones = np.ones(len(blocks), np.int64)
        return pl.DataFrame(
            {
                "address": addresses(_OUTSIDE, blocks // self.per_address),
                "first_port": first,
                "last_port": first + self.ports - 1,
                "port_step": ones,
                "protocol": ones * 0,
                "is_release": np.full(len(blocks), is_release),
                "inside_address": addresses(_INSIDE, self.inside[blocks]),
                "event_at": ones * at,
                "exporter": ["nat"] * len(blocks),
                "received_at": ones * (at + 100),
            },
            schema=schema_of(NatEvent),
        )

    def moved(self, count: int, at: int) -> pl.DataFrame:
        """Return the events of blocks that are taken back and given to somebody else."""
        blocks = np.unique(self.chance.integers(0, len(self.inside), count))
        taken = self.events(blocks, at, is_release=True)
        self.inside[blocks] = self.chance.integers(0, len(self.inside), len(blocks))
        return pl.concat([taken, self.events(blocks, at + 500, is_release=False)])

    def minutes(self, minute: int, count: int) -> pl.DataFrame:
        """Return rows of nat.minutes of random blocks."""
        blocks = self.chance.integers(0, len(self.inside), count)
        first = FIRST_PORT + blocks % self.per_address * self.ports
        ones = np.ones(count, np.int64)
        octets = self.chance.integers(40, 1_500_000, count)
        return pl.DataFrame(
            {
                "address": addresses(_OUTSIDE, blocks // self.per_address),
                "port_block": cell_of(0, self.ports) | first,
                "minute": ones * minute,
                "traffic_class": ["local"] * count,
                "octets_up": octets // 8,
                "octets_down": octets,
                "packets_up": ones,
                "packets_down": ones,
                "octets_exported": octets,
                "rate_known": np.ones(count, dtype=bool),
                "exporter": ["edge"] * count,
                "received_at": ones * (minute + 1) * 60_000,
                "user_name": [""] * count,
            },
            schema=schema_of(FlowMinute),
        )


def main() -> None:
    """Print rows and events per second, and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=1_000_000)
    parser.add_argument("--ports", type=int, default=512)
    parser.add_argument("--rows", type=int, default=500_000, help="rows a minute")
    parser.add_argument("--moves", type=int, default=100, help="blocks that move each second")
    parser.add_argument("--minutes", type=int, default=2)
    options = parser.parse_args()
    config, state = AttributionConfig(), MemoryState()
    nat = Nat(options.blocks, options.ports)
    start_at = FIRST_MINUTE * 60_000
    began = time.perf_counter()
    for blocks in np.array_split(np.arange(options.blocks), max(1, options.blocks // 50_000)):
        events = nat.events(blocks, start_at - 3_600_000, is_release=False)
        batch = Batch({"nat.events": [events]})
        state.apply(step(state, batch, watermark_at=start_at - 3_600_000, config=config))
    loaded = time.perf_counter() - began
    held = sum(map(len, state.collections["translations"].values()))
    moving = joining = 0.0
    moves = 0
    for minute in range(FIRST_MINUTE, FIRST_MINUTE + options.minutes):
        frames = {"nat.minutes": [nat.minutes(minute, options.rows)]}
        state.apply(step(state, Batch(frames), watermark_at=minute * 60_000, config=config))
        for second in range(60):
            at = minute * 60_000 + second * 1000
            events = nat.moved(options.moves, at)
            busy = time.process_time()
            result = step(state, Batch({"nat.events": [events]}), watermark_at=at, config=config)
            moving += time.process_time() - busy
            moves += events.height
            state.apply(result)
        busy = time.process_time()
        result = step(state, Batch({}), watermark_at=(minute + 2) * 60_000, config=config)
        joining += time.process_time() - busy
        state.apply(result)
    rows = options.rows * options.minutes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"translate  {options.blocks:,} blocks in {loaded:.1f} s, {held / 1e6:.0f} MB of state,"
        f" process at most {peak:.0f} MB;  {moving / moves * 1e6:.0f} CPU us an event at"
        f" {options.moves * 2} a second;  {joining / rows * 1e6:.2f} CPU s per million rows"
    )


if __name__ == "__main__":
    main()
