"""`ConditionalAccess` over TCP, in the protocol of `billing.cable.protocol`, never blocking.

One connection, opened when it is needed and opened again when it was lost. Everything that was in
flight on a lost connection is silence: it may have been done or not.
"""

from __future__ import annotations

import dataclasses
import logging
import selectors
import socket
from collections.abc import Callable, Sequence
from typing import Any

from billing.cable import protocol
from billing.cable.access import CasAnswer, CasRequest
from billing.config import CasConfig

LOG = logging.getLogger(__name__)

_READ_OCTETS = 65_536

CLOSED = "closed"
CONNECTING = "connecting"
GREETING = "greeting"
LOGGING_IN = "logging_in"
OPEN = "open"


@dataclasses.dataclass(frozen=True, slots=True)
class _InFlight:
    request: CasRequest
    sent_at: int


class TcpConditionalAccess:
    """See `ConditionalAccess`. now_ms is the clock; nothing is connected before it is needed."""

    def __init__(self, config: CasConfig, now_ms: Callable[[], int]) -> None:
        """Remember where the gateway is."""
        self._config = config
        self._now_ms = now_ms
        self._state = CLOSED
        self._socket: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._lines = protocol.Lines()
        self._unsent = b""
        self._in_flight: dict[str, _InFlight] = {}
        self._silent: list[CasAnswer] = []
        self._answers: list[CasAnswer] = []
        self._since_at = 0
        self._connect_at = 0

    def is_ready(self) -> bool:
        """See `ConditionalAccess.is_ready`: connects, and goes on with what that takes."""
        if self._state == CLOSED and self._now_ms() >= self._connect_at:
            self._connect()
        if self._state not in (CLOSED, OPEN):
            self._turn(0)
        return self._state == OPEN

    def send(self, requests: Sequence[CasRequest]) -> set[str]:
        """See `ConditionalAccess.send`."""
        left: set[str] = set()
        for request in requests:
            full = len(self._in_flight) >= self._config.window_requests
            if self._state != OPEN or full:
                break
            if request.request_id in self._in_flight:
                continue
            self._in_flight[request.request_id] = _InFlight(request, self._now_ms())
            self._unsent += protocol.to_line(protocol.encode_request(request))
            left.add(request.request_id)
        if left:
            self._write()
        return left

    def poll(self, wait_ms: int) -> list[CasAnswer]:
        """See `ConditionalAccess.poll`."""
        if self._state != CLOSED:
            self._turn(0 if self._silent or self._answers or not self._in_flight else wait_ms)
        self._give_up()
        answers = [*self._answers, *self._silent]
        self._answers, self._silent = [], []
        return answers

    def close(self) -> None:
        """See `ConditionalAccess.close`."""
        self._in_flight.clear()
        self._drop("closed by us")
        self._silent.clear()
        self._selector.close()

    def _connect(self) -> None:
        """Begin to connect; the rest follows in `_turn`."""
        self._since_at = self._now_ms()
        self._lines, self._unsent = protocol.Lines(), b""
        family = socket.AF_INET6 if ":" in self._config.address else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._state = opened, CONNECTING
        self._selector.register(opened, selectors.EVENT_READ | selectors.EVENT_WRITE)
        try:
            opened.connect((self._config.address, self._config.port))
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(str(error))

    def _turn(self, wait_ms: int) -> None:
        """Take what the network has; a connection that takes too long to open is dropped."""
        for _, events in self._selector.select(wait_ms / 1000):
            if self._state == CONNECTING:
                self._connected()
            if events & selectors.EVENT_READ and self._state != CLOSED:
                self._read()
            if events & selectors.EVENT_WRITE and self._state != CLOSED:
                self._write()
        opening = self._state not in (CLOSED, OPEN)
        if opening and self._now_ms() - self._since_at > self._config.connect_milliseconds:
            self._drop("the gateway does not answer")

    def _connected(self) -> None:
        assert self._socket is not None
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._drop(f"error {error}")
            return
        self._state = GREETING

    def _read(self) -> None:
        """Read what has come, and take each whole line."""
        assert self._socket is not None
        try:
            octets = self._socket.recv(_READ_OCTETS)
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(str(error))
            return
        if not octets:
            self._drop("the gateway closed the connection")
            return
        try:
            for document in self._lines.feed(octets):
                self._take(document)
        except protocol.ProtocolError as error:
            self._drop(str(error))

    def _take(self, document: dict[str, Any]) -> None:
        """Take one line of the gateway. ProtocolError where it cannot be."""
        if self._state == GREETING:
            self._unsent += protocol.to_line(protocol.login(self._config.secret, document))
            self._state = LOGGING_IN
            self._write()
        elif self._state == LOGGING_IN:
            if document.get("ok") is not True:
                raise protocol.ProtocolError("the gateway refuses our secret")
            self._state = OPEN
            LOG.info("connected to the conditional-access gateway")
        else:
            identity = document.get("id")
            flying = self._in_flight.pop(identity, None) if isinstance(identity, str) else None
            if flying is not None:  # else: an answer that came after we had given it up
                self._answers.append(protocol.decode_answer(flying.request, document))

    def _write(self) -> None:
        """Send as much as the system takes, and ask to be told when it takes more."""
        assert self._socket is not None
        if self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._drop(str(error))
                return
            self._unsent = self._unsent[sent:]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._selector.modify(self._socket, wanted)

    def _give_up(self) -> None:
        """Make silences of requests whose answer has not come in time."""
        limit = self._now_ms() - self._config.answer_milliseconds
        for identity, flying in list(self._in_flight.items()):
            if flying.sent_at <= limit:
                del self._in_flight[identity]
                self._silent.append(CasAnswer(identity, False, reason="no answer in time"))

    def _drop(self, reason: str) -> None:
        """Give the connection up, and everything that was under way on it."""
        if self._socket is not None:
            LOG.warning("no conditional-access gateway", extra={"reason": reason})
            self._selector.unregister(self._socket)
            self._socket.close()
        self._socket, self._state = None, CLOSED
        self._connect_at = self._now_ms() + self._config.reconnect_milliseconds
        self._silent += [
            CasAnswer(identity, False, reason=f"connection lost: {reason}")
            for identity in self._in_flight
        ]
        self._in_flight.clear()
