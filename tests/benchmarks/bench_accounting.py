"""Accounting side by side: requests a second with p99 below 20 ms, and an outage's storm.

Each server on a core of its own at rising rates from one crowd of NASes; ours answers after the
durable commit. The highest rate at which all was answered and p99 stood, with p50 and CPU per
request, and the ratios. Then 100,000 sessions retry until a log that was away is back: every octet
is in the usage once, or the run fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from collectors.adapters.segments import SegmentReader
from collectors.radius.accounting import decode_record
from collectors.radius.log_codec import decode_packets
from rating.accounting import AccountingRecord
from rating.ports import Batch, MemoryState
from rating.session_config import SessionsConfig
from streams.sessions import SessionsStageConfig, step
from tests.benchmarks.accounting_sender import Answered, requests_of, steady, storm
from tests.benchmarks.accounting_servers import (
    CONFIG,
    AtWork,
    Start,
    bare,
    flowrate,
    freeradius,
    in_process,
    of_python,
    pyrads,
)
from tests.benchmarks.bench_peers import cores, on_core
from tests.benchmarks.process_usage import cpu_seconds
from tests.peers_available import find_peer

RATES = (2_000, 5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 35_000, 40_000, 50_000, 60_000)
LATENCY_MS_MAX = 20.0
STORM_SESSION_SECONDS = 60
RETRY_SECONDS = 1.0
STORM_PATIENCE_SECONDS = 240.0
BLOCKS_PER_STEP = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One rate at one server: what was answered, and the server's CPU seconds a request."""

    rate: float
    answered: Answered
    cpu_seconds: float

    @property
    def is_passed(self) -> bool:
        """Whether all was answered soon enough, and asked as fast as it should be."""
        p99 = self.answered.percentile_ms(99)
        return not self.answered.unanswered and p99 < LATENCY_MS_MAX and not self.is_sender_slow

    @property
    def is_sender_slow(self) -> bool:
        """Whether the crowd could not ask at this rate."""
        return self.answered.asked / self.answered.seconds < 0.9 * self.rate

    def says(self) -> str:
        """Return the numbers as text."""
        p50, p99 = (self.answered.percentile_ms(percent) for percent in (50, 99))
        return (
            f"p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  {self.cpu_seconds * 1e6:6.1f} CPU us each  "
            f"unanswered {self.answered.unanswered:,}"
            + ("  (the crowd itself is slower)" if self.is_sender_slow else "")
        )


def servers() -> Mapping[str, Start]:
    """Return ours, the bare loop, pyrad's and, where it is installed, FreeRADIUS."""
    found = {
        "flowrate": of_python(flowrate),
        "bare loop": of_python(bare),
        "pyrad": of_python(pyrads),
    }
    program = find_peer("freeradius")
    if program is None:
        print("freeradius is not installed (infra/peers/install installs it)")
        return found
    return found | {
        "freeradius detail": freeradius(program, "detail"),
        "freeradius no-op": freeradius(program, "ok"),
    }


def measure(name: str, start: Start, rates: tuple[int, ...], seconds: float) -> Run | None:
    """Return the run of the highest rate that passed; it ends at the second that fails."""
    best, failures = None, 0
    with tempfile.TemporaryDirectory() as folder:
        with on_core(cores()[0]):
            starting = start(Path(folder))
            at_work: AtWork = starting.__enter__()
        try:
            steady(at_work.port, requests_of(0, 2_000), 2_000)
            for number, rate in enumerate(rates):
                requests = requests_of(1_000_000 * (number + 1), int(rate * seconds))
                before = cpu_seconds([at_work.pid])
                with on_core(cores()[1]):
                    answered = steady(at_work.port, requests, rate)
                used = (cpu_seconds([at_work.pid]) - before) / len(requests)
                run = Run(rate, answered, used)
                print(f"  {name:18} {rate:>7,} requests/s: {run.says()}", flush=True)
                if run.is_passed:
                    best = run
                else:
                    failures += 1
                if failures > 1 or run.is_sender_slow:
                    break
        finally:
            starting.__exit__(None, None, None)
    return best


