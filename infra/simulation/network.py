"""The model: who is online, what flows, what the NAS counts; and the truth for an auditor.

Time is whole seconds and comes in through `advance`; chance comes from one seeded source. The
NAS counts exactly the octets of the flows, so accounting and (unsampled) flows agree.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import random
from collections.abc import Sequence

ACCESS_PREFIX_IPV4 = "100.64.0.0/16"
ACCESS_PREFIX_IPV6 = "2001:db8:100::/40"

REMOTES: dict[str, str] = {
    "cdn": "198.51.100.0/24",
    "local_exchange": "203.0.113.0/24",
    "international": "192.0.2.0/24",
}
"""Traffic class to the prefix in which its far ends lie."""

_CLASS_SHARES = (("cdn", 55), ("local_exchange", 20), ("international", 25))
_MEAN_PACKET_OCTETS = 900


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Size and temper of the simulated network.

    shared_addresses, where not 0, is how many addresses all lines take turns at; static_lines have
    a fixed prefix and no RADIUS session, so only flows tell of them.
    """

    seed: int = 1
    subscribers: int = 300
    pools: int = 10
    pool_members: int = 3
    interim_interval_seconds: int = 5
    flow_export_interval_seconds: int = 2
    mean_rate_down_bps: int = 8_000_000
    session_mean_seconds: int = 600
    ipfix_sampling_rate: int = 1
    shared_addresses: int = 0
    static_lines: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class FlowRecord:
    """One unidirectional flow over one export interval; addresses as text, times in ms."""

    exporter: int
    source: str
    destination: str
    source_port: int
    destination_port: int
    protocol: int
    octets: int
    packets: int
    start_at: int
    end_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class AccountingEvent:
    """What the NAS reports: status start, interim, stop, on or off; counters cumulative."""

    status: str
    acct_session_id: str
    user_name: str
    framed_address: str
    delegated_prefix: str
    event_seconds: int
    session_seconds: int
    octets_up: int
    octets_down: int
    packets_up: int
    packets_down: int


@dataclasses.dataclass(slots=True)
class _Session:
    acct_session_id: str
    started_seconds: int
    next_interim_seconds: int
    ends_seconds: int
    octets_up: int = 0
    octets_down: int = 0
    packets_up: int = 0
    packets_down: int = 0


Pending = dict[tuple[str, str], list[int]]
"""(traffic class, own address) -> octets [up, down] that no flow record has told of yet."""


@dataclasses.dataclass(slots=True)
class Subscriber:
    """One line: its login, its addresses, what it would use and what it may."""

    user_name: str
    framed_address: str
    delegated_prefix: str
    exporter: int
    rate_down_bps: int
    limit_up_bps: int | None = None
    limit_down_bps: int | None = None
    is_blocked: bool = False
    session: _Session | None = None
    offline_until_seconds: int = 0
    pending: Pending = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class StaticLine:
    """A line with a prefix of its own that is always on and never asks RADIUS."""

    user_name: str
    prefix: str
    exporter: int
    rate_down_bps: int
    pending: Pending = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """What one second brought."""

    flows: Sequence[FlowRecord]
    accounting: Sequence[AccountingEvent]


def user_name_of(index: int) -> str:
    """Return the login of the n-th subscriber."""
    return f"line{index:04d}"


def static_name_of(index: int) -> str:
    """Return the login under which the n-th static line is sold."""
    return f"static{index:03d}"


def static_prefix_of(index: int) -> str:
    """Return the prefix of the n-th static line."""
    return f"100.64.255.{4 * index}/30"


def pool_of(index: int, config: NetworkConfig) -> int | None:
    """Return the pool of the n-th subscriber: the first lines fill the pools in order."""
    pool = index // config.pool_members
    return pool if pool < config.pools else None


