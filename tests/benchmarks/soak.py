"""Memory over time: `python -m tests.benchmarks.soak --flows 100_000_000`.

500 exporters with 2,000 templates of 20 layouts send over loopback as fast as the engine takes it,
to the real processes: the receiver into its log, and the engine with every stage up to rated usage.
What is consumed is deleted as in the field. The resident memory of both is printed every few
seconds; at the end every octet is accounted for, and memory must have been flat and below its
target. The clock runs fast, so that hours pass: joined minutes are kept for two of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.bench_peers import cores
from tests.benchmarks.flow_sender import UNPACED, Clock, Order, Sender, sending
from tests.benchmarks.flow_traffic import RECORDS_PER_DATAGRAM, Shape
from tests.benchmarks.own_collectors import (
    ALL_STAGES,
    OwnCollector,
    own_collector,
    trimmed_segments,
)
from tests.benchmarks.process_usage import cpu_seconds, udp_socket, usage

RESIDENT_OCTETS_MAX = 400_000_000
"""The target, of each process."""
GROWTH_MAX = 1.10
"""Mean of the last quarter at most, in that of the second quarter."""
BACKLOG_FLOWS_MAX = 500_000
STALL_SECONDS = 60.0


@dataclasses.dataclass(slots=True)
class Watch:
    """Resident octets of each process over time, printed every so often."""

    collector: OwnCollector
    every_seconds: float
    began: float = dataclasses.field(default_factory=time.monotonic)
    told_at: float = 0.0
    samples: list[tuple[int, ...]] = dataclasses.field(default_factory=list)

    def look(self, sent_flows: int) -> None:
        """Take a sample, and print it where it is due."""
        now = time.monotonic()
        if now < self.told_at + self.every_seconds:
            return
        self.told_at = now
        self.samples.append(tuple(usage([pid]).resident_octets for pid in self.collector.pids))
        taken = self.collector.taken()
        decoded = taken.flows if taken is not None and taken.flows is not None else 0
        receive, engine = self.samples[-1]
        print(
            f"{now - self.began:7.0f} s  {sent_flows:>13,} flows sent  {decoded:>13,} decoded  "
            f"receive {receive / 1e6:6.0f} MB  engine {engine / 1e6:6.0f} MB",
            flush=True,
        )

    def verdict(self) -> list[str]:
        """Return a sentence for each process that grew or took too much."""
        found = []
        quarter = max(len(self.samples) // 4, 1)
        for name, series in zip(
            ("receive", "engine"), zip(*self.samples, strict=True), strict=True
        ):
            early = sum(series[quarter : 2 * quarter] or series) / len(
                series[quarter : 2 * quarter] or series
            )
            late = sum(series[-quarter:]) / quarter
            print(
                f"{name}: {max(series) / 1e6:.0f} MB at most; last quarter against second:"
                f" {late / early:.2f}"
            )
            if max(series) > RESIDENT_OCTETS_MAX:
                found.append(f"{name} took more than {RESIDENT_OCTETS_MAX / 1e6:.0f} MB")
            if late > GROWTH_MAX * early:
                found.append(f"{name} grew")
        return found


def feed(sender: Sender, collector: OwnCollector, watch: Watch, flows: int, clock: Clock) -> int:
    """Send so many flows, never more than BACKLOG_FLOWS_MAX ahead of the engine; return octets.

    Raises SystemExit where the engine takes nothing more for STALL_SECONDS.
    """
    sent = octets = 0
    while sent < flows:
        moved_at, before = time.monotonic(), -1
        while True:
            watch.look(sent)
            taken = collector.taken()
            decoded = taken.flows if taken is not None and taken.flows is not None else 0
            if sent - decoded < BACKLOG_FLOWS_MAX and udp_socket(collector.port)[0] == 0:
                break
            if decoded != before:
                moved_at, before = time.monotonic(), decoded
            if time.monotonic() > moved_at + STALL_SECONDS:
                raise SystemExit(f"the engine stands still at {decoded:,} of {sent:,} flows")
            time.sleep(0.02)
        count = min(sender.datagrams_per_turn, (flows - sent) // RECORDS_PER_DATAGRAM + 1)
        part = sender.send(Order(collector.port, UNPACED, count, clock))
        sent, octets = sent + part.flows, octets + part.octets
    return octets


def run(options: argparse.Namespace) -> list[str]:
    """Run the soak; return what was wrong."""
    real = time.time_ns()
    clock = Clock(real, real // 1_000_000, options.speed)
    shape = Shape(
        flows=options.flows_per_turn,
        exporters=options.exporters,
        templates=options.templates,
        layouts=20,
        lines=options.lines,
        burst=2,
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        sending(shape, cores()[1]) as sender,
        own_collector(Path(folder), clock, shape.lines, trimmed_segments, ALL_STAGES) as collector,
    ):
        watch = Watch(collector, options.every_seconds)
        octets = feed(sender, collector, watch, options.flows, clock)
        watch.told_at = 0.0
        watch.look(options.flows)
        drops = udp_socket(collector.port)[1]
        spent = [cpu_seconds([pid]) for pid in collector.pids]  # but for the last half million
        taken = collector.finish()
    wrong = watch.verdict()
    for name, seconds in zip(("receive", "engine"), spent, strict=True):
        print(f"{name}: {seconds / options.flows * 1e6:.2f} CPU s per million flows")
    if drops:
        wrong.append(f"{drops:,} datagrams dropped")
    elif taken.octets != octets:
        wrong.append(f"{taken.octets:,} octets of usage, {octets:,} were exported")
    else:
        print(f"{taken.flows:,} flows, {octets:,} octets, all of them in the usage")
    return wrong


def main() -> int:
    """Return 1, and say why, where memory grew, was too much, or an octet was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=4_000_000)
    parser.add_argument("--exporters", type=int, default=500)
    parser.add_argument("--templates", type=int, default=2_000)
    parser.add_argument("--lines", type=int, default=5_000)
    parser.add_argument("--flows-per-turn", type=int, default=120_000)
    parser.add_argument("--speed", type=int, default=20, help="of the clock")
    parser.add_argument("--every-seconds", type=float, default=5.0)
    wrong = run(parser.parse_args())
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
