"""What the decoder remembers between batches, as values that the stage's state can hold.

A session's key is ``<address hex>:<version>:<domain hex>:shared``; where exporters share the
address (decision 0102) a port stands in place of ``shared``. What came over a connection has
``tcp-<connection hex>`` there, and ``tcp`` holds what later connections inherit (decision 0121).
`FlowDecodeConfig` bounds everything.
"""

from __future__ import annotations

import dataclasses

SESSION = "flow_session"
PROGRESS = "flow_progress"
SPLIT = "flow_split"
HELD = "flow_held"
SEEN = "flow_seen"
TOTALS = "flow_totals"
RUNNING = "flow_running"

SHARED = "shared"
"""Last part of the key of a session that all ports of an address share."""

CONNECTED = "tcp"
"""Last part of the key of what an exporter announced over its connections."""

DOMAIN_RATE = -1
"""Key of the rate that an option gave without a sampler id."""
BOOT_AT = -2
"""Key of the exporter's boot time (element 160 in an option), as (ms, 1)."""

INTERFACE_RATE = -(1 << 33)
"""Less the index of an interface: key of the rate that an option gave for what enters there."""

HELD_SET_OCTETS = 256
"""What a waiting data set is charged above its body: its key, times and row, however small."""
TEMPLATE_OCTETS = 128
"""What a template or sampler is charged above its definition, and a source of samples in all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """One template in force: its definition as sent and the port that sent it last.

    refreshed_at is when it was last sent, ms, to a part of its expiry; 0: it does not expire.
    """

    is_options: bool
    definition: bytes
    source_port: int
    refreshed_at: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """What one exporter's observation domain announced.

    templates by id; samplers by selector id (or DOMAIN_RATE, BOOT_AT, INTERFACE_RATE) as numerator,
    denominator; applications are names by id, ``13:480``.
    """

    templates: dict[int, Template] = dataclasses.field(default_factory=dict)
    samplers: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)
    applications: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def octets(self) -> int:
        """Return what the session is charged against the limit of templates."""
        count = len(self.templates) + len(self.samplers)
        names = sum(len(told) + len(name) for told, name in self.applications.items())
        definitions = sum(len(template.definition) for template in self.templates.values())
        return TEMPLATE_OCTETS * count + definitions + names


@dataclasses.dataclass(frozen=True, slots=True)
class Clock:
    """An exporter's clock against ours: export time minus time of receipt, ms.

    sample is the greatest difference of the running minute of receipt, samples those of the minutes
    before, oldest first; none before the first datagram.
    """

    minute: int = 0
    sample: int = 0
    samples: tuple[int, ...] = ()

    @property
    def skew(self) -> int:
        """Return the median of the minutes before (of two in the middle the lower), ms."""
        return sorted(self.samples)[(len(self.samples) - 1) // 2] if self.samples else 0


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """What changes with every batch of a session.

    Sequence: lowest and highest expected number unwrapped, units (flows, packets or records)
    received between them, and what was lost before the last restart of the exporter. sources are
    what an sFlow agent samples: of each its newest sample's number and drops so far.
    """

    is_started: bool = False
    lowest: int = 0
    highest: int = 0
    units: int = 0
    lost_before: int = 0
    held_sets: int = 0
    held_octets: int = 0
    template_octets: int = 0
    last_seen_at: int = 0
    ports: dict[int, int] = dataclasses.field(default_factory=dict)
    clock: Clock = Clock()
    sources: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Return the units that the sequence numbers say are missing; never negative."""
        return self.lost_before + max(0, self.highest - self.lowest - self.units)


@dataclasses.dataclass(frozen=True, slots=True)
class HeldSet:
    """A data set that waits for its template, with all that decoding needs of its datagram."""

    session: str
    template_id: int
    source_port: int
    received_at: int
    export_at: int
    uptime: int
    body: bytes
    skew: int = 0

    @property
    def octets(self) -> int:
        """Return what the set is charged against the limits of what waits."""
        return HELD_SET_OCTETS + len(self.body)


@dataclasses.dataclass(frozen=True, slots=True)
class Totals:
    """Sizes over all sessions, to hold the limits."""

    sessions: int = 0
    held_octets: int = 0
    template_octets: int = 0


COLLECTIONS: dict[str, type] = {
    SESSION: Session,
    PROGRESS: Progress,
    SPLIT: bool,
    HELD: HeldSet,
    SEEN: bytes,
    TOTALS: Totals,
    RUNNING: bytes,
}
"""State collections of the decoder and the type of their values."""


def session_key(address: bytes, version: int, domain: int, port: int | None) -> str:
    """Return the key of a session; port None means every port of the address."""
    which = SHARED if port is None else f"{port:05d}"
    return f"{address.hex()}:{version:02d}:{domain:08x}:{which}"


def connection_key(address: bytes, version: int, domain: int, connection: int | None) -> str:
    """Return the key of a connection's session; None: of what its exporter's connections share."""
    which = CONNECTED if connection is None else f"{CONNECTED}-{connection:016x}"
    return f"{address.hex()}:{version:02d}:{domain:08x}:{which}"


def is_connected(key: str) -> bool:
    """Return whether a session is of a connection, or what an exporter's connections share."""
    return key.rpartition(":")[2].startswith(CONNECTED)


def connection_of(key: str) -> int | None:
    """Return the connection of a session, None where it is not of one."""
    mark, _, connection = key.rpartition(":")[2].partition("-")
    return int(connection, 16) if mark == CONNECTED and connection else None


def split_session_key(key: str) -> tuple[bytes, int, int]:
    """Return address, version and domain of a session key."""
    address, version, domain, _ = key.split(":")
    return bytes.fromhex(address), int(version), int(domain, 16)
