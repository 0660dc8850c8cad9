"""The relay's shell: reads the log behind the collector, sends to the second server, notes answers.

A thread of its own with sockets of its own: whatever the second server does, the collector's loop
knows nothing of it. What is to be relayed waits in the log, which is not trimmed before
(`relay_position.relayed_through`), within the bounds of `RelayConfig`.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Callable, Sequence

from collectors.adapters.relay_position import RelayPosition
from collectors.adapters.relay_sources import RelaySource
from collectors.adapters.sockets import parse_listen
from collectors.config import RelayConfig
from collectors.metrics import Counters
from collectors.radius.packet import PACKET_OCTETS_MAX
from collectors.radius.relay import Relay, sockets_of
from collectors.radius.relay_packets import Place, RelaySetting

log = logging.getLogger(__name__)

_TURN_SECONDS = 0.1
_READ_BLOCKS = 8
_SKIP_BLOCKS = 64
_MEASURE_MS = 15_000
_RESOLVE_AGAIN_MS = 60_000
_FAILURE_WAIT_SECONDS = 1.0
_RECEIVE_OCTETS = 1_048_576

Sources = Callable[[], Sequence[RelaySource]]
"""Gives the logs there are, the oldest first; where there are several, the last one grows."""


class RadiusRelay(threading.Thread):
    """Relays until `finish`; disks that fail and servers that are away are waited for."""

    def __init__(
        self,
        config: RelayConfig,
        sources: Sources,
        position: RelayPosition,
        now_ms: Callable[[], int],
        counters: Counters,
    ) -> None:
        """Take settings, the logs and the position; `start` begins."""
        super().__init__(name="radius-relay", daemon=True)
        self._config = config
        self._sources = sources
        self._position = position
        self._now_ms = now_ms
        self._counters = counters
        setting = RelaySetting(
            config.secret.encode(), position.tag, config.sends_message_authenticator
        )
        self._setting = setting
        self._relay = Relay(config, setting)
        self._source: RelaySource | None = None
        self._sockets: list[socket.socket] = []
        self._resolved_at = 0
        self._measured_at = 0
        self._heard_at = 0
        self._unnoted: list[Place] = []
        self._stopping = threading.Event()
        self._has_failed = False

    def run(self) -> None:
        """Work until told to finish."""
        try:
            while not self._stopping.is_set():
                try:
                    self.turn()
                except OSError as error:
                    self._counters.add("radius_relay_failures")
                    if not self._has_failed:
                        log.error("radius relay: stands still: %s", error)
                    self._has_failed = True
                    self._stopping.wait(_FAILURE_WAIT_SECONDS)
                else:
                    self._has_failed = False
        finally:
            self._close_sockets()
            self._position.close()

    def settle(self) -> None:
        """Say where the log begins that is relayed, before more is appended to it."""
        try:
            self._begin()
        except OSError as error:
            log.error("radius relay: the log cannot be read yet: %s", error)

    def finish(self) -> None:
        """End; what is on its way is sent again after the next start."""
        self._stopping.set()
        self.join()

    def turn(self) -> None:
        """Read, send, wait a little for answers, note what is done. Raises OSError of the disk."""
        now = self._now_ms()
        source = self._source or self._begin()
        if source is None:
            self._stopping.wait(_TURN_SECONDS)
            return
        if now >= self._measured_at + _MEASURE_MS:
            self._measured_at = now
            self._keep_bounds(source, now)
        self._fill(source)
        if self._open_sockets(now):
            self._send(now)
            self._receive(source)
        else:
            self._stopping.wait(_TURN_SECONDS)
        self._note(source)
        self._tell(now)

    # -- the log -------------------------------------------------------------------------------

    def _begin(self) -> RelaySource | None:
        """Choose the oldest log that is not done, and take up what was on its way in it."""
        sources = list(self._sources())
        known = {source.name for source in sources if self._through(source) is not None}
        for number, source in enumerate(sources):
            is_last = number == len(sources) - 1
            if source.name not in known:
                # A log that is new because the relay is: what came before is not relayed. One that
                # is new because its topic has grown is relayed from its beginning.
                first = 0 if known else source.last_number()
                self._position.begin(source.name, first)
            through = self._through(source) or 0
            has_more = bool(self._position.open_blocks(source.name)) or bool(
                source.read(through, 1)
            )
            if has_more or is_last:
                self._source = source
                self._take_up(source)
                return source
            source.close()
        return None

    def _through(self, source: RelaySource) -> int | None:
        return self._position.read_through(source.name)

    def _take_up(self, source: RelaySource) -> None:
        """Take the packets again that a former process had sent and not seen acknowledged."""
        self._relay = Relay(self._config, self._setting)
        for number, done in list(self._position.open_blocks(source.name).items()):
            blocks = [b for b in source.read(number - 1, 1) if b.number == number]
            packets = blocks[0].packets if blocks else []
            left = [(at, p) for at, p in enumerate(packets) if at < len(done) and not done[at]]
            if not left:
                places = [(number, at) for at in range(len(done))]
                self._counters.add("radius_relay_dropped_packets", done.count(0))
                self._position.note_done(source.name, places)
            self._relay.take(number, left)

    def _fill(self, source: RelaySource) -> None:
        """Read on where the packets held are few."""
        if self._relay.held >= self._config.window_packets_max:
            return
        through = self._through(source) or 0
        blocks = source.read(through, _READ_BLOCKS)
        if not blocks:
            is_done = not self._relay.held and not self._unnoted
            if is_done and [other.name for other in self._sources()][-1:] != [source.name]:
                source.close()
                self._source = None
            return
        if blocks[0].number != through + 1:
            log.warning("radius relay: blocks %d to %d are gone", through + 1, blocks[0].number - 1)
        # First the note, then the sending: what is on its way is always known to be open.
        sizes = [(block.number, len(block.packets)) for block in blocks]
        self._position.note_read(source.name, sizes, blocks[-1].number)
        for block in blocks:
            self._relay.take(block.number, list(enumerate(block.packets)))

    def _keep_bounds(self, source: RelaySource, now: int) -> None:
        """Give up the oldest packets where too many octets wait, or wait for too long."""
        opened = self._position.open_blocks(source.name)
        through = self._through(source) or 0
        floor = min([through, *(number - 1 for number in opened)])
        octets = source.octets_after(floor)
        oldest_at = now - self._config.queue_hours_max * 3_600_000
        given_up, packets = floor, 0
        while not self._stopping.is_set():
            blocks = source.read(given_up, _SKIP_BLOCKS)
            for block in blocks:
                if octets <= self._config.queue_octets_max and block.received_at >= oldest_at:
                    blocks = ()
                    break
                octets -= block.octets if block.packets else 0
                packets += len(block.packets) if block.number > through else 0
                given_up = block.number
            if not blocks:
                break
        if given_up > floor:
            packets += self._relay.drop_through(given_up)
            if given_up > through:
                self._position.note_read(source.name, (), given_up)
            self._counters.add("radius_relay_dropped_packets", packets)
            log.warning("radius relay: %d packets waited too long and are given up", packets)
        self._counters.set("radius_relay_queued_octets", octets)

    # -- the server ----------------------------------------------------------------------------

    def _open_sockets(self, now: int) -> bool:
        """Return whether there are sockets; look the server's name up where it fell silent."""
        is_silent = self._relay.flying and now - max(self._heard_at, self._resolved_at) > (
            _RESOLVE_AGAIN_MS
        )
        if self._sockets and not is_silent:
            return True
        if not self._sockets and now < self._resolved_at + int(_FAILURE_WAIT_SECONDS * 1000):
            return False
        self._resolved_at = now
        try:
            opened = _connected(self._config)
        except OSError as error:
            self._counters.add("radius_relay_failures")
            log.warning("radius relay: %s cannot be asked: %s", self._config.server, error)
            return bool(self._sockets)
        self._close_sockets()
        self._sockets = opened
        return True

    def _close_sockets(self) -> None:
        for opened in self._sockets:
            opened.close()
        self._sockets = []

    def _send(self, now: int) -> None:
        sent = self._relay.poll(now)
        for transmission in sent:
            try:
                self._sockets[transmission.socket].send(transmission.octets)
            except OSError:
                # Nobody listens, no route, a full buffer: as if it were lost on the way.
                self._counters.add("radius_relay_send_failures")
        repeated = sum(each.is_repeated for each in sent)
        self._counters.add("radius_relay_sent_packets", len(sent) - repeated)
        self._counters.add("radius_relay_repeated_packets", repeated)

    def _receive(self, source: RelaySource) -> None:
        """Wait for answers, not beyond the next retransmission, and take what has come."""
        due_at = self._relay.due_at
        wait_seconds = _TURN_SECONDS
        if due_at is not None:
            wait_seconds = min(wait_seconds, max(0.001, (due_at - self._now_ms()) / 1000))
        readable, _, _ = select.select(self._sockets, [], [], wait_seconds)
        now = self._now_ms()
        for opened in readable:
            number = self._sockets.index(opened)
            while True:
                try:
                    datagram = opened.recv(PACKET_OCTETS_MAX)
                except OSError:
                    break  # Nothing more, or the word that nobody listens there.
                reason = self._relay.answer(number, datagram, now)
                if reason:
                    self._counters.add("radius_relay_refused_answers", 1, reason)
                else:
                    self._heard_at = now

    def _note(self, source: RelaySource) -> None:
        self._unnoted += self._relay.done()
        if self._unnoted:
            self._position.note_done(source.name, self._unnoted)
            self._unnoted = []

    def _tell(self, now: int) -> None:
        counters, relay = self._counters, self._relay
        counters.add("radius_relay_acknowledged_packets", relay.acknowledged)
        counters.add("radius_relay_abandoned_packets", relay.abandoned)
        counters.add("radius_relay_looping_packets", relay.looping)
        relay.acknowledged = relay.abandoned = relay.looping = 0
        counters.set("radius_relay_held_packets", relay.held)
        oldest_at = relay.oldest_received_at()
        seconds = 0 if oldest_at is None else max(0, now - oldest_at) // 1000
        counters.set("radius_relay_oldest_seconds", seconds)


def _connected(config: RelayConfig) -> list[socket.socket]:
    """Return sockets that send to the server and take datagrams from it alone. Raises OSError."""
    host, port = parse_listen(config.server)
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    made: list[socket.socket] = []
    try:
        for _ in range(sockets_of(config)):
            opened = socket.socket(family, kind, protocol)
            made.append(opened)
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_OCTETS)
            opened.connect(address)
    except OSError:
        for opened in made:
            opened.close()
        raise
    return made


def start_relay(
    config: RelayConfig,
    sources: Sources,
    position: RelayPosition,
    now_ms: Callable[[], int],
    counters: Counters,
) -> RadiusRelay:
    """Start a relay that works beside the collector; `finish` ends it."""
    relay = RadiusRelay(config, sources, position, now_ms, counters)
    relay.settle()
    relay.start()
    log.info("accounting is relayed to %s", config.server)
    return relay
