"""One simulated ISP in virtual time: real packets, real stages, real API, no sockets, no sleep.

Each virtual second the network model lives, datagrams cross a path that loses, repeats and
reorders, the collectors' cores append to real logs, and the engine runs, dying now and then in the
middle of a transaction. The business side acts through the API.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from billing.adapters.rows import write_rows
from billing.adapters.sqlite import open_database, writing
from collectors.adapters.segments import SegmentReader, SegmentWriter
from collectors.config import NasConfig, RadiusConfig
from collectors.datagrams import Datagram, encode_datagrams
from collectors.radius.log_codec import encode_packets
from collectors.radius.server import Accepted, AccountingServer, Duplicate
from infra.migrate import migrate
from infra.simulation.accounting_packets import NasIdentity
from infra.simulation.flow_packets import IpfixExporter, NetflowV9Exporter
from infra.simulation.network import AccountingEvent, Network, NetworkConfig, Tick
from infra.simulation.transmission import AccountingSender
from streams.adapters import sqlite_topics
from streams.config import StreamsConfig
from streams.embedded import EmbeddedRunner
from streams.topology import StageConfigs, build_stages
from tests.simulation.transport import Path as NetworkPath
from tests.simulation.transport import Weather

SECRET = "s3cret"
NAS_ADDRESS = "127.0.0.21"
ENGINE_INTERVAL_SECONDS = 7


class DeathError(Exception):
    """The engine process dies here, in the middle of what it does."""


@dataclasses.dataclass(frozen=True, slots=True)
class WorldConfig:
    """One simulation: its seed, its size, how bad the network and how mortal the engine is."""

    seed: int
    start_seconds: int
    weather: Weather
    death_probability: float = 0.0
    partitions: int = 1
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)


class World:
    """Everything under one seed. `second` lives one second; the caller decides what else happens.

    on_accepted is told each accounting event that became durable.
    """

    def __init__(
        self,
        directory: Path,
        config: WorldConfig,
        stage_configs: StageConfigs,
        on_accepted: Callable[[AccountingEvent], None],
    ) -> None:
        """Make the database and the logs; nothing has happened yet."""
        self.config = config
        self.directory = directory
        self.seconds = config.start_seconds
        self.chance = random.Random(config.seed)
        self._on_accepted = on_accepted
        self._stage_configs = stage_configs
        url = f"sqlite:///{directory / 'flowrate.sqlite'}"
        migrate(url)
        self.database: Engine = open_database(url, synchronous="normal")
        with writing(self.database) as connection:
            sqlite_topics.create_tables(connection)
        self._streams = StreamsConfig(partitions=config.partitions, batch_blocks_max=16)
        self.deaths = 0
        self.runner = self._start_engine()
        self._flow_log = SegmentWriter(directory / "flows")
        self._accounting_log = SegmentWriter(directory / "radius")
        self._build_network()

    def _build_network(self) -> None:
        config = self.config
        self.network = Network(config.network)
        nas = NasIdentity(NAS_ADDRESS, "nas", SECRET.encode())
        self._sender = AccountingSender(nas, window=64, backlog_max=100_000)
        client = NasConfig("nas1", NAS_ADDRESS, SECRET, vendor="mikrotik")
        self._server = AccountingServer(RadiusConfig(clients=(client,)))
        self._requests = NetworkPath(config.weather, self.chance)
        self._responses = NetworkPath(config.weather, self.chance)
        # Flow datagrams are reordered and repeated; lost ones are a matter of their own.
        self._flows = NetworkPath(dataclasses.replace(config.weather, loss=0.0), self.chance)
        booted_at = config.start_seconds * 1000 - 60_000
        self._v9 = NetflowV9Exporter(source_id=1, booted_at=booted_at)
        self._ipfix = IpfixExporter(domain=7, sampling_rate=config.network.ipfix_sampling_rate)
        self._sent: dict[bytes, AccountingEvent] = {}

    def now_ms(self) -> int:
        """Return the virtual instant in ms."""
        return self.seconds * 1000

    def append_rows(self, connection: Connection, topic: str, producer: str, frame: Any) -> None:
        """Append for the API."""
        sqlite_topics.append_rows(
            connection, topic, producer, frame, partitions=self.config.partitions
        )

    def second(self) -> Tick:
        """Live one second: network, paths, collectors, and now and then the engine."""
        self.seconds += 1
        tick = self.network.advance(self.seconds)
        for event in tick.accounting:
            self._sender.submit(event)
        self._carry_accounting()
        self._carry_flows(tick)
        for log in (self._accounting_log, self._flow_log):
            log.append("marker", self.now_ms() + 999, b"")
        if self.seconds % ENGINE_INTERVAL_SECONDS == 0:
            self.run_engine()
        return tick

    def reboot_nas(self, boot_id: str) -> None:
        """The NAS restarts: what it had not yet got an answer for is gone."""
        nas = NasIdentity(NAS_ADDRESS, "nas", SECRET.encode())
        self._sender = AccountingSender(nas, window=64, backlog_max=100_000)
        self._sender.submit(self.network.reboot(self.seconds, boot_id))

    def _carry_accounting(self) -> None:
        for packet in self._sender.due(self.seconds):
            self._requests.send(self.seconds, NAS_ADDRESS, 40000, packet)
        for waiting in self._sender.waiting():
            self._sent[waiting.packet] = waiting.event
        source = bytes(10) + b"\xff\xff" + bytes(map(int, NAS_ADDRESS.split(".")))
        accepted: list[Accepted] = []
        answers: list[bytes] = []
        for delivery in self._requests.arrivals(self.seconds):
            judged = self._server.handle(delivery.payload, source, 40000, self.now_ms())
            if isinstance(judged, Accepted):
                accepted.append(judged)
            elif isinstance(judged, Duplicate):
                answers += [judged.response] if judged.response else []
            else:
                raise AssertionError(f"a good packet was refused: {judged}")
        packets = [a.packet for a in accepted if a.packet is not None]
        if packets:
            self._accounting_log.append("data", self.now_ms(), encode_packets(packets))
        for each in accepted:
            answers.append(self._server.release(each))
            if each.packet is not None:
                self._on_accepted(self._sent[each.packet.packet])
        for answer in answers:
            self._responses.send(self.seconds, "server", 1813, answer)
        for delivery in self._responses.arrivals(self.seconds):
            self._sender.answered(delivery.payload)

    def _carry_flows(self, tick: Tick) -> None:
        now = self.now_ms()
        halves = [[f for f in tick.flows if f.exporter == n] for n in (0, 1)]
        datagrams = [("127.0.0.11", d) for d in self._v9.data(halves[0], now)]
        datagrams += [("127.0.0.12", d) for d in self._ipfix.data(halves[1], now)]
        if self.seconds % 20 == 5:
            datagrams += [
                ("127.0.0.11", self._v9.templates(now)),
                ("127.0.0.12", self._ipfix.templates(now)),
            ]
        for source, datagram in datagrams:
            self._flows.send(self.seconds, source, 50000, datagram)
        arrived = [
            Datagram(
                now,
                bytes(10) + b"\xff\xff" + bytes(map(int, delivery.source.split("."))),
                delivery.source_port,
                2055,
                delivery.payload,
            )
            for delivery in self._flows.arrivals(self.seconds)
        ]
        if arrived:
            self._flow_log.append("data", now, encode_datagrams(arrived))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on the way any more."""
        paths = (self._requests, self._responses, self._flows)
        return not self._sender.unanswered and not any(path.in_flight for path in paths)

    def _start_engine(self) -> EmbeddedRunner:
        readers = {
            "flow.datagrams": SegmentReader(self.directory / "flows"),
            "radius.accounting": SegmentReader(self.directory / "radius"),
        }
        return EmbeddedRunner(
            self._begin_mortal,
            build_stages(self._stage_configs),
            readers,
            self._write_mortal,
            self._streams,
        )

    @contextlib.contextmanager
    def _begin_mortal(self) -> Iterator[Connection]:
        with writing(self.database) as connection:
            yield connection
            self._strike()

    def _write_mortal(self, connection: Connection, rows: Any) -> None:
        write_rows(connection, rows)
        self._strike()

    def _strike(self) -> None:
        if self.chance.random() < self.config.death_probability:
            raise DeathError

    def run_engine(self) -> None:
        """Run passes until nothing is left; a death is followed by a new start."""
        while True:
            try:
                if not self.runner.run_once():
                    return
            except DeathError:
                self.deaths += 1
                self.runner = self._restart_engine()

    def _restart_engine(self) -> EmbeddedRunner:
        while True:
            try:
                return self._start_engine()
            except DeathError:
                self.deaths += 1
