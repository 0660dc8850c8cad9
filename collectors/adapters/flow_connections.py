"""IPFIX over TCP and TLS into the blocks of the flow collector (RFC 7011 §10.4), nothing parsed.

One thread serves all connections. Each message becomes an entry of a block, as a datagram does,
with the number of its connection; the end of a connection is an empty entry. Nothing is dropped for
want of room: while the queue to the disk is full nothing is read, so that TCP holds exporters back.
"""

from __future__ import annotations

import contextlib
import selectors
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from collectors.adapters.connections import Connection, Connections, Listening
from collectors.config import FlowReceiverConfig
from collectors.datagrams import encode_columns
from collectors.framing import ipfix_octets
from collectors.metrics import Counters

_ROOM_WAIT_SECONDS = 0.01
_EXPIRE_SECONDS = 0.25
_BLOCK_MESSAGES_MAX = 65_536
_DRAINS_MAX = 16
"""Times that a stop asks the system for what it still holds, 1 MiB of each connection at a time."""

Offer = Callable[[int, bytes | None, int, int], bool]
"""Takes "received through" (ms), a block's body (None: nothing came), how many messages and how
many octets of them; False where there is no room for it."""


class _Block:
    """What came over the connections and is not yet handed over."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.sources: list[Connection] = []
        self.payloads: list[bytes] = []
        self.octets = 0

    def add(self, connection: Connection, payload: bytes, received_at: int) -> None:
        self.times.append(received_at)
        self.sources.append(connection)
        self.payloads.append(payload)
        self.octets += len(payload)

    def body(self) -> bytes:
        return encode_columns(
            np.array(self.times, np.int64),
            b"".join([source.address for source in self.sources]),
            np.array(
                [[s.port for s in self.sources], [s.local_port for s in self.sources]], np.uint16
            ),
            np.array([len(payload) for payload in self.payloads], np.uint32),
            b"".join(self.payloads),
            np.array([source.number for source in self.sources], np.uint64),
        )


class ConnectionReceiver(threading.Thread):
    """Serves the connections of exporters until told to stop, then what the system still holds."""

    def __init__(
        self,
        listening: Sequence[Listening],
        config: FlowReceiverConfig,
        offer: Offer,
        now_ms: Callable[[], int],
        stop: threading.Event,
        counters: Counters,
    ) -> None:
        """Serve listening sockets, which the thread closes."""
        super().__init__(name="receive-connections", daemon=True)
        self.failure: BaseException | None = None
        self._config = config
        self._offer = offer
        self._now_ms = now_ms
        self._stopping = stop
        self._counters = counters
        self._selector = selectors.DefaultSelector()
        limits = config.connections.limits
        self._connections = Connections(
            self._selector, listening, limits, ipfix_octets, (counters, "flow_connections")
        )
        self._block = _Block()
        self._last_at = self._began_at = 0

    def run(self) -> None:
        """Serve; what ends the thread is kept in `failure`, and stops the others."""
        try:
            with contextlib.closing(self._selector):
                self._run()
        except BaseException as error:
            self.failure = error
            self._stopping.set()

    def _run(self) -> None:
        self._began_at = self._now()
        expired = time.monotonic()
        while not self._stopping.is_set():
            self._turn()
            now = time.monotonic()
            if now - expired >= _EXPIRE_SECONDS:
                expired = now
                self._connections.expire(now)
                self._note_ends()
            if self._last_at - self._began_at >= self._config.block_milliseconds:
                self._hand_over()
        self._connections.stop_accepting()
        for _ in range(_DRAINS_MAX):
            messages = self._connections.drain(time.monotonic())
            self._take(messages)
            if not messages:
                break
        self._connections.close_all()
        self._note_ends()
        self._hand_over()

    def _turn(self) -> None:
        """Wait a little for something to come, and take what does."""
        wait_seconds = max(self._config.block_milliseconds // 2, 1) / 1000
        ready = self._selector.select(wait_seconds)
        self._take(self._connections.serve(ready, time.monotonic(), self._now()))
        self._note_ends()

    def _take(self, messages: Sequence[tuple[Connection, bytes]]) -> None:
        """Put messages into the block, and hand it over whenever it is full."""
        received_at = self._now()
        for connection, message in messages:
            self._block.add(connection, message, received_at)
            is_long = len(self._block.times) >= _BLOCK_MESSAGES_MAX
            if is_long or self._block.octets >= self._config.block_octets:
                self._hand_over()

    def _now(self) -> int:
        # The clock may step back; "received through" must not.
        self._last_at = max(self._last_at, self._now_ms())
        return self._last_at

    def _note_ends(self) -> None:
        for connection in self._connections.ended:
            self._block.add(connection, b"", self._last_at)
        self._connections.ended.clear()

    def _hand_over(self) -> None:
        """Hand the block over; where there is no room, read nothing until there is.

        Everything of it was received before "received through", which stands still meanwhile.
        """
        block = self._block
        body = block.body() if block.times else None
        messages = sum(1 for payload in block.payloads if payload)
        if not self._offer(self._last_at, body, messages, block.octets):
            self._counters.add("flow_connections_waits")
            began = time.monotonic()
            while not self._offer(self._last_at, body, messages, block.octets):
                time.sleep(_ROOM_WAIT_SECONDS)
            self._connections.excuse(time.monotonic() - began)
        self._block = _Block()
        self._began_at = self._last_at
