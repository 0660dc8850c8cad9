"""Flowrate beside nfcapd, nfacctd, goflow2 and the package netflow, one core each, in one run.

The same datagrams from one sender over loopback at rising rates to each collector that is there:
the highest rate without loss, CPU seconds per million flows at that rate, and resident memory; then
the ratios. A rate is passed where the kernel dropped nothing, everything that was sent came out at
the end, and the collector was through with it soon after the last datagram: a hidden queue is no
success. What each does with a flow differs and is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol as Interface

from tests.benchmarks.flow_sender import Clock, Order, Sender, Sent, ceiling, sending
from tests.benchmarks.flow_traffic import PROTOCOLS, RECORDS_PER_DATAGRAM, Protocol, Shape
from tests.benchmarks.own_collectors import OwnCollector, own_collector
from tests.benchmarks.process_usage import cpu_seconds, udp_socket, usage
from tests.peers.peer_collectors import PROGRAMS, STARTERS, Taken
from tests.peers_available import find_peer

LINES = 5_000
WHOLE_SPEED = 20
"""How much faster than the real clock the whole pipeline's runs: a minute is over in 3 s."""
QUIET_SECONDS = 0.3
GRACE_SECONDS = 1.0
"""How long after the last datagram a collector may still work on what was sent."""
PATIENCE_SECONDS = 60.0
WARM_SECONDS = 2.0
"""Of sending before what is measured: a collector runs for months."""
TRIALS_MAX = 24


