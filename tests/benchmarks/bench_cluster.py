"""The cluster on this machine, in one run: `make bench-cluster` (needs Kafka and PostgreSQL).

1. CPU seconds per million flows and per thousand accounting packets with 1, 2 and 4 workers, each
   stage's share, what an idle cluster costs.
2. From an accounting packet at the RADIUS collector to the committed throttle and to its CoA.
3. What Kafka, PostgreSQL and chDB do at most here, and how much of it a million flows and a
   thousand packets use.

Backlogs are published ahead of the workers, so long that what ends them (marks, each second,
through five stages) is little of it. Other work on the machine shows in the load average that each
line ends with, and in the latencies; CPU seconds suffer less.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from tests.benchmarks import cluster_latency, cluster_limits
from tests.benchmarks.cluster_latency import LINGER_SECONDS, Latency
from tests.benchmarks.cluster_limits import Limit
from tests.benchmarks.cluster_load import (
    RECORDS_PER_DATAGRAM,
    FlowSource,
    Load,
    interims,
    starts,
)
from tests.benchmarks.cluster_machine import Cluster, Servers, Spent
from tests.benchmarks.cluster_sums import FLOWS_PER_SECOND, Cost, Figures, table

STAGES = ("decode", "translate", "sessions", "attribute", "rate")
PARTS = {
    "step": ("step",),
    "frames": ("frames",),
    "PostgreSQL": ("postgres", "commit", "rows"),
    "state": ("state",),
    "rest": ("rest",),
}
BEGUN_AT = 1_767_225_600
"""2026-01-01: backlogs have times of their own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Drained:
    """What one number of workers took for each kind of input."""

    workers: int
    flows: int
    packets: int
    of_flows: Spent
    of_packets: Spent
    of_both: Spent
    idle: Spent
    stored: tuple[int, int, int]
    rated: pl.DataFrame

    @property
    def per_million_flows(self) -> float:
        """CPU seconds of the workers."""
        return self.of_flows.workers / self.flows * 1e6

    @property
    def per_thousand_packets(self) -> float:
        """CPU seconds of the workers."""
        return self.of_packets.workers / self.packets * 1e3


def drain(servers: Servers, number: int, workers: int, options: argparse.Namespace) -> Drained:
    """Drain flows, interim updates, then both at once, with so many workers."""
    load = Load(options.subscribers, options.exporters, options.flows_per_second)
    cluster = Cluster(servers, f"{workers}-workers-{number}", number, options.partitions)
    try:
        cluster.write_settings()
        cluster.subscribe(load, BEGUN_AT)
        cluster.start_workers(workers)
        cluster.publish(starts(load, BEGUN_AT))
        cluster.settle()
        source, at, seconds = FlowSource(load), BEGUN_AT + 60, options.flow_seconds
        # Templates, prepared statements and caches are no cost of a million flows.
        cluster.measure(source.seconds(at, 60))
        at += 60
        of_packets = cluster.measure(interims(load, BEGUN_AT, at, options.rounds))
        at += options.rounds * load.interim_seconds
        of_flows = cluster.measure(source.seconds(at, seconds))
        at += seconds
        # Nobody reported meanwhile: what comes now is spread over all these minutes.
        cluster.measure(interims(load, BEGUN_AT, at, 1))
        at += load.interim_seconds
        both = [*source.seconds(at, load.interim_seconds), *interims(load, BEGUN_AT, at, 1)]
        of_both = cluster.measure(sorted(both, key=lambda log: log[2]))
        idle = cluster.idle(options.idle_seconds)
        stored = cluster.stored()
        rated = cluster.rated()
    finally:
        cluster.close()
    flows = load.flows_per_second // RECORDS_PER_DATAGRAM * RECORDS_PER_DATAGRAM * seconds
    packets = load.subscribers * options.rounds
    return Drained(
        workers,
        flows,
        packets,
        of_flows,
        of_packets,
        of_both,
        idle,
        stored,
        rated,
    )


# -- telling ---------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Print a line with the load average behind it."""
    print(f"{text}  [load {os.getloadavg()[0]:.1f}]", flush=True)