def weather(sessions: int, away_seconds: float) -> str:
    """Let sessions retry until the log is back; raises SystemExit where an octet is wrong."""
    requests = requests_of(0, sessions, STORM_SESSION_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with in_process(flowrate, directory, away_seconds) as (at_work, pipe):
            drained = storm(at_work.port, requests, RETRY_SECONDS, STORM_PATIENCE_SECONDS)
            pipe.send("stop")
            counts = pipe.recv()
        expected, packets = _expected(directory)
        measured = _measured(directory)
    if measured != expected or packets < sessions:
        raise SystemExit(f"storm: {measured:,} octets measured of {expected:,}, {packets:,} logged")
    return (
        f"storm: {sessions:,} sessions, log away for {away_seconds:.0f} s: drained "
        f"{drained.seconds - away_seconds:.1f} s after it was back, {drained.transmissions:,} "
        f"datagrams sent, {counts.get('radius_kernel_drops', 0):,} dropped by the kernel, "
        f"{packets:,} logged, {measured:,} octets measured, none lost or doubled"
    )


def _expected(directory: Path) -> tuple[int, int]:
    """Return the octets of every session, each counted once, and how many packets are logged."""
    octets: dict[str, int] = {}
    packets = 0
    reader, after = SegmentReader(directory / "radius"), 0
    while blocks := reader.read(after, BLOCKS_PER_STEP):
        after = blocks[-1].number
        for packet in (p for b in blocks if b.kind == "data" for p in decode_packets(b.body)):
            record = decode_record(packet, CONFIG.clients[0], CONFIG)
            assert isinstance(record, AccountingRecord)
            octets[record.acct_session_id] = (record.octets_up or 0) + (record.octets_down or 0)
            packets += 1
    return sum(octets.values()), packets


def _measured(directory: Path) -> int:
    """Return the octets of usage that the stage sessions makes of the log."""
    state, total = MemoryState(), 0
    config = SessionsStageConfig(SessionsConfig(), CONFIG)
    reader, after = SegmentReader(directory / "radius"), 0
    while blocks := reader.read(after, BLOCKS_PER_STEP):
        after = blocks[-1].number
        data = Batch({}, [block for block in blocks if block.kind == "data"])
        result = step(state, data, watermark_at=0, config=config)
        state.apply(result)
        for output in result.outputs:
            if output.topic == "usage.measured":
                frame = output.frame
                total += int(frame["octets_up"].sum()) + int(frame["octets_down"].sum())
    return total


def main() -> None:
    """Print each server's highest rate, the ratios, and how a storm ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--seconds", type=float, default=4.0, help="of asking at each rate")
    parser.add_argument("--only", nargs="+", default=())
    parser.add_argument("--sessions", type=int, default=100_000, help="of the storm")
    parser.add_argument("--away-seconds", type=float, default=5.0)
    options = parser.parse_args()
    best: dict[str, Run] = {}
    for name, start in servers().items():
        if options.only and name.split()[0] not in options.only:
            continue
        run = measure(name, start, tuple(options.rates), options.seconds)
        if run is not None:
            best[name] = run
    for name, run in best.items():
        print(f"accounting {name:18} {run.rate:>7,} requests/s  {run.says()}")
    if "flowrate" in best:
        for name, run in best.items():
            rate = best["flowrate"].rate / run.rate
            cpu = best["flowrate"].cpu_seconds / max(run.cpu_seconds, 1e-9)
            print(
                f"accounting flowrate against {name:18} {rate:.2f} of its rate, {cpu:.2f} of its"
                " CPU"
            )
    began = time.monotonic()
    print(weather(options.sessions, options.away_seconds), flush=True)
    print(f"storm: {time.monotonic() - began:.0f} s with the audit")


if __name__ == "__main__":
    main()