class Network:
    """The whole network under one seed. `boot_id` tells NAS boots apart in session ids."""

    def __init__(self, config: NetworkConfig, *, boot_id: str = "a") -> None:
        """Build the lines; nobody is online before the first `advance`."""
        self.config = config
        self._random = random.Random(config.seed)
        self._boot_id = boot_id
        self._session_count = 0
        self.is_announced = False
        self._addresses = ipaddress.ip_network(ACCESS_PREFIX_IPV4)
        self._last_export_seconds: int | None = None
        self._free = [str(self._addresses[256 + n]) for n in range(config.shared_addresses)]
        self.subscribers = [self._line(index) for index in range(config.subscribers)]
        self.static_lines = [self._static_line(index) for index in range(config.static_lines)]

    def _line(self, index: int) -> Subscriber:
        delegated = ipaddress.ip_network(ACCESS_PREFIX_IPV6).network_address + (index << 64)
        factor = self._random.uniform(0.2, 1.8)
        return Subscriber(
            user_name=user_name_of(index),
            framed_address=str(self._addresses[256 + index]),
            delegated_prefix=f"{delegated}/64",
            exporter=index % 2,
            rate_down_bps=int(self.config.mean_rate_down_bps * factor),
        )

    def _static_line(self, index: int) -> StaticLine:
        rate = int(self.config.mean_rate_down_bps * self._random.uniform(0.2, 1.8))
        return StaticLine(static_name_of(index), static_prefix_of(index), index % 2, rate)

    def subscriber(self, user_name: str) -> Subscriber | None:
        """Return the line of a login, None where there is none."""
        for line in self.subscribers:
            if line.user_name == user_name:
                return line
        return None

    def advance(self, seconds: int) -> Tick:
        """Live through the second that ends at `seconds` (Unix time) and return what is sent."""
        accounting: list[AccountingEvent] = []
        if not self.is_announced:
            self.is_announced = True
            accounting.append(self._announcement("on", seconds))
        for line in self.subscribers:
            accounting.extend(self._live(line, seconds))
        for static in self.static_lines:
            hosts = list(ipaddress.ip_network(static.prefix))
            address = str(hosts[self._random.randrange(len(hosts))])
            down = int(static.rate_down_bps * self._random.uniform(0.5, 1.5) / 8)
            _move(static.pending, address, down // 8, down)
        flows: list[FlowRecord] = []
        last = self._last_export_seconds
        if last is None:
            self._last_export_seconds = seconds
        elif seconds - last >= self.config.flow_export_interval_seconds:
            lines: list[Subscriber | StaticLine] = [*self.subscribers, *self.static_lines]
            flows = [flow for line in lines for flow in self._export(line, seconds)]
            self._last_export_seconds = seconds
        return Tick(flows, accounting)

    def _announcement(self, status: str, seconds: int) -> AccountingEvent:
        return AccountingEvent(status, f"{self._boot_id}-nas", "", "", "", seconds, 0, 0, 0, 0, 0)

    def _live(self, line: Subscriber, seconds: int) -> list[AccountingEvent]:
        session = line.session
        if session is None:
            if seconds < line.offline_until_seconds or line.is_blocked:
                return []
            if self.config.shared_addresses:
                if not self._free:
                    return []
                line.framed_address = self._free.pop(self._random.randrange(len(self._free)))
            return [self._start(line, seconds)]
        self._use(line, session)
        if seconds >= session.ends_seconds:
            return [self.end_session(line, seconds)]
        if seconds >= session.next_interim_seconds:
            session.next_interim_seconds = seconds + self.config.interim_interval_seconds
            return [self._report(line, session, "interim", seconds)]
        return []

    def _start(self, line: Subscriber, seconds: int) -> AccountingEvent:
        self._session_count += 1
        interval = self.config.interim_interval_seconds
        mean = self.config.session_mean_seconds
        line.session = _Session(
            acct_session_id=f"{self._boot_id}{self._session_count:06x}",
            started_seconds=seconds,
            # Spread the first interims, or every line reports in the same second for ever.
            next_interim_seconds=seconds + 1 + self._random.randrange(interval),
            ends_seconds=seconds + 10 + int(self._random.expovariate(1 / mean)),
        )
        return self._report(line, line.session, "start", seconds)

    def end_session(self, line: Subscriber, seconds: int) -> AccountingEvent:
        """End a line's session (Stop); it comes back some seconds later."""
        session = line.session
        assert session is not None, f"{line.user_name} has no session to end"
        self._forget(line)
        line.limit_up_bps = line.limit_down_bps = None
        line.offline_until_seconds = seconds + 1 + self._random.randrange(8)
        return self._report(line, session, "stop", seconds)

    def reboot(self, seconds: int, boot_id: str) -> AccountingEvent:
        """Restart the NAS: sessions end without a Stop, Accounting-On follows."""
        self._boot_id = boot_id
        for line in self.subscribers:
            if line.session is not None:
                self._forget(line)
                line.offline_until_seconds = seconds + 1 + self._random.randrange(3)
            line.limit_up_bps = line.limit_down_bps = None
        return self._announcement("on", seconds)

    def _forget(self, line: Subscriber) -> None:
        line.session = None
        if self.config.shared_addresses:
            self._free.append(line.framed_address)

    def _use(self, line: Subscriber, session: _Session) -> None:
        wanted = line.rate_down_bps * self._random.uniform(0.5, 1.5) / 8
        down = int(min(wanted, (line.limit_down_bps or 10**12) / 8))
        up = int(min(wanted / 8, (line.limit_up_bps or 10**12) / 8))
        _move(line.pending, line.framed_address, up, down)
        session.octets_down += down
        session.octets_up += up
        session.packets_down += -(-down // _MEAN_PACKET_OCTETS)
        session.packets_up += -(-up // _MEAN_PACKET_OCTETS)

    def _report(
        self, line: Subscriber, session: _Session, status: str, seconds: int
    ) -> AccountingEvent:
        return AccountingEvent(
            status=status,
            acct_session_id=session.acct_session_id,
            user_name=line.user_name,
            framed_address=line.framed_address,
            delegated_prefix=line.delegated_prefix,
            event_seconds=seconds,
            session_seconds=seconds - session.started_seconds,
            octets_up=session.octets_up,
            octets_down=session.octets_down,
            packets_up=session.packets_up,
            packets_down=session.packets_down,
        )

    def _export(self, line: Subscriber | StaticLine, seconds: int) -> list[FlowRecord]:
        start_at = (self._last_export_seconds or seconds) * 1000
        flows = []
        for number, ((traffic_class, address), moved) in enumerate(line.pending.items()):
            remote = _remote(traffic_class, 1 + (hash_of(line.user_name) + number) % 250)
            for octets, source, destination, ports in (
                (moved[0], address, remote, (40_000 + number, 443)),
                (moved[1], remote, address, (443, 40_000 + number)),
            ):
                if octets:
                    packets = -(-octets // _MEAN_PACKET_OCTETS)
                    flows.append(
                        FlowRecord(
                            line.exporter,
                            source,
                            destination,
                            *ports,
                            6,
                            octets,
                            packets,
                            start_at,
                            seconds * 1000 - 1,
                        )
                    )
        line.pending.clear()
        return flows


def _move(pending: Pending, address: str, up: int, down: int) -> None:
    """Add octets of one address, divided over the traffic classes without a rest."""
    rest_down, rest_up = down, up
    for traffic_class, share in _CLASS_SHARES:
        is_last = traffic_class == _CLASS_SHARES[-1][0]
        part_down = rest_down if is_last else down * share // 100
        part_up = rest_up if is_last else up * share // 100
        rest_down -= part_down
        rest_up -= part_up
        moved = pending.setdefault((traffic_class, address), [0, 0])
        moved[0] += part_up
        moved[1] += part_down


@functools.cache
def _remote(traffic_class: str, number: int) -> str:
    """Return the n-th far end of a traffic class."""
    return str(ipaddress.ip_network(REMOTES[traffic_class])[number])


def hash_of(text: str) -> int:
    """Return a small stable number of a text (Python's own hash changes with each process)."""
    return sum(text.encode())