def tell_drained(drained: Drained, load: Load) -> None:
    """Print what a number of workers took."""
    head = f"{drained.workers} workers"
    for what, spent, count, unit in (
        ("flows", drained.of_flows, drained.flows / 1e6, "million flows"),
        ("packets", drained.of_packets, drained.packets / 1e3, "thousand packets"),
    ):
        say(
            f"{head} {what:8} {spent.workers / count:7.3f} CPU s per {unit}, and"
            f" Kafka {spent.kafka / count:.3f}, PostgreSQL {spent.postgres / count:.3f};"
            f" drained in {spent.wall_seconds:.1f} s"
        )
        tell_shares(f"{head} {what:8}", spent)
    flows, packets = load.flows_per_second * load.interim_seconds, load.subscribers
    flows -= flows % (load.interim_seconds * RECORDS_PER_DATAGRAM)
    expected = flows * drained.per_million_flows / 1e6
    expected += packets * drained.per_thousand_packets / 1e3
    say(
        f"{head} both at once: {drained.of_both.workers:.2f} CPU s,"
        f" {drained.of_both.workers / expected:.2f} of what each alone says"
    )
    idle = drained.idle
    say(
        f"{head} idle: {idle.workers / idle.wall_seconds / drained.workers * 100:.1f} % of a core"
        f" each, Kafka {idle.kafka / idle.wall_seconds * 100:.1f} %,"
        f" PostgreSQL {idle.postgres / idle.wall_seconds * 100:.1f} %"
    )


def tell_shares(head: str, spent: Spent) -> None:
    """Print the share of each stage, and of each kind of work within."""
    total = spent.workers
    stages = [f"{name} {spent.stage(name) / total:.0%}" for name in STAGES]
    say(f"{head} stages: {', '.join(stages)}, Faust and relay {spent.event_loop / total:.0%}")
    for name in (*STAGES, ""):
        whole = spent.stage(name) if name else sum(map(spent.stage, STAGES))
        if not whole:
            continue
        parts = [
            f"{part} {sum(_part(spent, name, each) for each in members) / whole:.0%}"
            for part, members in PARTS.items()
        ]
        rounds, messages, outputs, wall_ms = (
            sum(spent.counts.get(f"{s} {what}", 0) for s in ([name] if name else STAGES))
            for what in ("rounds", "messages", "outputs", "wall ms")
        )
        say(
            f"{head}   {name or 'all rounds':10} {', '.join(parts)};"
            f" {rounds} rounds of {messages / max(rounds, 1):.0f} messages,"
            f" {outputs / max(rounds, 1):.0f} outputs, {wall_ms / max(rounds, 1):.0f} ms each"
        )


def _part(spent: Spent, stage: str, part: str) -> float:
    return spent.parts.get(f"{stage}|{part}", 0.0) if stage else spent.part(part)


def tell_spread(runs: Sequence[Drained]) -> None:
    """Print the medians by number of workers and how far they lie apart."""
    for what, value in (
        ("per million flows", lambda run: run.per_million_flows),
        ("per thousand packets", lambda run: run.per_thousand_packets),
    ):
        say(f"CPU s of workers {what}: {_spread(runs, value)}")


def _spread(runs: Sequence[Drained], value: Callable[[Drained], float]) -> str:
    medians = {
        workers: statistics.median(value(run) for run in runs if run.workers == workers)
        for workers in sorted({run.workers for run in runs})
    }
    told = ", ".join(f"{workers} workers {median:.3f}" for workers, median in medians.items())
    apart = max(medians.values()) / min(medians.values()) - 1
    return f"{told}; the largest is {apart:.0%} above the smallest (target: within 20 %)"


def tell_latency(latency: Latency, packets_per_second: int, workers: int) -> None:
    """Print the quantiles of each way, and what everything used."""
    say(
        f"latency at {latency.sent / (latency.spent.wall_seconds - LINGER_SECONDS):,.0f} packets/s"
        f" (asked: {packets_per_second:,}), {workers} workers, the NAS at most"
        f" {latency.late_seconds * 1000:.0f} ms late"
    )
    for what, values in (
        ("packet to answer", latency.answers),
        ("packet to committed DesiredService", latency.decisions),
        ("packet to CoA at the NAS", latency.changes),
    ):
        told = ", ".join(f"p{q} {_quantile(values, q) * 1000:,.0f} ms" for q in (50, 95, 99))
        say(f"  {what:35} {told} ({len(values):,} measured)")
    missing = latency.crossings - len(latency.decisions), latency.crossings - len(latency.changes)
    say(f"  of {latency.crossings} throttles {missing[0]} not decided, {missing[1]} without CoA")
    used = [
        f"{name} {seconds / latency.spent.wall_seconds * 100:.0f} %"
        for name, seconds in latency.cpu_seconds.items()
    ]
    say(f"  of a core: {', '.join(used)}")
    tell_shares("  workers", latency.spent)


