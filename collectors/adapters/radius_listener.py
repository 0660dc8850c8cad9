"""The accounting server's shell: sockets around `AccountingServer`, group commit into the log.

One loop: read everything that waits, append what was accepted as one durable block, then send the
answers. While the disk is syncing, the kernel's receive buffer gathers the next group; where a
block is dear (`PacedWriter`), the loop sleeps until it has gathered more. Where the append fails
nothing is answered and nothing kept: the NAS retransmits (RFC 2866 §4.1). What comes by RadSec
(RFC 6614) is of the same groups; its answers go back on its connection, in whatever order.
"""

from __future__ import annotations

import logging
import selectors
import threading
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from collectors.adapters.connections import (
    Connection,
    Connections,
    Listening,
    open_listening,
)
from collectors.adapters.datagram_sockets import DatagramSocket, Source, open_datagrams
from collectors.adapters.sockets import BoundSocket, kernel_drops, open_all
from collectors.config import RadiusConfig
from collectors.framing import radius_octets
from collectors.metrics import Counters
from collectors.radius.log_codec import encode_packets
from collectors.radius.packet import PACKET_OCTETS_MAX
from collectors.radius.server import (
    ENDING,
    Accepted,
    AccountingServer,
    Duplicate,
    Refused,
    Secured,
)
from rating.addresses import format_address
from rating.ports import TopicWriter

log = logging.getLogger(__name__)

_WAIT_SECONDS = 0.1
_EXPIRE_SECONDS = 0.25
_LONG_TURN_SECONDS = 1.0
_BUFFERED_OCTETS = 4_096
"""What the kernel counts at most for a waiting datagram: its octets, its own record, rounded up."""


@runtime_checkable
class PacedWriter(Protocol):
    """A `TopicWriter` whose appends cost more than the packets in them."""

    @property
    def pace_seconds(self) -> float:
        """The least time between two appends of packets; what comes after a silence is not held."""


_Waiting = tuple[Accepted, Source | Connection]
"""A request that is to be made durable, and where its answer goes."""


class _LogLimit:
    """Lets so many lines a minute through and says how many it kept back."""

    def __init__(self, lines_per_minute: int) -> None:
        self._lines = lines_per_minute
        self._minute = -1
        self._written = 0
        self._kept_back = 0

    def refused(self, source: str, reason: str, now_at: int) -> None:
        if now_at // 60_000 != self._minute:
            if self._kept_back:
                log.warning("radius: %d more refused packets were not logged", self._kept_back)
            self._minute, self._written, self._kept_back = now_at // 60_000, 0, 0
        if self._written >= self._lines:
            self._kept_back += 1
            return
        self._written += 1
        log.warning("radius: refused a packet from %s: %s", source, reason)