class Collector(Interface):
    """What is measured: a collector at work."""

    port: int

    @property
    def pids(self) -> Sequence[int]: ...
    def finish(self) -> Taken: ...
    def close(self) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Contestant:
    """A collector by name: how it is started, what it does with a flow, where its search begins.

    first_rate is in datagrams a second. speed above 1: its clock runs that much faster.
    """

    name: str
    does: str
    first_rate: float
    start: Callable[[Path, Clock], contextlib.AbstractContextManager[Collector]]
    speed: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One rate at one collector: what was sent, what was lost, and what it cost."""

    sent: Sent
    drops: int
    missing_flows: int
    late_seconds: float
    cpu_seconds: float
    resident_octets: int

    @property
    def is_passed(self) -> bool:
        """Whether nothing was lost and nothing hid in a queue."""
        return not self.drops and not self.missing_flows and self.late_seconds <= GRACE_SECONDS

    @property
    def flows_per_second(self) -> float:
        """As sent."""
        return self.sent.flows / self.sent.seconds

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds per million flows that came out."""
        return self.cpu_seconds / max(self.sent.flows - self.missing_flows, 1) * 1e6

    def says(self) -> str:
        """Return why it failed, or that it did not."""
        if self.is_passed:
            return "no loss"
        lost = f"{self.drops:,} datagrams dropped, {self.missing_flows:,} flows missing"
        return f"{lost}, busy for {self.late_seconds:.1f} s after the last"


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Hold this process, and what it starts meanwhile, to one core."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> tuple[int | None, int | None]:
    """Return a core for the receiver and one for the sender; None where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else (None, None)


def _until_quiet(collector: Collector) -> tuple[float, float]:
    """Return how long the collector was still busy, and the CPU seconds at which it then stood.

    It is not when nothing waits at its socket and it used next to no CPU for QUIET_SECONDS.
    """
    began = time.monotonic()
    busy_until, before = began, cpu_seconds(collector.pids)
    while time.monotonic() < began + PATIENCE_SECONDS:
        time.sleep(QUIET_SECONDS)
        now = cpu_seconds(collector.pids)
        is_busy = now - before > QUIET_SECONDS / 5 or udp_socket(collector.port)[0] > 0
        before = now
        if not is_busy:
            break
        busy_until = time.monotonic()
    return busy_until - began, before


def _until_through(collector: OwnCollector, flows: int, octets: int) -> tuple[float, float]:
    """Return when all flows were decoded, and the CPU seconds when all octets were measured.

    The last minutes are joined when their time has come, however fast the collector is.
    """
    began = time.monotonic()
    late = 0.0
    while (passed := time.monotonic() - began) < PATIENCE_SECONDS:
        taken = collector.taken()
        if taken is None or taken.flows is None or taken.octets is None:
            break
        if taken.flows < flows:
            late = passed
        elif taken.octets >= octets:
            break
        time.sleep(0.05)
    return late, cpu_seconds(collector.pids)


def run_trial(contestant: Contestant, sender: Sender, rate: float, seconds: float) -> Trial:
    """Start a collector, warm it up, send at a rate for so long, and end it."""
    real = time.time_ns()
    clock = Clock(real, real // 1_000_000, contestant.speed)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        with on_core(cores()[0]):
            collector = stack.enter_context(contestant.start(Path(folder), clock))
        warm_rate = min(rate, contestant.first_rate)
        warm_up = Order(collector.port, warm_rate, int(warm_rate * WARM_SECONDS) + 1, clock)
        warm = sender.send(warm_up)
        _, before = _until_quiet(collector)
        order = Order(collector.port, rate, max(int(rate * seconds), 1), clock)
        peak = [0]

        def watch() -> None:
            peak[0] = max(peak[0], usage(collector.pids).resident_octets)

        sent = sender.send(order, watch)
        flows_sent, octets_sent = warm.flows + sent.flows, warm.octets + sent.octets
        if isinstance(collector, OwnCollector) and collector.taken() is not None:
            late, after = _until_through(collector, flows_sent, octets_sent)
        else:
            late, after = _until_quiet(collector)
        watch()
        drops = udp_socket(collector.port)[1]
        taken = collector.finish()
        flows = flows_sent if taken.flows is None else taken.flows
        if not drops and flows == flows_sent and taken.octets not in (None, octets_sent):
            raise SystemExit(f"{contestant.name}: {taken.octets} octets of {octets_sent}")
    return Trial(sent, drops, flows_sent - flows, late, after - before, peak[0])


def search(
    contestant: Contestant, sender: Sender, seconds: float, steps: int
) -> tuple[Trial | None, Trial | None]:
    """Return the trials of the highest rate that passed and of the lowest that failed."""
    passed: Trial | None = None
    failed: Trial | None = None
    rate = contestant.first_rate
    for _ in range(TRIALS_MAX):
        trial = run_trial(contestant, sender, rate, seconds)
        print(f"  {contestant.name:18} {rate:>9,.0f} datagrams/s: {trial.says()}", flush=True)
        if trial.is_passed:
            passed = trial
            if trial.sent.rate < 0.9 * rate:
                break  # The sender cannot go faster.
        else:
            failed = trial
        if passed and failed:
            if steps == 0:
                break
            steps -= 1
            rate = (passed.sent.rate + failed.sent.rate) / 2
        elif passed:
            rate = 2 * rate
        elif (rate := rate / 3) < 10:
            break
    return passed, failed


def contestants(names: Sequence[str] = ()) -> list[Contestant]:
    """Return Flowrate and the peers that are installed; says which are not."""
    found = [
        Contestant(
            "flowrate receive", "durable log, not parsed", 40_000,
            lambda folder, clock: own_collector(folder, clock, 0),
        ),
        Contestant(
            "flowrate whole", "usage per subscriber, class and minute, durable", 10_000,
            lambda folder, clock: own_collector(folder, clock, LINES), WHOLE_SPEED,
        ),
    ]  # fmt: skip
    peers = {
        "nfcapd": ("its file", 40_000),
        "nfacctd": ("octets per destination, in memory", 20_000),
        "goflow2": ("protobuf to /dev/null", 2_000),
        "netflow": ("parsed and dropped", 1_000),
    }
    for name, (does, first_rate) in peers.items():
        programs = [find_peer(program) for program in PROGRAMS[name]]
        paths = [path for path in programs if path]
        if len(paths) < len(programs):
            print(f"{name} is not installed (infra/peers/install installs it)")
            continue
        found.append(Contestant(name, does, first_rate, _starter(name, paths)))
    return [each for each in found if not names or each.name.split()[-1] in names]


def _starter(
    name: str, paths: Sequence[str]
) -> Callable[[Path, Clock], contextlib.AbstractContextManager[Collector]]:
    @contextlib.contextmanager
    def start(folder: Path, clock: Clock) -> Iterator[Collector]:
        collector = STARTERS[name](*paths, folder)
        try:
            yield collector
        finally:
            collector.close()

    return start


def _compare(protocol: Protocol, options: argparse.Namespace) -> None:
    shape = Shape(protocol=protocol, flows=options.flows, exporters=options.exporters)
    print(f"{protocol}: {RECORDS_PER_DATAGRAM} records a datagram, {shape.exporters} exporters")
    results: dict[str, tuple[Contestant, Trial | None]] = {}
    with sending(shape, cores()[1]) as sender:
        alone = ceiling(sender, 200_000)
        print(f"  sender alone       {alone.rate:>9,.0f} datagrams/s", flush=True)
        for contestant in contestants(options.only):
            if protocol == "ipfix" and contestant.name == "netflow" and not options.only:
                contestant = dataclasses.replace(contestant, first_rate=500)
            passed, _ = search(contestant, sender, options.seconds, options.steps)
            results[contestant.name] = (contestant, passed)
    for name, (contestant, trial) in results.items():
        if trial is None:
            print(f"{protocol:5} {name:18} loses at any rate")
            continue
        limited = "*" if trial.sent.rate >= 0.8 * alone.rate else " "
        print(
            f"{protocol:5} {name:18} {trial.flows_per_second / 1e6:7.3f} M flows/s{limited} "
            f"{trial.cpu_per_million:7.3f} CPU s per million flows "
            f"{trial.resident_octets / 1e6:6.0f} MB resident  ({contestant.does})"
        )
    print("  * as fast as the sender goes")
    _print_ratios(protocol, {name: trial for name, (_, trial) in results.items() if trial})


def _print_ratios(protocol: Protocol, trials: dict[str, Trial]) -> None:
    for ours in ("flowrate receive", "flowrate whole"):
        for theirs, trial in trials.items():
            if ours not in trials or theirs.startswith("flowrate"):
                continue
            mine = trials[ours]
            print(
                f"{protocol:5} {ours} against {theirs}: "
                f"{mine.flows_per_second / trial.flows_per_second:.2f} of its rate, "
                f"{mine.cpu_per_million / max(trial.cpu_per_million, 1e-9):.3f} of its CPU, "
                f"{mine.resident_octets / trial.resident_octets:.2f} of its memory"
            )


def main() -> None:
    """Print the table and the ratios for each protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=PROTOCOLS)
    parser.add_argument("--only", nargs="+", default=(), help="receive, whole, nfcapd, …")
    parser.add_argument("--flows", type=int, default=240_000, help="until the traffic repeats")
    parser.add_argument("--exporters", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0, help="of sending, each trial")
    parser.add_argument("--steps", type=int, default=3, help="trials between passed and failed")
    options = parser.parse_args()
    for protocol in options.protocols:
        _compare(protocol, options)


if __name__ == "__main__":
    main()
