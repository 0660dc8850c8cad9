"""Receive to usage per subscriber and minute, in CPU: `python -m tests.benchmarks.bench_engine`.

The real runner takes a log of generated v9 datagrams through decode, classify and attribute with
its SQLite transactions; lines have their addresses by RADIUS bindings. Minutes follow each other as
in the field, only faster, and all is checked: the octets of usage are those that were exported. The
receiver's CPU is taken over loopback in the same run. One exporter to 64, and 2,000 templates of 20
layouts against one each.
"""

from __future__ import annotations

import argparse
import dataclasses
import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import tempfile
import time
from pathlib import Path

from collectors.adapters.segments import SegmentWriter
from infra.allocator import keep_freed_memory
from infra.garbage import collect_garbage_rarely
from tests.benchmarks.bench_peers import contestants, cores, run_trial
from tests.benchmarks.flow_sender import sending
from tests.benchmarks.flow_traffic import Shape, generate
from tests.benchmarks.own_books import found
from tests.benchmarks.own_collectors import STAGES, Engine, url_of
from tests.collectors.netflow.exports import EXPORTED_AT

FLOWS_PER_MINUTE = 1_920_000
"""32,000 a second: a fiftieth of what a core takes."""
RECEIVE_RATE = 40_000
"""Datagrams a second at which the receiver's CPU is taken: about what the engine takes."""
WARM_MINUTES = 2
"""Minutes before those that are measured: an engine runs for months."""
TARGET = 0.6
"""CPU seconds per million flows, all in all."""
SHAPES = {
    "1 exporter": Shape(exporters=1, templates=1),
    "4 exporters": Shape(exporters=4, templates=4),
    "16 exporters": Shape(exporters=16, templates=16),
    "64 exporters": Shape(exporters=64, templates=64),
    "500 exporters, 500 templates of 1 layout": Shape(exporters=500, templates=500, burst=2),
    "500 exporters, 2,000 templates of 20": Shape(
        exporters=500, templates=2_000, layouts=20, burst=2
    ),
}


@dataclasses.dataclass(slots=True)
class SetClock:
    """A clock that stands where it is put."""

    at_ms: int
    speed: int = 1

    def now_ms(self) -> int:
        """Return the instant, ms since 1970."""
        return self.at_ms


def measure(shape: Shape, minutes: int) -> tuple[float, float]:
    """Return CPU seconds per million flows of the engine, and flows a second of a core.

    Raises SystemExit where an octet of usage is lost or doubled.
    """
    traffic = generate(shape)
    clock = SetClock(EXPORTED_AT * 1000)
    spent = flows = 0.0
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        found(url_of(directory), shape.lines, clock.now_ms())
        engine = Engine(directory, clock, shape.lines, STAGES)
        log = SegmentWriter(directory / "flows")
        minutes += WARM_MINUTES
        for minute in range(minutes + 3):
            clock.at_ms = (EXPORTED_AT + 60 * minute) * 1000
            if minute < minutes:
                traffic.again(minute, clock.at_ms // 1000)
                for body in traffic.blocks(clock.at_ms):
                    log.append("data", clock.at_ms, body)
                flows += traffic.flows * (minute >= WARM_MINUTES)
            log.append("marker", clock.at_ms, b"")
            before = time.process_time()
            while engine.turn():
                pass
            spent += (time.process_time() - before) * (minute >= WARM_MINUTES)
        log.close()
        expected = minutes * int(traffic.octets_of.sum())
        if engine.octets != expected:
            raise SystemExit(f"{engine.octets:,} octets of usage, {expected:,} were exported")
    return spent / flows * 1e6, flows / spent


def measure_receive(shape: Shape, seconds: float) -> float:
    """Return the receiver's CPU seconds per million flows, over loopback."""
    (contestant,) = contestants(("receive",))
    with sending(shape, cores()[1]) as sender:
        return run_trial(contestant, sender, RECEIVE_RATE, seconds).cpu_per_million


def main() -> None:
    """Print CPU seconds per million flows for each shape, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=3)
    parser.add_argument("--flows-per-minute", type=int, default=FLOWS_PER_MINUTE)
    parser.add_argument("--seconds", type=float, default=3.0, help="of sending to the receiver")
    options = parser.parse_args()
    keep_freed_memory()
    collect_garbage_rarely()
    received = measure_receive(Shape(flows=96_000), options.seconds)
    print(f"receive into the log {received:6.3f} CPU s per million flows", flush=True)
    costs = {}
    for name, shape in SHAPES.items():
        sized = dataclasses.replace(shape, flows=options.flows_per_minute)
        costs[name], rate = measure(sized, options.minutes)
        print(
            f"engine, {name:42} {costs[name]:6.3f} CPU s per million flows  "
            f"{rate / 1e6:5.2f} M flows/s of a core  with receive {received + costs[name]:6.3f}"
            f" (target {TARGET})",
            flush=True,
        )
    one, most, few, many = (costs[name] for name in (list(SHAPES)[i] for i in (0, 3, 4, 5)))
    print(f"64 exporters against 1: {most / one:.2f} times the CPU")
    print(f"2,000 templates of 20 layouts against one each: {many / few:.2f} times the CPU")


if __name__ == "__main__":
    main()
