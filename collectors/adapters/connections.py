"""Connections that a collector takes, over TCP and TLS: who is let in, whole messages out, answers.

No thread and no loop of its own: whoever serves them has a selector, gives each event to `serve`,
and calls `expire` now and then. Not reading is how a collector holds senders back: the kernel's
buffers fill, and TCP makes them wait. All times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from collectors.adapters.sockets import open_tcp, to_address
from collectors.adapters.tls import ServerTls, peer_names
from collectors.config import ConnectionsConfig, TlsConfig
from collectors.framing import FAULTS, MessageOctets, take_messages
from collectors.metrics import Counters
from rating.addresses import format_address

log = logging.getLogger(__name__)

READ_OCTETS = 65_536
"""Octets asked of a connection at a time."""
READS_MAX = 16
"""Reads from one connection before the next has its turn."""
TURN_OCTETS_MAX = 2_097_152
"""Octets of messages after which the other connections wait for the next call of `serve`."""
WAITING_ANSWERS_OCTETS_MAX = 65_536
"""Answers that a connection's peer does not take; beyond them nothing is read from it."""
_ACCEPTS_MAX = 64
_BACKLOG = 128
_ACCEPT_AGAIN_SECONDS = 1.0
_KEEPALIVE_INTERVAL_SECONDS = 15
_KEEPALIVE_PROBES = 5

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

REFUSALS = {
    "connections_max": "there are as many connections as may be",
    "connections_per_address_max": "there are as many connections from this address as may be",
    "handshake_failed": "the TLS handshake failed: no TLS 1.2, or no certificate that we know",
    "handshake_timeout": "the TLS handshake was not over in time",
    "name_not_allowed": "the certificate is good, and none of its names is set to be let in",
    "accept_failed": "the system has no more connections (open files)",
}
"""Why a connection is not let in: reason -> meaning."""

ENDS = {
    "closed_by_peer": "the other side ended it",
    "broken": "the system or TLS says that it is broken",
    "idle_timeout": "nothing came for too long",
    "message_timeout": "a message that had begun was not whole in time",
    "stopped": "the collector stops",
}
"""Why a connection ended, beside `collectors.framing.FAULTS`: reason -> meaning."""


class Connection:
    """One connection: where it comes from, who its certificate says it is, what is on its way.

    number is unique for an exporter or NAS over all its connections: it is made of the receive time
    and the port. names are `tls.peer_names`, empty without a client certificate.
    """

    __slots__ = (
        "address", "began_at", "events", "has_sent", "heard_at", "is_open", "local_port", "names",
        "number", "port", "received", "socket", "tls", "to_send",
    )  # fmt: skip

    def __init__(
        self,
        accepted: socket.socket,
        source: tuple[Any, ...],
        opened_at: float,
        tls: ServerTls | None,
    ) -> None:
        self.socket = accepted
        self.tls = tls
        self.address = to_address(source[0])
        self.port: int = source[1]
        self.local_port: int = accepted.getsockname()[1]
        self.number = 0
        self.names: frozenset[str] = frozenset()
        self.received = bytearray()
        self.to_send = bytearray()
        self.heard_at = opened_at
        self.began_at: float | None = None
        """When the message began that is not yet whole; None where none has."""
        self.is_open = False
        self.has_sent = False
        self.events = 0

    def __str__(self) -> str:
        """Return where it comes from, for the log."""
        return f"{format_address(self.address)} port {self.port}"


class Listening:
    """A listening socket, and the TLS that its connections speak (None: plain TCP)."""

    def __init__(self, opened: socket.socket, tls: ServerTls | None) -> None:
        self.socket = opened
        self.tls = tls
        self.port: int = opened.getsockname()[1]
        self.again_at: float | None = None


def open_listening(
    plain: Sequence[str], secure: Sequence[str], tls: TlsConfig, now: float
) -> list[Listening]:
    """Bind every address, or none: on a failure those already bound are closed.

    Raises OSError for an address that cannot be bound or a certificate that cannot be used, and
    ValueError for a malformed address.
    """
    opened: list[Listening] = []
    try:
        opened.extend(Listening(open_tcp(each, _BACKLOG), None) for each in plain)
        shared = ServerTls(tls, now) if secure else None
        opened.extend(Listening(open_tcp(each, _BACKLOG), shared) for each in secure)
    except BaseException:
        for each in opened:
            each.socket.close()
        raise
    return opened


