"""Flowrate as a collector that a benchmark starts and asks, beside those of `peer_collectors`.

`start_receive` is the process `receive`: sockets into the durable log. `start_whole` adds the
engine with the stages up to usage per subscriber and minute (decode, sessions, attribute) over its
SQLite file, on the same core. Its clock may run fast, so that a minute is over within seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import ipaddress
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from billing.adapters.databases import open_database, writing
from billing.adapters.rows import write_rows
from collectors.adapters import flow_receiver
from collectors.adapters.segments import SegmentReader, SegmentWriter
from collectors.config import FlowReceiverConfig, NasConfig, RadiusConfig
from collectors.metrics import Counters
from collectors.netflow.config import FlowDecodeConfig
from collectors.radius.log_codec import AccountingPacket, encode_packets
from infra.allocator import keep_freed_memory, share_arenas
from infra.garbage import collect_garbage_rarely
from infra.simulation.accounting_packets import NasIdentity, encode_accounting
from infra.simulation.network import AccountingEvent
from rating.config import RateConfig
from rating.ports import TopicWriter
from rating.session_config import AttributionConfig, SessionsConfig
from streams.adapters import sqlite_topics
from streams.config import StreamsConfig
from streams.embedded import EmbeddedRunner
from streams.sessions import SessionsStageConfig
from streams.topology import StageConfigs, build_stages
from tests.benchmarks.flow_sender import Clock
from tests.benchmarks.flow_traffic import OWN_FIRST, RECORDS_PER_DATAGRAM
from tests.collectors.netflow.exports import mapped
from tests.peers.peer_collectors import PATIENCE_SECONDS, Taken

_SECRET = "bench"
_NAS = NasIdentity("127.0.0.21", "nas", _SECRET.encode())
_NAS_CONFIG = NasConfig("nas1", "127.0.0.21", _SECRET)
STAGES = ("decode", "sessions", "attribute")
"""What makes usage per subscriber and minute."""
ALL_STAGES = (*STAGES, "rate")
_SETTLE_MS = 600_000
_SEGMENT_SECONDS = 600
_TRIM_SECONDS = 5.0
_EVERYTHING = 1 << 62
WriterOf = Callable[[Path], TopicWriter]


class Instants(Protocol):
    """A clock: what time it is, and how much faster than the real one it runs."""

    @property
    def speed(self) -> int: ...
    def now_ms(self) -> int: ...


class Shared:
    """Numbers that processes see: flows decoded, octets of measured usage, the last block taken."""

    def __init__(self) -> None:
        """Start at 0."""
        context = multiprocessing.get_context("spawn")
        self.flows: Any = context.Value(ctypes.c_longlong)
        self.octets: Any = context.Value(ctypes.c_longlong)
        self.consumed: Any = context.Value(ctypes.c_longlong)


def receive(directory: Path, clock: Clock, writer_of: WriterOf, pipe: Connection) -> None:
    """Run the flow receiver with its default settings until told to stop; send what it counted."""
    keep_freed_memory()
    stop, counters = threading.Event(), Counters()

    def on_listening(ports: list[int]) -> None:
        pipe.send(ports[0])
        threading.Thread(target=stop_when_told, daemon=True).start()

    def stop_when_told() -> None:
        pipe.recv()
        stop.set()

    defaults = FlowReceiverConfig()
    config = FlowReceiverConfig(
        listen=("127.0.0.1:0",),
        # In real time a marker is as old as it would be by the real clock. A block is not: half of
        # its age is how long the kernel waits for a datagram, and that is of the real clock.
        block_milliseconds=max(
            defaults.block_milliseconds, defaults.block_milliseconds * clock.speed // 5
        ),
        marker_interval_milliseconds=defaults.marker_interval_milliseconds * clock.speed,
    )
    writer = writer_of(directory / "flows")
    flow_receiver.run(
        config, writer, now_ms=clock.now_ms, stop=stop, counters=counters, on_listening=on_listening
    )
    if isinstance(writer, SegmentWriter):
        writer.close()
    pipe.send({name: count for (name, _), count in counters.snapshot().items()})


def _starts(lines: int, at_ms: int) -> bytes:
    """Return every line's Start: who has which address from now on."""
    packets = []
    for line in range(lines):
        address = str(ipaddress.IPv4Address(OWN_FIRST + line))
        prefix = f"2001:db8:{line >> 16:x}:{line & 0xFFFF:x}::/64"
        numbers = (at_ms // 1000, 0, 0, 0, 0, 0)
        event = AccountingEvent("start", f"s{line}", f"line{line}", address, prefix, *numbers)
        packet = encode_accounting(event, _NAS, line)
        packets.append(AccountingPacket(at_ms, "nas1", mapped(_NAS.address), 1, packet))
    return encode_packets(packets)


class Engine:
    """The stages over a file of `own_books`; `turn` is what the process `engine` does in a loop.

    counts what left the last stage: octets of usage that flows gave, whoever they belong to.
    """

    def __init__(self, directory: Path, clock: Instants, lines: int, stages: Sequence[str]) -> None:
        """Tell the directory and every line's Start, and work until all of it is taken in."""
        database = self._database = open_database(url_of(directory))
        self._clock = clock
        self._radius = SegmentWriter(directory / "radius")
        self._marked_at = 0
        self.octets = 0
        configs = StageConfigs(
            decode=FlowDecodeConfig(),
            sessions=SessionsStageConfig(
                SessionsConfig(interim_interval_seconds=86_400),
                RadiusConfig(clients=(_NAS_CONFIG,)),
            ),
            attribute=AttributionConfig(),
            rate=RateConfig(),
        )
        made = [stage for stage in build_stages(configs) if stage.name in stages]
        self._decode = made[0].tasks(1)[0]
        self.runner = EmbeddedRunner(
            lambda: writing(database),
            made,
            {
                "flow.datagrams": SegmentReader(directory / "flows"),
                "radius.accounting": SegmentReader(directory / "radius"),
            },
            write_rows,
            StreamsConfig(),
            self._committed,
        )
        at = clock.now_ms() - 600_000
        self._radius.append("data", at, _starts(lines, at))
        self.mark(at)
        while self.runner.run_once():
            pass

    def _committed(self, topic: str, frame: pl.DataFrame) -> None:
        if topic == "usage.measured":
            flows = frame.filter(pl.col("source") == "flows")
            self.octets += int(flows["octets_up"].sum()) + int(flows["octets_down"].sum())

    def mark(self, through_at: int) -> None:
        """Say that accounting is received through an instant."""
        self._radius.append("marker", through_at, b"")

    def turn(self) -> bool:
        """Make one pass; return whether there was work."""
        now = self._clock.now_ms()
        if now >= self._marked_at + 1_000 * self._clock.speed:
            self.mark(now)
            self._marked_at = now
        return self.runner.run_once()

    @property
    def flows(self) -> int:
        """Flows decoded so far."""
        return self.runner.counters["decode_flows"]

    @property
    def consumed(self) -> int:
        """The number of the last block of the flow log that is in the state."""
        with self._database.connect() as connection:
            positions = sqlite_topics.load_positions(connection, self._decode)
        return positions.get("flow.datagrams", 0)

    def trim(self) -> None:
        """Delete what every stage has consumed, as if the warehouse had taken all rated usage."""
        self.runner.trim({"usage.rated": _EVERYTHING})


def url_of(directory: Path) -> str:
    """Return the URL of the engine's database."""
    return f"sqlite:///{directory / 'flowrate.sqlite'}"


def engine(
    directory: Path,
    clock: Clock,
    lines: int,
    stages: Sequence[str],
    shared: Shared,
    pipe: Connection,
) -> None:
    """Run the engine until told to stop, then settle everything and send flows and octets."""
    keep_freed_memory()
    collect_garbage_rarely()
    config = StreamsConfig()
    made = Engine(directory, clock, lines, stages)
    pipe.send("ready")
    trimmed = time.monotonic()
    while not pipe.poll(0):
        made.turn()
        shared.flows.value, shared.octets.value = made.flows, made.octets
        if time.monotonic() > trimmed + _TRIM_SECONDS:
            made.trim()
            shared.consumed.value = made.consumed
            trimmed = time.monotonic()
        pause = config.turn_pause_milliseconds / 1000
        time.sleep(pause if made.runner.is_behind else config.poll_interval_seconds)
    pipe.recv()
    through = clock.now_ms() + _SETTLE_MS
    writer = SegmentWriter(directory / "flows")
    writer.append("marker", through, b"")
    writer.close()
    made.mark(through)
    while made.runner.run_once():
        pass
    pipe.send((made.flows, made.octets))


def segments(directory: Path) -> TopicWriter:
    """Return the writer of the durable log."""
    return SegmentWriter(directory)


class _Trimmed:
    """A log of short segments that deletes those that the engine has consumed."""

    def __init__(self, directory: Path, consumed: Any) -> None:
        self._writer = SegmentWriter(directory, segment_seconds=_SEGMENT_SECONDS)
        self._consumed = consumed
        self._slot = 0

    def append(self, kind: str, received_at: int, body: bytes) -> int:
        slot = received_at // (1_000 * _SEGMENT_SECONDS)
        if slot != self._slot:
            self._slot = slot
            self._writer.trim(consumed_number=self._consumed.value, received_before_at=received_at)
        return self._writer.append(kind, received_at, body)


def trimmed_segments(directory: Path, consumed: Any = None) -> TopicWriter:
    """Return the writer of the durable log that deletes what the engine has consumed."""
    return _Trimmed(directory, consumed)


class OwnCollector:
    """The receiver, alone or with the engine, as `peer_collectors.PeerCollector` is."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        lines: int,
        writer_of: WriterOf,
        stages: Sequence[str] = STAGES,
    ) -> None:
        """Start it; lines above 0 start the engine too. Returns when it listens."""
        self.clock = clock
        self.counts: dict[str, int] = {}
        self._shared = Shared()
        if writer_of is trimmed_segments:
            writer_of = functools.partial(trimmed_segments, consumed=self._shared.consumed)
        self._processes: list[SpawnProcess] = []
        self._engine: Connection | None = None
        self._receive = self._start(receive, directory, clock, writer_of)
        self.port: int = self._receive.recv()
        if lines:
            # Here, so that the engine has no more in memory than the process `engine` of the field.
            from tests.benchmarks.own_books import found

            found(url_of(directory), lines, clock.now_ms())
            self._engine = self._start(engine, directory, clock, lines, stages, self._shared)
            self._engine.recv()

    def _start(self, target: Callable[..., None], *arguments: Any) -> Connection:
        share_arenas(os.environ)  # inherited, as the processes of `infra.processes` have it
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=target, args=(*arguments, theirs), daemon=True)
        process.start()
        theirs.close()
        self._processes.append(process)
        return ours

    @property
    def pids(self) -> Sequence[int]:
        """The receiver's process, and the engine's behind it."""
        return [process.pid for process in self._processes if process.pid]

    def taken(self) -> Taken | None:
        """Return what has come through so far; None without an engine: only the end tells."""
        if self._engine is None:
            return None
        return Taken(self._shared.flows.value, self._shared.octets.value)

    def finish(self) -> Taken:
        """End it and return what it took; without an engine it knows datagrams, not their flows."""
        self._receive.send("stop")
        self.counts = self._receive.recv()
        if self._engine is None:
            return Taken(RECORDS_PER_DATAGRAM * self.counts["flow_appended_datagrams"])
        self._engine.send("stop")
        flows, octets = self._engine.recv()
        return Taken(flows, octets)

    def close(self) -> None:
        """End the processes that have not ended."""
        for process in self._processes:
            process.join(0.5)
            if process.is_alive():
                process.kill()
                process.join(PATIENCE_SECONDS)


@contextlib.contextmanager
def own_collector(
    directory: Path,
    clock: Clock,
    lines: int,
    writer_of: WriterOf = segments,
    stages: Sequence[str] = STAGES,
) -> Iterator[OwnCollector]:
    """Give Flowrate at work and see that its processes end."""
    collector = OwnCollector(directory, clock, lines, writer_of, stages)
    try:
        yield collector
    finally:
        collector.close()
