"""Requests on their way to NASes and back, without IO: identifiers, retransmission, silence.

RFC 5176 §2.3 and RFC 5080 §2.2.1: a retransmission is the same packet, Identifier and
Authenticator included, from the same port; at most 256 requests stand open per NAS and port.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

IDENTIFIERS = 256
"""How many values the RADIUS Identifier has (RFC 2865 §3)."""


@dataclasses.dataclass(frozen=True, slots=True)
class CoaTarget:
    """Where a NAS listens for CoA (RFC 5176 §2.1: port 3799; old MikroTik and Cisco ISG: 1700).

    address is numeric, IPv4 or IPv6; vendor_profile names a row of `profiles.VENDOR_PROFILES`.
    """

    nas_id: str
    address: str
    port: int
    secret: str
    vendor_profile: str

    @property
    def endpoint(self) -> tuple[str, int]:
        """Return (address, port), what an answer comes from."""
        return self.address, self.port


@dataclasses.dataclass(frozen=True, slots=True)
class CoaRequest:
    """What to ask of one NAS; attributes are (dictionary name, value as text), identity first."""

    command_id: str
    kind: str
    target: CoaTarget
    attributes: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Outstanding:
    """A request that waits for its answer. packet never changes while it is retransmitted."""

    command_id: str
    endpoint: tuple[str, int]
    identifier: int
    packet: bytes
    request: Any
    transmissions: int
    retransmit_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class CoaAnswer:
    """What became of a request: an ACK, a NAK with its Error-Cause, or silence (both None/False).

    transmissions is how often the packet was sent in all.
    """

    command_id: str
    is_answered: bool
    is_ack: bool
    error_cause: int | None
    received_at: int
    transmissions: int


class Exchange:
    """All requests in flight. timeouts_ms is the wait after each transmission, first to last."""

    def __init__(self, timeouts_ms: Sequence[int]) -> None:
        """Start with nothing in flight. ValueError for no timeouts: nobody would ever wait."""
        if not timeouts_ms:
            raise ValueError("at least one transmission needs a timeout")
        self._timeouts_ms = tuple(timeouts_ms)
        self._in_flight: dict[tuple[tuple[str, int], int], Outstanding] = {}
        self._last_identifier: dict[tuple[str, int], int] = {}

    def __len__(self) -> int:
        """Return how many requests wait for an answer."""
        return len(self._in_flight)

    def free_identifier(self, endpoint: tuple[str, int]) -> int | None:
        """Return the next free Identifier towards a NAS, or None while 256 wait (try later).

        It goes round, so a value comes back as late as possible: a slow answer to an old request
        must not match a new one.
        """
        last = self._last_identifier.get(endpoint, -1)
        for step in range(1, IDENTIFIERS + 1):
            identifier = (last + step) % IDENTIFIERS
            if (endpoint, identifier) not in self._in_flight:
                return identifier
        return None

    def begin(
        self, request: CoaRequest, identifier: int, packet: bytes, sent: Any, now_ms: int
    ) -> Outstanding:
        """Record a first transmission; `sent` is the codec's form, for checking the answer."""
        endpoint = request.target.endpoint
        outstanding = Outstanding(
            request.command_id,
            endpoint,
            identifier,
            packet,
            sent,
            transmissions=1,
            retransmit_at=now_ms + self._timeouts_ms[0],
        )
        self._in_flight[endpoint, identifier] = outstanding
        self._last_identifier[endpoint] = identifier
        return outstanding

    def find(self, endpoint: tuple[str, int], identifier: int) -> Outstanding | None:
        """Return the request that an answer's source and Identifier belong to, or None."""
        return self._in_flight.get((endpoint, identifier))

    def finish(self, outstanding: Outstanding) -> None:
        """Forget a request that was answered; its Identifier is free again."""
        self._in_flight.pop((outstanding.endpoint, outstanding.identifier), None)

    def overdue(self, now_ms: int) -> tuple[list[Outstanding], list[CoaAnswer]]:
        """Return (requests to send again now, requests given up); both are updated here."""
        again: list[Outstanding] = []
        silent: list[CoaAnswer] = []
        for key, waiting in list(self._in_flight.items()):
            if now_ms < waiting.retransmit_at:
                continue
            if waiting.transmissions >= len(self._timeouts_ms):
                del self._in_flight[key]
                silent.append(
                    CoaAnswer(waiting.command_id, False, False, None, now_ms, waiting.transmissions)
                )
                continue
            wait_ms = self._timeouts_ms[waiting.transmissions]
            renewed = dataclasses.replace(
                waiting,
                transmissions=waiting.transmissions + 1,
                retransmit_at=now_ms + wait_ms,
            )
            self._in_flight[key] = renewed
            again.append(renewed)
        return again, silent

    def next_due_at(self) -> int | None:
        """Return when the next retransmission or silence is due (ms), or None."""
        return min((o.retransmit_at for o in self._in_flight.values()), default=None)