def _quantile(values: Sequence[float], percent: int) -> float:
    if not values:
        return float("nan")
    return values[min(len(values) - 1, len(values) * percent // 100)]


def tell_octets(drained: Drained, load: Load, partitions: int) -> None:
    """Print what a million flows and a thousand packets are in Kafka and PostgreSQL."""
    for what, spent, count in (
        ("a million flows", drained.of_flows, drained.flows / 1e6),
        ("a thousand packets", drained.of_packets, drained.packets / 1e3),
    ):
        told = ", ".join(
            f"{name} {octets / count / 1e6:.3f}" for name, octets in spent.octets.items() if octets
        )
        say(f"MB by {what}: {told}")
        counts = spent.counts
        say(
            f"rows by {what}: flow.minutes {counts.get('decode_rows', 0) / count:,.0f},"
            f" rated {counts.get('rate_rated_rows', 0) / count:,.0f},"
            f" written to PostgreSQL {_postgres_rows(spent) / count:,.0f}, of it"
            f" {sum(counts.get(f'{s} outputs', 0) for s in STAGES) / count:,.0f} messages"
        )
    seconds = drained.idle.wall_seconds
    topics = [octets for name, octets in drained.idle.octets.items() if name != "WAL"]
    say(
        f"idle: Kafka {sum(topics) / seconds / 1e3:.1f} kB/s,"
        f" PostgreSQL's WAL {drained.idle.octets['WAL'] / seconds / 1e3:.1f} kB/s"
    )
    rows, directory, octets = drained.stored
    say(
        f"PostgreSQL: {octets / rows:.0f} octets a row of state; a subscriber has"
        f" {directory / load.subscribers / partitions:.1f} rows of directory in each partition and"
        f" {(rows - directory) / load.subscribers:.1f} others"
    )


def figures_of(drained: Drained, load: Load, partitions: int, row_octets: float) -> Figures:
    """Return what the sums begin with."""
    rows, directory, octets = drained.stored
    return Figures(
        _cost(drained.of_flows, drained.flows / 1e6),
        _cost(drained.of_packets, drained.packets / 1e3),
        directory / load.subscribers / partitions,
        (rows - directory) / load.subscribers,
        octets / rows,
        row_octets,
    )


def _cost(spent: Spent, count: float) -> Cost:
    return Cost(
        spent.workers / count,
        spent.kafka / count,
        spent.postgres / count,
        sum(octets for name, octets in spent.octets.items() if name != "WAL") / count,
        spent.octets["WAL"] / count,
        _postgres_rows(spent) / count,
        spent.counts.get("rate_rated_rows", 0) / count,
    )


def _postgres_rows(spent: Spent) -> int:
    counts = spent.counts
    outputs = sum(counts.get(f"{name} outputs", 0) for name in STAGES)
    return outputs + counts.get("state rows written", 0) + counts.get("business rows written", 0)


def tell_limits(servers: Servers, drained: Drained | None, options: argparse.Namespace) -> None:
    """Measure the raw limits; print the ratios to them, and the sums of docs/scaling.md."""
    kafka = cluster_limits.kafka_producer(servers, options.limit_megabytes)
    copy = cluster_limits.postgres_copy(servers, options.limit_rows)
    plain, sink, _ = cluster_limits.chdb_inserts(str(options.limit_rows))
    for limit in (kafka, copy, plain, sink):
        say(_limit_line(limit))
    say(f"sink against plain insert: {sink.per_second / plain.per_second:.2f} of its rows/s")
    if drained is None:
        return
    file = servers.directory / "rated.parquet"
    drained.rated.write_parquet(file)
    *_, octets = cluster_limits.chdb_inserts(str(file))
    say(
        f"sink into chDB: {octets:.0f} octets a row on disk, rollups included"
        f" ({drained.rated.height:,} rated rows of this run)"
    )
    for what, spent, count in (
        ("flows", drained.of_flows, drained.flows / drained.of_flows.wall_seconds),
        ("packets", drained.of_packets, drained.packets / drained.of_packets.wall_seconds),
    ):
        written = sum(octets for name, octets in spent.octets.items() if name != "WAL")
        rate = written / spent.wall_seconds
        rows = spent.counts.get("rate_rated_rows", 0) / spent.wall_seconds
        copied = spent.postgres / spent.wall_seconds / copy.cpu_seconds_per_million * 1e6
        say(
            f"{what}, {drained.workers} workers, {count:,.0f}/s:"
            f" {rate / kafka.per_second:.1%} of what Kafka's producer writes,"
            f" {rows / plain.per_second:.1%} of the rows/s of a plain insert,"
            f" PostgreSQL's CPU time is COPY's of {copied:,.0f} rows/s"
        )
    figures = figures_of(drained, Load(options.subscribers), options.partitions, octets)
    print(f"sums with {FLOWS_PER_SECOND} flows/s of a subscriber, as docs/scaling.md has them:")
    print(table(figures))
    if options.figures:
        options.figures.write_text(json.dumps(dataclasses.asdict(figures), indent=1) + "\n")


def _limit_line(limit: Limit) -> str:
    if limit.unit == "octets":
        return (
            f"limit {limit.name:26} {limit.per_second / 1e6:>10,.1f} MB/s,"
            f" {limit.cpu_seconds_per_million * 1000:.1f} CPU s of the server per GB"
        )
    return (
        f"limit {limit.name:26} {limit.per_second:>10,.0f} rows/s,"
        f" {limit.cpu_seconds_per_million:.2f} CPU s per million"
    )


# -- running ---------------------------------------------------------------------------------------


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--repeat", type=int, default=1, help="runs per number of workers")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--subscribers", type=int, default=4_000)
    parser.add_argument("--exporters", type=int, default=32)
    parser.add_argument("--flows-per-second", type=int, default=2_400)
    parser.add_argument("--flow-seconds", type=int, default=2_400)
    parser.add_argument("--rounds", type=int, default=10, help="interim updates of each session")
    parser.add_argument("--idle-seconds", type=float, default=20.0)
    parser.add_argument("--latency-workers", type=int, default=2)
    parser.add_argument("--packets-per-second", type=int, default=2_000)
    # RFC 2869 §2.1 forbids less; each line sends once in this time.
    parser.add_argument("--interim-seconds", type=int, default=60)
    parser.add_argument("--latency-seconds", type=int, default=60)
    parser.add_argument("--limit-megabytes", type=int, default=1_000)
    parser.add_argument("--limit-rows", type=int, default=500_000)
    parser.add_argument("--figures", type=Path, help="file for what docs/scaling.md sums up")
    parser.add_argument("--only", choices=("drain", "latency", "limits"))
    return parser.parse_args(arguments)


def main() -> None:
    """Run everything, or one part of it."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    runs: list[Drained] = []
    with tempfile.TemporaryDirectory(prefix="flowrate-bench-") as folder:
        directory = Path(folder)
        # PostgreSQL runs as another user where we are root.
        directory.chmod(0o755)
        servers = Servers(directory)
        try:
            say(f"{os.cpu_count()} cores, {options}")
            if options.only in (None, "drain"):
                for _ in range(options.repeat):
                    for workers in options.workers:
                        runs.append(drain(servers, len(runs) + 1, workers, options))
                        load = Load(options.subscribers, 0, options.flows_per_second)
                        tell_drained(runs[-1], load)
                tell_spread(runs)
                tell_octets(runs[0], Load(options.subscribers), options.partitions)
            if options.only in (None, "latency"):
                cluster = Cluster(servers, "latency", len(runs) + 1, options.partitions)
                try:
                    measured = cluster_latency.measure(
                        cluster,
                        options.packets_per_second,
                        options.interim_seconds,
                        options.latency_seconds,
                        options.latency_workers,
                    )
                finally:
                    cluster.close()
                tell_latency(measured, options.packets_per_second, options.latency_workers)
            if options.only in (None, "limits"):
                tell_limits(servers, runs[0] if runs else None, options)
        finally:
            servers.close()


if __name__ == "__main__":
    main()
