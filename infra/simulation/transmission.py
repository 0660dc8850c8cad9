"""What the NAS has in the air: accounting requests that wait for their answer (RFC 2866 §2).

Pure: seconds and datagrams in, datagrams out. A request is repeated with a new identifier and a
changed Acct-Delay-Time until it is answered, oldest first, at most `window` at a time.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict

from infra.simulation.accounting_packets import NasIdentity, encode_accounting
from infra.simulation.network import AccountingEvent

_IDENTIFIERS = 256
_HEADER_OCTETS = 20


@dataclasses.dataclass(slots=True)
class Waiting:
    """A request in flight: its event, its datagram, and when it was sent (Unix seconds)."""

    event: AccountingEvent
    packet: bytes
    sent_seconds: int


class AccountingSender:
    """Keeps every event until its Accounting-Response verifies; nothing is ever given up."""

    def __init__(
        self, nas: NasIdentity, *, retry_seconds: int = 3, window: int = 200, backlog_max: int
    ) -> None:
        """retry_seconds is the wait for an answer; window the requests in flight (below 256)."""
        self._nas = nas
        self._retry_seconds = retry_seconds
        self._window = min(window, _IDENTIFIERS - 1)
        self._backlog_max = backlog_max
        self._backlog: list[AccountingEvent] = []
        self._waiting: OrderedDict[int, Waiting] = OrderedDict()
        self._next_identifier = 0
        self.dropped = 0

    @property
    def unanswered(self) -> int:
        """How many events have no answer yet."""
        return len(self._backlog) + len(self._waiting)

    def waiting(self) -> list[Waiting]:
        """Return the requests in flight."""
        return list(self._waiting.values())

    def submit(self, event: AccountingEvent) -> None:
        """Take an event to be sent; above backlog_max the oldest interim is forgotten."""
        self._backlog.append(event)
        if len(self._backlog) > self._backlog_max:
            # A later interim or the Stop carries the same cumulative counters.
            for index, waiting in enumerate(self._backlog):
                if waiting.status == "interim":
                    del self._backlog[index]
                    self.dropped += 1
                    break

    def due(self, seconds: int) -> list[bytes]:
        """Return the datagrams to send now: repeats first, then what the window allows."""
        datagrams = []
        for identifier, waiting in list(self._waiting.items()):
            if seconds - waiting.sent_seconds < self._retry_seconds:
                continue
            del self._waiting[identifier]
            datagrams.append(self._send(waiting.event, seconds))
        while self._backlog and len(self._waiting) < self._window:
            datagrams.append(self._send(self._backlog.pop(0), seconds))
        return datagrams

    def _send(self, event: AccountingEvent, seconds: int) -> bytes:
        while self._next_identifier in self._waiting:
            self._next_identifier = (self._next_identifier + 1) % _IDENTIFIERS
        identifier = self._next_identifier
        self._next_identifier = (identifier + 1) % _IDENTIFIERS
        packet = encode_accounting(
            event, self._nas, identifier, delay_seconds=max(seconds - event.event_seconds, 0)
        )
        self._waiting[identifier] = Waiting(event, packet, seconds)
        return packet

    def answered(self, datagram: bytes) -> AccountingEvent | None:
        """Take an Accounting-Response; return the event it acknowledges, None for no match."""
        if len(datagram) < _HEADER_OCTETS or datagram[0] != 5:
            return None
        waiting = self._waiting.get(datagram[1])
        if waiting is None:
            return None
        # RFC 2866 §3: MD5(code, id, length, request authenticator, attributes, secret).
        digest = hashlib.md5(
            datagram[:4]
            + waiting.packet[4:_HEADER_OCTETS]
            + datagram[_HEADER_OCTETS:]
            + self._nas.secret
        ).digest()
        if digest != datagram[4:_HEADER_OCTETS]:
            return None
        del self._waiting[datagram[1]]
        return waiting.event
