"""One simulated ISP in virtual time: real packets, real stages, no sockets, no sleep.

Each virtual second the network model lives, datagrams cross a path that loses, repeats and
reorders, the collectors' cores append to real logs, and the engine runs: embedded, dying now and
then in the middle of a transaction, or a cluster (`tests.cluster.machine`). The business side
(`tests.simulation.business`) acts through the API.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
from sqlalchemy import Connection

from billing.adapters.databases import writing
from collectors.config import NasConfig, RadiusConfig
from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.radius.log_codec import encode_packets
from collectors.radius.server import Accepted, AccountingServer, Duplicate
from infra.network import ClassRuleConfig, entries_to_write
from infra.network import NetworkConfig as OwnNetworkConfig
from infra.simulation.accounting_packets import NasIdentity
from infra.simulation.flow_packets import IpfixExporter, NetflowV9Exporter
from infra.simulation.network import (
    ACCESS_PREFIX_IPV4,
    ACCESS_PREFIX_IPV6,
    REMOTES,
    AccountingEvent,
    FlowRecord,
    Network,
    NetworkConfig,
)
from infra.simulation.transmission import AccountingSender
from rating.config import RateConfig
from rating.records import DirectoryEntry, frame_of
from rating.session_config import AttributionConfig, SessionsConfig
from streams.sessions import SessionsStageConfig
from streams.topology import StageConfigs
from tests.simulation.machine import EmbeddedMachine, Machine
from tests.simulation.transport import Path as NetworkPath
from tests.simulation.transport import Weather
from tests.simulation.truth import Truth

SECRET = "s3cret"
_WINDOW = 200
"""Requests in flight: with answers that take 12 s and a third lost, 64 were fewer than came."""
NAS_ADDRESS = "127.0.0.21"
V9_ADDRESS = "127.0.0.11"
IPFIX_ADDRESS = "127.0.0.12"
RECORDS_PER_DATAGRAM = 24
TEMPLATE_INTERVAL_SECONDS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class WorldConfig:
    """One simulation: its seed, its size, how bad the network and how mortal the engine is.

    order is a seed of its own for what the paths do, so that the same world can be lived with
    another order of arrival. A lost accounting packet is sent again, a lost flow is not: with
    loses_flows False they only come late, twice and in any order.
    """

    seed: int
    start_seconds: int
    weather: Weather = dataclasses.field(default_factory=Weather)
    order: int = 0
    loses_flows: bool = True
    death_probability: float = 0.0
    partitions: int = 1
    lateness_seconds: int = 120
    engine_interval_seconds: int = 7
    batch_blocks_max: int = 16
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)

    @property
    def stages(self) -> StageConfigs:
        """The settings of every stage, with the small bounds of a simulation."""
        interim = self.network.interim_interval_seconds
        client = NasConfig("nas1", NAS_ADDRESS, SECRET, vendor="mikrotik")
        return StageConfigs(
            decode=FlowDecodeConfig(),
            sessions=SessionsStageConfig(
                SessionsConfig(
                    lateness_bound_seconds=self.lateness_seconds, interim_interval_seconds=interim
                ),
                RadiusConfig(clients=(client,)),
            ),
            attribute=AttributionConfig(
                attribution_delay_seconds=10, lateness_bound_seconds=self.lateness_seconds
            ),
            rate=RateConfig(
                lateness_bound_seconds=self.lateness_seconds, class_split_wait_seconds=30
            ),
        )

    @property
    def silence_ms(self) -> int:
        """How long a session may be silent before it is presumed ended."""
        return SessionsConfig().silent_intervals_max * self.network.interim_interval_seconds * 1000


class World:
    """Everything under one seed. `second` lives one second; the caller decides what else happens.

    truth is told of each accounting event and flow that became durable.
    """

    def __init__(
        self, directory: Path, config: WorldConfig, machine: Machine | None = None
    ) -> None:
        """Make the database and the logs; nothing has happened yet."""
        self.config = config
        self.seconds = config.start_seconds
        self.truth = Truth(config.silence_ms, config.lateness_seconds * 1000)
        self.is_nas_cut_off = False
        self.machine = machine or EmbeddedMachine(
            directory,
            config.stages,
            seed=config.seed,
            partitions=config.partitions,
            batch_blocks_max=config.batch_blocks_max,
            death_probability=config.death_probability,
        )
        self.database = self.machine.database
        with writing(self.database) as connection:
            self._tell_own_network(connection)
        self._build_network()

    def _tell_own_network(self, connection: Connection) -> None:
        rules = tuple(ClassRuleConfig(name, prefixes=(p,)) for name, p in REMOTES.items())
        own = OwnNetworkConfig((ACCESS_PREFIX_IPV4, ACCESS_PREFIX_IPV6), rules)
        rows = entries_to_write(own, {}, self.now_ms())
        self.append_rows(connection, "directory", "settings", frame_of(DirectoryEntry, rows))

    def _build_network(self) -> None:
        config = self.config
        self.network = Network(config.network)
        self._nas = NasIdentity(NAS_ADDRESS, "nas", SECRET.encode())
        self._sender = AccountingSender(self._nas, window=_WINDOW, backlog_max=100_000)
        self._server = AccountingServer(config.stages.sessions.radius)
        chance = random.Random(f"weather {config.seed} {config.order}")
        self._requests = NetworkPath(config.weather, chance)
        self._responses = NetworkPath(config.weather, chance)
        flow_loss = config.weather.loss if config.loses_flows else 0.0
        self._flows = NetworkPath(dataclasses.replace(config.weather, loss=flow_loss), chance)
        booted_at = config.start_seconds * 1000 - 60_000
        self._v9 = NetflowV9Exporter(source_id=1, booted_at=booted_at)
        self._ipfix = IpfixExporter(domain=7, sampling_rate=config.network.ipfix_sampling_rate)
        self._sent: dict[bytes, AccountingEvent] = {}
        self._exported: dict[bytes, Sequence[FlowRecord]] = {}

    def now_ms(self) -> int:
        """Return the virtual instant in ms."""
        return self.seconds * 1000

    def append_rows(
        self, connection: Connection, topic: str, producer: str, frame: pl.DataFrame
    ) -> None:
        """Append for the API."""
        self.machine.append_rows(connection, topic, producer, frame)

    @property
    def deaths(self) -> int:
        """How often the engine or the office has died."""
        return self.machine.deaths

    def second(
        self, accounting: Sequence[AccountingEvent] = (), flows: Sequence[FlowRecord] = ()
    ) -> None:
        """Live one second: network, paths, collectors, and now and then the engine.

        accounting and flows are sent beside what the network model does.
        """
        self.seconds += 1
        tick = self.network.advance(self.seconds)
        for report in (*tick.accounting, *accounting):
            self._sender.submit(report)
        self._carry_accounting()
        self._carry_flows([*tick.flows, *flows])
        self._mark()
        if self.seconds % self.config.engine_interval_seconds == 0:
            self.machine.run_engine(self.now_ms(), wait=False)

    def drain(self) -> None:
        """Let everything that is on the way arrive, while nobody uses anything."""
        for _ in range(600):
            if self.is_quiet:
                break
            self.seconds += 1
            self._carry_accounting()
            self._carry_flows(())
            self._mark()
        assert self.is_quiet, "a path that never delivers"
        self.run_engine()

    def jump(self, seconds: int) -> None:
        """Let time pass at once, with nobody online and nothing on the way."""
        assert seconds >= self.seconds, "time does not go back"
        self.seconds = seconds
        self._mark()
        self.run_engine()

    def _mark(self) -> None:
        for log in ("radius.accounting", "flow.datagrams"):
            self.machine.append(log, "marker", self.now_ms() + 999, b"")

    def reboot_nas(self, boot_id: str) -> None:
        """The NAS restarts: what it had not yet got an answer for is gone."""
        self._sender = AccountingSender(self._nas, window=_WINDOW, backlog_max=100_000)
        self._sender.submit(self.network.reboot(self.seconds, boot_id))

    def _carry_accounting(self) -> None:
        if not self.is_nas_cut_off:
            for packet in self._sender.due(self.seconds):
                self._requests.send(self.seconds, NAS_ADDRESS, 40000, packet)
        for waiting in self._sender.waiting():
            self._sent[waiting.packet] = waiting.event
        accepted: list[Accepted] = []
        answers: list[bytes] = []
        for delivery in self._requests.arrivals(self.seconds):
            source = _octets_of(NAS_ADDRESS)
            judged = self._server.handle(delivery.payload, source, 40000, self.now_ms())
            if isinstance(judged, Accepted):
                accepted.append(judged)
            elif isinstance(judged, Duplicate):
                answers += [judged.response] if judged.response else []
            else:
                raise AssertionError(f"a good packet was refused: {judged}")
        packets = [each.packet for each in accepted if each.packet is not None]
        if packets:
            self.machine.append("radius.accounting", "data", self.now_ms(), encode_packets(packets))
        for logged in packets:
            self.truth.report(self._sent[logged.packet], self.now_ms())
        answers += [self._server.release(each) for each in accepted]
        for answer in answers:
            self._responses.send(self.seconds, "server", 1813, answer)
        for delivery in self._responses.arrivals(self.seconds):
            self._sender.answered(delivery.payload)

    def _carry_flows(self, flows: Sequence[FlowRecord]) -> None:
        now = self.now_ms()
        if (self.seconds - self.config.start_seconds) % TEMPLATE_INTERVAL_SECONDS == 1:
            # A late template holds its data back; a late sampling rate could not be made good.
            is_sampled = self.config.network.ipfix_sampling_rate > 1
            announce = self._flows.deliver if is_sampled else self._flows.send
            announce(self.seconds, V9_ADDRESS, 50000, self._v9.templates(now))
            announce(self.seconds, IPFIX_ADDRESS, 50000, self._ipfix.templates(now))
        for exporter, source in enumerate((V9_ADDRESS, IPFIX_ADDRESS)):
            own = [flow for flow in flows if flow.exporter == exporter]
            for first in range(0, len(own), RECORDS_PER_DATAGRAM):
                part = own[first : first + RECORDS_PER_DATAGRAM]
                builder = self._ipfix if exporter else self._v9
                [datagram] = builder.data(part, now)
                self._exported[datagram] = part
                self._flows.send(self.seconds, source, 50000, datagram)
        arrived = []
        for delivery in self._flows.arrivals(self.seconds):
            source_address = _octets_of(delivery.source)
            arrived.append(
                Datagram(now, source_address, delivery.source_port, 2055, delivery.payload)
            )
            # A datagram that comes twice tells of its flows once.
            for flow in self._exported.pop(delivery.payload, ()):
                self.truth.report_flow(self._as_scaled(flow), now)
        if arrived:
            self.machine.append("flow.datagrams", "data", now, encode_datagrams(arrived))

    def _as_scaled(self, flow: FlowRecord) -> FlowRecord:
        """Return a flow as a collector must take it: whole sampled octets, scaled up again."""
        rate = self.config.network.ipfix_sampling_rate if flow.exporter == 1 else 1
        return dataclasses.replace(flow, octets=flow.octets // rate * rate)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on the way any more."""
        paths = (self._requests, self._responses, self._flows)
        return not self._sender.unanswered and not any(path.in_flight for path in paths)

    # -- the engine ----------------------------------------------------------------------------

    def run_engine(self) -> None:
        """Let everything that has been received be rated."""
        self.machine.run_engine(self.now_ms(), wait=True)

    def run_office(self, work: Callable[[], object]) -> None:
        """Do the office's work; a death before any of its commits is followed by a new start."""
        self.machine.run_office(work)

    def close(self) -> None:
        """Close the logs and the database."""
        self.machine.close()


def _octets_of(address: str) -> bytes:
    return bytes(10) + b"\xff\xff" + bytes(map(int, address.split(".")))
