"""The state of the sessions stage: what is kept of the packets of one Acct-Session-Id.

Values are tuples by name, so that they are small in the keyed state and never change in place.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from rating.accounting import COUNTS_ALL, INTERIM, START, STOP
from rating.knots import Counters

STATUS_START, STATUS_INTERIM, STATUS_STOP = 0, 1, 2
STATUS_NUMBERS = {START: STATUS_START, INTERIM: STATUS_INTERIM, STOP: STATUS_STOP}
RUNNING = -1
"""In `SessionGroup.rows`: the live row has no end."""


class Facts(NamedTuple):
    """What a packet says besides counters; kept once for all packets that agree.

    addresses: (kind, address, prefix length) with kind 0 Framed-IP-Address, 1 Framed-IPv6-Address,
    2 Framed-IPv6-Prefix, 3 Delegated-IPv6-Prefix.
    """

    user_name: str
    identities: tuple[str, ...]
    nas_address: bytes
    addresses: tuple[tuple[int, bytes, int], ...]


class Packet(NamedTuple):
    """One kept packet. The first two fields are times and no content; counters are cumulative.

    facts is the index into the group's facts. None: the NAS did not send it.
    """

    event_at: int
    received_at: int
    status: int
    seconds: int | None
    octets_up: int | None
    octets_down: int | None
    packets_up: int | None
    packets_down: int | None
    has_gigawords: bool
    octets_modulus: int | None
    terminate_cause: int
    facts: int

    @property
    def span_seconds(self) -> int | None:
        """Return how long the session had run by its own count: 0 for a Start, None unknown."""
        return 0 if self.status == STATUS_START and self.seconds is None else self.seconds

    @property
    def content(self) -> tuple[object, ...]:
        """Return what a retransmission has in common with its original."""
        return self[2:]

    @property
    def implied_at(self) -> int:
        """Return the implied start (ms); a packet without session time knows none: its event."""
        return self.event_at - (self.span_seconds or 0) * 1000

    @property
    def settled_at(self) -> int:
        """Return from when (ms) the lateness bound counts: the later of event and receipt."""
        event_at, received_at = self[0], self[1]
        return event_at if event_at > received_at else received_at

    @property
    def has_octets(self) -> bool:
        """Return whether an octet counter is above zero."""
        return bool(self.octets_up or self.octets_down)


class Hold(NamedTuple):
    """An address or prefix that a session held from an instant until another (None: still)."""

    kind: int
    address: bytes
    length: int
    occurrence: int
    subscriber_id: str
    from_at: int
    until_at: int | None


class Holds(NamedTuple):
    """What a session held so far: open, closed, and how often it got each address."""

    open: tuple[Hold, ...] = ()
    closed: tuple[Hold, ...] = ()
    counts: tuple[tuple[bytes, int, int], ...] = ()


class Track(NamedTuple):
    """Where the unwrapping of one counter stands: last raw value, octets of past wraps."""

    raw: int
    wrapped: int


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """A generation behind the lateness bound: the origin of its curve and what is settled."""

    generation: str
    started_at: int
    implied_first_at: int
    implied_last_at: int
    reached_at: int
    origin_at: int
    origin: Counters
    base: Counters
    tracks: tuple[Track, ...]
    seconds: int
    has_gigawords: bool
    stop_at: int | None
    stop_cause: int
    last_event_at: int
    last_received_at: int
    user_name: str
    identities: tuple[str, ...]
    nas_address: bytes
    holds: Holds
    ended_at: int | None
    end_cause: str

    def is_before(self, packet: Packet) -> bool:
        """Return whether a packet tells of a session time that is settled."""
        seconds = packet.span_seconds
        return seconds is not None and seconds <= self.seconds

    def ends_like(self, packet: Packet) -> bool:
        """Return whether a packet says exactly what the last one before the checkpoint said."""
        return packet.seconds == self.seconds and all(
            raw in (None, track.raw) for raw, track in zip(packet[4:8], self.tracks, strict=True)
        )


class SentBinding(NamedTuple):
    """A binding as last sent to `session.bindings`."""

    address: bytes
    length: int
    subscriber_id: str
    session_id: str
    from_at: int
    until_at: int | None


class SessionGroup(msgspec.Struct, frozen=True):
    """State of one (NAS, Acct-Session-Id): kept packets and the checkpoints of its generations.

    sent: binding_id -> the binding as last sent; revision: of the last one sent. rows: session_id
    -> the end (ms) that its live row shows, RUNNING while it has none. timer_at: due time (ms) of
    the group's entry in the timers, 0 where it has none. tail: the newest generation as of its last
    packet, in the form of a checkpoint, while it runs: a packet that only goes on from there needs
    no look at the others. is_straight: all packets are the tail's, each later than the one before
    in event and session time, so that the oldest can go without a look at the others. counts: what
    of the counters becomes usage (`rating.accounting`), as the first packet had it.
    """

    nas_id: str
    acct_session_id: str
    packets: tuple[Packet, ...] = ()
    facts: tuple[Facts, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    sent: dict[str, SentBinding] = msgspec.field(default_factory=dict)
    revision: int = 0
    rows: dict[str, int] = msgspec.field(default_factory=dict)
    timer_at: int = 0
    tail: Checkpoint | None = None
    is_straight: bool = False
    counts: str = COUNTS_ALL