class Connections:
    """The connections of some listening sockets.

    ended collects those that ended and had sent a message, until somebody takes them out.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listening: Sequence[Listening],
        limits: ConnectionsConfig,
        octets_of: MessageOctets,
        counted: tuple[Counters, str],
    ) -> None:
        """Serve listening sockets; counted is the counters and how their names begin.

        What is registered with the selector has the `Connection` or `Listening` as its data.
        """
        self._selector = selector
        self._listening = listening
        self._limits = limits
        self._octets_of = octets_of
        self._counters, self._prefix = counted
        self._all: set[Connection] = set()
        self._by_address: dict[bytes, int] = {}
        self._last_number = 0
        self.ended: list[Connection] = []
        for each in listening:
            selector.register(each.socket, _READ, each)

    def __len__(self) -> int:
        """Return how many connections there are, those in their handshake among them."""
        return len(self._all)

    def serve(
        self, ready: Sequence[tuple[selectors.SelectorKey, int]], now: float, now_ms: int
    ) -> list[tuple[Connection, bytes]]:
        """Return the messages that came, in order per connection; accept, shake hands, send.

        ready is what the selector gave; keys of others are passed over. now_ms numbers new
        connections.
        """
        messages: list[tuple[Connection, bytes]] = []
        octets = taken = 0
        for key, events in ready:
            if isinstance(key.data, Listening):
                self._accept(key.data, now, now_ms)
                continue
            connection = key.data
            if not isinstance(connection, Connection) or connection not in self._all:
                continue
            if not connection.is_open:
                self._shake_hands(connection, now)
                continue
            if events & _WRITE:
                self._flush(connection)
            # What is not read now the selector tells again, behind those that were read.
            if octets < TURN_OCTETS_MAX and connection.events & _READ:
                self._read(connection, now, messages)
                octets += sum(len(message) for _, message in messages[taken:])
                taken = len(messages)
        return messages

    def send(self, connection: Connection, octets: bytes) -> bool:
        """Send an answer, now or when the peer takes it; False where the connection has ended."""
        if connection not in self._all:
            return False
        connection.to_send += octets
        self._flush(connection)
        return connection in self._all

    def expire(self, now: float) -> None:
        """Close what is idle, slow or does not finish its handshake; accept again where due."""
        limits = self._limits
        for each in list(self._all):
            if not each.is_open:
                if now - each.heard_at >= limits.handshake_timeout_seconds:
                    self._refuse(each, "handshake_timeout")
            elif each.began_at is not None:
                if now - each.began_at >= limits.message_timeout_seconds:
                    self.close(each, "message_timeout")
            elif now - each.heard_at >= limits.idle_timeout_seconds:
                self.close(each, "idle_timeout")
        for listening in self._listening:
            if listening.again_at is not None and now >= listening.again_at:
                listening.again_at = None
                self._selector.register(listening.socket, _READ, listening)

    def excuse(self, seconds: float) -> None:
        """Put all timeouts off by the time in which we did not read."""
        for each in self._all:
            each.heard_at += seconds
            if each.began_at is not None:
                each.began_at += seconds

    def stop_accepting(self) -> None:
        """Close the listening sockets."""
        for each in self._listening:
            if each.again_at is None:
                self._selector.unregister(each.socket)
            each.again_at = None
            each.socket.close()
        self._listening = ()

    def drain(self, now: float) -> list[tuple[Connection, bytes]]:
        """Return the messages that lie in the system's buffers, for the last time."""
        messages: list[tuple[Connection, bytes]] = []
        for connection in list(self._all):
            if connection.is_open:
                self._read(connection, now, messages)
        return messages

    def close_all(self) -> None:
        """Close every connection, as stopped."""
        for connection in list(self._all):
            if connection.is_open:
                self.close(connection, "stopped")
            else:
                self._drop(connection)

    def close(self, connection: Connection, reason: str) -> None:
        """End a connection; reason is a key of ENDS or `framing.FAULTS`, or the caller's own."""
        if connection not in self._all:
            return
        self._count("closed", reason)
        if connection.received and reason not in FAULTS:
            self._count("cut_messages")
        log.info("connection from %s ended: %s", connection, reason)
        if isinstance(connection.socket, ssl.SSLSocket):
            # It tells the peer that nothing is cut off (RFC 8446 §6.1); nobody waits for its word.
            with contextlib.suppress(OSError, ValueError):
                connection.socket.unwrap()
        self._drop(connection)
        if connection.has_sent:
            self.ended.append(connection)

    def _count(self, what: str, reason: str = "") -> None:
        self._counters.add(f"{self._prefix}_{what}", 1, reason)

    def _drop(self, connection: Connection) -> None:
        if connection.events:
            self._selector.unregister(connection.socket)
            connection.events = 0
        connection.socket.close()
        self._all.discard(connection)
        left = self._by_address[connection.address] - 1
        if left:
            self._by_address[connection.address] = left
        else:
            del self._by_address[connection.address]
        self._counters.set(self._prefix, len(self._all))

    def _accept(self, listening: Listening, now: float, now_ms: int) -> None:
        for _ in range(_ACCEPTS_MAX):
            try:
                accepted, source = listening.socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # The selector would say at once again that somebody waits.
                log.warning("cannot accept a connection: %s", error)
                self._count("refused", "accept_failed")
                self._selector.unregister(listening.socket)
                listening.again_at = now + _ACCEPT_AGAIN_SECONDS
                return
            address = to_address(source[0])
            reason = ""
            if len(self._all) >= self._limits.connections_max:
                reason = "connections_max"
            elif self._by_address.get(address, 0) >= self._limits.connections_per_address_max:
                reason = "connections_per_address_max"
            if reason:
                log.warning("a connection from %s is not let in: %s", source[0], reason)
                self._count("refused", reason)
                accepted.close()
                continue
            self._begin(listening, accepted, source, (now, now_ms))

    def _begin(
        self,
        listening: Listening,
        accepted: socket.socket,
        source: tuple[Any, ...],
        at: tuple[float, int],
    ) -> None:
        """Take a connection in; at is now, monotonic and in ms of the wall clock."""
        try:
            accepted.setblocking(False)
            _keep_alive(accepted, self._limits.keepalive_seconds)
            if listening.tls is not None:
                accepted = listening.tls.context(at[0]).wrap_socket(
                    accepted, server_side=True, do_handshake_on_connect=False
                )
            connection = Connection(accepted, source, at[0], listening.tls)
        except OSError as error:  # It is gone already.
            log.debug("a connection from %s went while it was accepted: %s", source, error)
            self._count("refused", "handshake_failed")
            accepted.close()
            return
        # Ascending, so that no two have one number whatever the clock does (decision 0121).
        self._last_number = max(self._last_number + 1, at[1])
        connection.number = self._last_number << 16 | connection.port
        self._all.add(connection)
        self._by_address[connection.address] = self._by_address.get(connection.address, 0) + 1
        self._counters.set(self._prefix, len(self._all))
        self._watch(connection, _READ)
        if listening.tls is None:
            self._open(connection, at[0])

    def _open(self, connection: Connection, now: float) -> None:
        connection.is_open = True
        connection.heard_at = now
        self._count("accepted")
        log.info("connection from %s", connection)

    def _refuse(self, connection: Connection, reason: str) -> None:
        self._count("refused", reason)
        self._drop(connection)

    def _shake_hands(self, connection: Connection, now: float) -> None:
        connected = connection.socket
        assert isinstance(connected, ssl.SSLSocket)
        try:
            connected.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(connection, _READ)
            return
        except ssl.SSLWantWriteError:
            self._watch(connection, _WRITE)
            return
        except (OSError, ValueError) as error:
            log.info("TLS handshake with %s failed: %s", connection, error)
            self._refuse(connection, "handshake_failed")
            return
        connection.names = peer_names(connected)
        if connection.tls is not None and not connection.tls.admits(connection.names):
            log.warning("%s is not let in as %s", connection, ", ".join(sorted(connection.names)))
            self._refuse(connection, "name_not_allowed")
            return
        self._watch(connection, _READ)
        self._open(connection, now)

    def _watch(self, connection: Connection, events: int) -> None:
        if events == connection.events:
            return
        if connection.events:
            self._selector.modify(connection.socket, events, connection)
        else:
            self._selector.register(connection.socket, events, connection)
        connection.events = events

    def _read(
        self, connection: Connection, now: float, messages: list[tuple[Connection, bytes]]
    ) -> None:
        """Read what waits, within bounds, and append the whole messages in it.

        TLS holds nothing back of which the selector does not know: a read has room for a record.
        """
        reason = ""
        for _ in range(READS_MAX):
            if reason := self._read_once(connection, now, messages):
                break
        if reason and reason != "nothing":
            self.close(connection, reason)

    def _read_once(
        self, connection: Connection, now: float, messages: list[tuple[Connection, bytes]]
    ) -> str:
        """Read once; return why the connection must end, "nothing" where nothing waits."""
        try:
            octets = connection.socket.recv(READ_OCTETS)
        except (BlockingIOError, ssl.SSLWantReadError):
            return "nothing"
        except ssl.SSLWantWriteError:
            self._watch(connection, _READ | _WRITE)  # A new key of TLS 1.3 wants an answer.
            return "nothing"
        except (OSError, ValueError) as error:
            log.info("connection from %s: %s", connection, error)
            return "broken"
        if not octets:
            return "closed_by_peer"
        connection.heard_at = now
        connection.received += octets
        whole, fault = take_messages(connection.received, self._octets_of)
        messages.extend((connection, message) for message in whole)
        connection.has_sent = connection.has_sent or bool(whole)
        if not connection.received:
            connection.began_at = None
        elif whole or connection.began_at is None:
            connection.began_at = now
        return fault

    def _flush(self, connection: Connection) -> None:
        """Send what the peer takes, and be told when it takes more."""
        try:
            while connection.to_send:
                sent = connection.socket.send(bytes(connection.to_send[:READ_OCTETS]))
                del connection.to_send[:sent]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except (OSError, ValueError) as error:
            log.info("connection from %s: %s", connection, error)
            self.close(connection, "broken")
            return
        is_behind = len(connection.to_send) > WAITING_ANSWERS_OCTETS_MAX
        events = (0 if is_behind else _READ) | (_WRITE if connection.to_send else 0)
        self._watch(connection, events)


def _keep_alive(accepted: socket.socket, seconds: int) -> None:
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_SECONDS)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
