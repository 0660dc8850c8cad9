"""How fast flow minutes find their subscriber: `python -m tests.benchmarks.bench_attribute`.

Subscribers hold an IPv4 address and a delegated /56 each; every minute brings rows of random
addresses in three classes, in several batches, and is joined when the watermark has passed it. One
core: polars is held to one thread. State lives in memory, without the runner's commit. Once with
the bindings of 20,000 subscribers, and once with 500,000 (a million bindings), each in a process of
its own, whose resident memory is printed (target: 2 million rows a second and below 1 GB).

The first minute also makes the index of all bindings, as after a restart: it is told apart, and the
rate is of the minutes after it.
"""

from __future__ import annotations

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import argparse
import gc
import multiprocessing
import time

import numpy as np
import polars as pl

from rating.addresses import IPV4_MAPPED
from rating.attribute_step import step
from rating.ports import Batch, MemoryState
from rating.records import FlowMinute, SessionBinding, schema_of
from rating.session_config import AttributionConfig
from tests.benchmarks.process_usage import usage

FIRST_MINUTE = 28_401_120
CLASSES = np.array(["cdn", "international", "local"])
BATCHES_PER_MINUTE = 4
_PREFIX = bytes.fromhex("20010db8")


def addresses_of(numbers: np.ndarray, is_ipv4: np.ndarray) -> list[bytes]:
    """Return each subscriber's IPv4 address, or one in its delegated prefix."""
    tails = [int(number).to_bytes(4, "big") for number in numbers]
    return [
        IPV4_MAPPED + b"\x64" + tail[1:]
        if ipv4
        else _PREFIX + tail[1:] + b"\x01" + bytes(7) + b"\x07"
        for tail, ipv4 in zip(tails, is_ipv4, strict=True)
    ]


def bindings(subscribers: int) -> pl.DataFrame:
    """Return two bindings per subscriber, open since long ago."""
    numbers = np.arange(subscribers)
    rows = []
    for kind, length in ((True, 128), (False, 56)):
        held = addresses_of(numbers, np.full(subscribers, kind))
        for number, address in zip(numbers, held, strict=True):
            masked = address if length == 128 else address[:7] + bytes(9)
            who = f"sub-{number:06d}"
            rows.append((f"{who}/{length}", 1, masked, length, 0, who, f"bras/{number}"))
    since = (FIRST_MINUTE - 600) * 60_000
    return pl.DataFrame(
        [(*row, since, None, since) for row in rows], schema=schema_of(SessionBinding), orient="row"
    )


def flow_rows(
    minute: int, count: int, subscribers: int, chance: np.random.Generator
) -> pl.DataFrame:
    """Return one batch of flow.minutes rows."""
    numbers = chance.integers(0, subscribers, count)
    is_ipv4 = chance.random(count) < 0.7
    ones = np.ones(count, dtype=np.int64)
    octets = chance.integers(40, 1_500_000, count)
    columns = {
        "address": addresses_of(numbers, is_ipv4),
        "port_block": ones * 0,
        "minute": ones * minute,
        "traffic_class": CLASSES[chance.integers(0, 3, count)],
        "octets_up": octets // 8,
        "octets_down": octets,
        "packets_up": ones,
        "packets_down": ones,
        "octets_exported": octets,
        "rate_known": np.ones(count, dtype=bool),
        "exporter": ["edge"] * count,
        "received_at": ones * (minute + 1) * 60_000,
    }
    schema = schema_of(FlowMinute)
    # What a row may say beyond that, these do not: 0 or nothing.
    rest = {
        name: [""] * count if kind == pl.String else ones * 0
        for name, kind in schema.items()
        if name not in columns
    }
    return pl.DataFrame(columns | rest, schema=schema)


def measure(subscribers: int, rows_wanted: int, minutes: int) -> None:
    """Print rows joined per second, CPU seconds per million rows, and resident memory."""
    config = AttributionConfig()
    chance = np.random.default_rng(1)
    state = MemoryState()
    held = Batch({"session.bindings": [bindings(subscribers)]})
    state.apply(step(state, held, watermark_at=FIRST_MINUTE * 60_000, config=config))
    del held
    per_batch = rows_wanted // minutes // BATCHES_PER_MINUTE
    wall, cpu = np.zeros(minutes), np.zeros(minutes)
    usage_rows = resident = 0
    for nth in range(minutes):
        minute = FIRST_MINUTE + nth
        for number in range(BATCHES_PER_MINUTE + 1):
            is_end = number == BATCHES_PER_MINUTE
            frames = (
                {}
                if is_end
                else {"flow.minutes": [flow_rows(minute, per_batch, subscribers, chance)]}
            )
            gc.collect()
            watermark_at = (minute + 2 if is_end else minute) * 60_000
            began, busy = time.perf_counter(), time.process_time()
            result = step(state, Batch(frames), watermark_at=watermark_at, config=config)
            wall[nth] += time.perf_counter() - began
            cpu[nth] += time.process_time() - busy
            resident = max(resident, usage([os.getpid()]).resident_octets)
            state.apply(result)
            usage_rows += sum(output.frame.height for output in result.outputs)
    in_minute = per_batch * BATCHES_PER_MINUTE
    print(
        f"attribute  {in_minute / wall[1:].mean() / 1e6:6.2f} M flow.minutes rows/s  "
        f"{cpu[1:].mean() / in_minute * 1e6:6.3f} CPU s per million flows of one row each  "
        f"({in_minute * minutes:,} rows, {2 * subscribers:,} bindings -> {usage_rows:,} usage rows)"
        f"  first minute {cpu[0]:.2f} s, others {cpu[1:].mean():.2f} s  "
        f"{resident / 1e6:,.0f} MB resident",
        flush=True,
    )


def main() -> None:
    """Measure each number of subscribers in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--subscribers", type=int, nargs="+", default=(20_000, 500_000))
    parser.add_argument("--minutes", type=int, default=5)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for subscribers in options.subscribers:
        arguments = (subscribers, options.rows, options.minutes)
        process = context.Process(target=measure, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{subscribers:,} subscribers: the process ended {process.exitcode}")


if __name__ == "__main__":
    main()
