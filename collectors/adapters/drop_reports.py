"""Tells the log what sockets and the queue to the disk dropped, each datagram once."""

from __future__ import annotations

from collections.abc import Sequence

from collectors.adapters.sockets import BoundSocket, socket_drops
from collectors.datagrams import encode_datagrams
from collectors.drops import Drops, report_of
from collectors.metrics import Counters


class DropReports:
    """Drops of the receiver's sockets that the log does not have yet.

    The kernel counts from a socket's opening, so what a process dropped between its last report and
    its death (a second at most) is told by the exporters' sequence numbers alone.
    """

    def __init__(self, bound: Sequence[BoundSocket], counters: Counters) -> None:
        """Start with nothing dropped."""
        self._bound = bound
        self._counters = counters
        self._told = [(0, 0)] * len(bound)
        self._read = self._told
        self._queue = [0] * len(bound)

    def add_queue_drops(self, number: int, datagrams: int) -> None:
        """Count datagrams of a socket that the queue had no room for; its own thread calls."""
        self._queue[number] += datagrams

    def body(self, received_at: int) -> bytes | None:
        """Return a block of what was dropped since the last `settle`, None where nothing was."""
        kernel = socket_drops([each.socket for each in self._bound])
        self._counters.set("flow_kernel_drops", sum(kernel))
        self._read = list(zip(kernel, self._queue, strict=True))
        news = [
            Drops(each.port, received_at, now[0] - told[0], now[1] - told[1])
            for each, now, told in zip(self._bound, self._read, self._told, strict=True)
            if now != told
        ]
        return encode_datagrams([report_of(drops) for drops in news]) if news else None

    def settle(self) -> None:
        """Take what the last body told as durable."""
        self._told = self._read