class _Pace:
    """How long to let packets gather in the kernel's buffers before the next group is read.

    A group begins `pace_seconds` after the last one. It begins earlier where a buffer would be more
    than half full by then at the rate of the last group, and at once where a whole batch was read:
    there is more to read already.
    """

    def __init__(self, pace_seconds: float, batch_packets: int, buffer_octets: int) -> None:
        """buffer_octets: of the smallest receive buffer, as `open_all` tells (half is overhead)."""
        self._pace_seconds = pace_seconds
        self._batch_packets = batch_packets
        self._half_buffer_packets = max(buffer_octets // _BUFFERED_OCTETS, 1)
        self._began = 0.0
        self._due = 0.0

    def wait_seconds(self, now: float) -> float:
        """Return how long to sleep; all times are of the monotonic clock."""
        return max(0.0, self._due - now)

    def has_read(self, began: float, packets: int) -> None:
        """Note a group: when its reading began and the most that were read from one socket."""
        passed, self._began = began - self._began, began
        self._due = began
        if 0 < packets < self._batch_packets:
            fill_seconds = passed * self._half_buffer_packets / packets
            self._due += min(self._pace_seconds, fill_seconds)


class _Listener:
    """The loop's parts; `turn` is one group: read, judge, append, answer."""

    def __init__(
        self,
        config: RadiusConfig,
        sockets: tuple[list[BoundSocket], list[Listening]],
        writer: TopicWriter,
        now_ms: Callable[[], int],
        counters: Counters,
        pace: _Pace,
    ) -> None:
        bound, listening = sockets
        self._config = config
        self._pace = pace
        self._bound = bound
        self._writer = writer
        self._now_ms = now_ms
        self._counters = counters
        self._server = AccountingServer(config)
        self._limit = _LogLimit(config.log_lines_per_minute)
        self._last_at = 0
        self._marked_at = 0
        self._failures = 0
        self._selector = selectors.DefaultSelector()
        self._datagrams = [open_datagrams(each.socket, PACKET_OCTETS_MAX) for each in bound]
        for number, each in enumerate(bound):
            self._selector.register(each.socket, selectors.EVENT_READ, number)
        limits = config.radsec.limits
        self._connections = Connections(
            self._selector, listening, limits, radius_octets, (counters, "radius_connections")
        )
        self._expired = time.monotonic()

    def turn(self) -> None:
        """Wait a little for packets, and make and answer one group of what waits."""
        if (wait_seconds := self._pace.wait_seconds(time.monotonic())) > 0:
            time.sleep(wait_seconds)
        group: list[_Waiting] = []
        ready = self._selector.select(_WAIT_SECONDS)
        began = time.monotonic()
        counts = [
            self._read(self._datagrams[key.data], group)
            for key, _ in ready
            if isinstance(key.data, int)
        ]
        counts.append(self._read_connections(ready, began, group))
        self._pace.has_read(began, max(counts, default=0))
        batch = self._config.batch_packets
        for first in range(0, len(group), batch):
            self._commit(group[first : first + batch])
        now = time.monotonic()
        if now - began > _LONG_TURN_SECONDS:  # Nobody is slow whom we did not read meanwhile.
            self._connections.excuse(now - began)
        if now - self._expired > _EXPIRE_SECONDS:
            self._expired = now
            self._connections.expire(now)

    def close(self) -> None:
        """End all connections: what is unanswered comes again on another."""
        self._connections.stop_accepting()
        self._connections.close_all()

    def _now(self) -> int:
        # The clock may step back; "received through" must not.
        self._last_at = max(self._last_at, self._now_ms())
        return self._last_at

    def _read(self, opened: DatagramSocket, group: list[_Waiting]) -> int:
        """Judge what waits at a socket, at most a batch; return the number of datagrams."""
        now = self._now()
        received = opened.receive(self._config.batch_packets)
        repeated: list[tuple[bytes, Source]] = []
        for datagram, source in received:
            judged = self._server.handle(datagram, source.address, source.port, now)
            if isinstance(judged, Refused):
                self._refuse(judged, source.address, source.port, now)
            elif (response := self._take(judged, source, group)) is not None:
                repeated.append((response, source))
        self._send(opened, repeated)
        self._counters.add("radius_received_packets", len(received))
        return len(received)

    def _read_connections(
        self,
        ready: list[tuple[selectors.SelectorKey, int]],
        began: float,
        group: list[_Waiting],
    ) -> int:
        """Judge what came by RadSec; return the number of packets.

        A packet that cannot be right ends its connection, and nothing behind it is believed.
        """
        now = self._now()
        messages = self._connections.serve(ready, began, now)
        self._connections.ended.clear()
        faulty: set[Connection] = set()
        for connection, packet in messages:
            if connection in faulty:
                continue
            secured = Secured(connection.names, connection.number)
            judged = self._server.handle(packet, connection.address, connection.port, now, secured)
            if not isinstance(judged, Refused):
                response = self._take(judged, connection, group)
                if response is not None:
                    self._send_secured(connection, response)
                continue
            self._refuse(judged, connection.address, connection.port, now)
            is_stranger = not self._server.clients.secured(connection.names, connection.address)
            if judged.reason in ENDING or is_stranger:
                faulty.add(connection)
                self._connections.close(connection, judged.reason)
        self._counters.add("radius_received_packets", len(messages))
        return len(messages)

    def _take(
        self, judged: Accepted | Duplicate, peer: Source | Connection, group: list[_Waiting]
    ) -> bytes | None:
        """Put a new request into the group; return the kept answer to a known one, if any."""
        if isinstance(judged, Accepted):
            group.append((judged, peer))
            return None
        self._counters.add("radius_duplicate_packets")
        return judged.response

    def _refuse(self, refused: Refused, address: bytes, port: int, now: int) -> None:
        self._counters.add("radius_refused_packets", 1, refused.reason)
        self._limit.refused(f"{format_address(address)} port {port}", refused.reason, now)

    def _commit(self, group: list[_Waiting]) -> None:
        packets = [accepted.packet for accepted, _ in group if accepted.packet is not None]
        self._counters.add("radius_accepted_packets", len(packets))
        if packets:
            self._append("data", self._last_at, encode_packets(packets))
        if self._failures:
            # Status-Server too stays unanswered: a server that cannot record is not alive.
            for accepted, _ in group:
                self._server.abandon(accepted)
            self._counters.add("radius_unanswered_packets", len(group))
            return
        self._counters.add("radius_durable_packets", len(packets))
        self._counters.add("radius_status_server_packets", len(group) - len(packets))
        answers: dict[DatagramSocket, list[tuple[bytes, Source]]] = {}
        for accepted, peer in group:
            response = self._server.release(accepted)
            if isinstance(peer, Source):
                answers.setdefault(peer.socket, []).append((response, peer))
            else:
                self._send_secured(peer, response)
        for opened, some in answers.items():
            self._send(opened, some)

    def mark(self, *, force: bool = False) -> None:
        """Append "received through T" where it is due, and set the gauges.

        Nothing waits between turns, so every packet stamped before T is in the log or refused.
        """
        now = self._now()
        if not force and now < self._marked_at + self._config.marker_interval_milliseconds:
            return
        self._marked_at = now
        counters = self._counters
        if self._append("marker", now, b""):
            counters.set("radius_received_through_at", now)
        counters.set("radius_duplicate_cache_entries", self._server.cached)
        counters.set("radius_duplicate_cache_evicted", self._server.evicted)
        for nas_id, offset_ms in self._server.clocks.offsets_ms(now).items():
            counters.set("radius_clock_offset_milliseconds", offset_ms, nas_id)
        counters.set("radius_kernel_drops", kernel_drops([b.socket for b in self._bound]))

    def _append(self, kind: str, received_at: int, body: bytes) -> bool:
        try:
            self._writer.append(kind, received_at, body)
        except OSError as error:
            self._counters.add("radius_append_failures")
            if not self._failures:  # Once: a line each time would fill what is full.
                log.error("radius log: append failed, nothing is answered: %s", error)
            self._failures += 1
            return False
        if self._failures:
            log.warning("radius log: appending again after %d failures", self._failures)
            self._failures = 0
        return True

    def _send(self, opened: DatagramSocket, answers: list[tuple[bytes, Source]]) -> None:
        # What fails here is durable: the NAS asks again and gets the kept answer.
        for source, error in opened.send(answers):
            self._counters.add("radius_send_failures")
            address = format_address(source.address)
            log.debug("radius: cannot answer %s port %d: %s", address, source.port, error)

    def _send_secured(self, connection: Connection, response: bytes) -> None:
        if not self._connections.send(connection, response):
            self._counters.add("radius_send_failures")


def run(
    config: RadiusConfig,
    writer: TopicWriter,
    *,
    now_ms: Callable[[], int],
    stop: threading.Event,
    counters: Counters,
    on_listening: Callable[[list[int]], None] = lambda ports: None,
) -> None:
    """Serve accounting until `stop` is set; blocks the caller.

    writer appends to `radius.accounting`. on_listening is given the local ports in the order of
    `config.listen`, then those of RadSec, once every socket is bound. Raises OSError where an
    address cannot be bound or a certificate not be used, and ValueError for a bad address or
    client. A full disk raises nothing: there are no answers until it has room again.
    """
    bound = open_all(config.listen, config.receive_buffer_octets)
    listening: list[Listening] = []
    try:
        radsec = config.radsec
        listening = open_listening((), radsec.listen, radsec.tls, time.monotonic())
        buffers = (each.receive_buffer_octets for each in bound)
        buffer_octets = min(buffers, default=config.receive_buffer_octets)
        pace_seconds = writer.pace_seconds if isinstance(writer, PacedWriter) else 0.0
        pace = _Pace(pace_seconds, config.batch_packets, buffer_octets)
        listener = _Listener(config, (bound, listening), writer, now_ms, counters, pace)
        for each in bound:
            if each.warning:
                log.warning("%s", each.warning)
        counters.set("radius_receive_buffer_octets", buffer_octets)
        log.info(
            "accounting server on UDP %s and RadSec %s for %d clients",
            ", ".join(config.listen) or "nowhere",
            ", ".join(config.radsec.listen) or "nowhere",
            len(config.clients),
        )
        on_listening([*(each.port for each in bound), *(each.port for each in listening)])
        while not stop.is_set():
            listener.turn()
            listener.mark()
        listener.close()
        listener.mark(force=True)
    finally:
        for each in bound:
            each.socket.close()
        for accepting in listening:
            accepting.socket.close()
