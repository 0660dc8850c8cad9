"""One sender for every receiver: prepared datagrams over loopback, at a rate, from many addresses.

A process of its own. It gives the kernel a burst of datagrams by one `sendmmsg(2)`, which Python
does not have: by ctypes. Each exporter is a socket on a loopback address of its own. Between two
repetitions of the traffic only headers are written anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

import numpy as np

from collectors.adapters.many_messages import MESSAGE, VECTOR, message_calls
from tests.benchmarks.flow_traffic import RECORDS_PER_DATAGRAM, Shape, generate, source_address

_SEND_BUFFER_OCTETS = 4_194_304
_NAP_SECONDS = 0.0002
"""A shorter wait is not worth a sleep."""
UNPACED = 1e9
"""A rate that no sender reaches."""


@dataclasses.dataclass(frozen=True, slots=True)
class Clock:
    """Instants that run `speed` times as fast as real ones from `began` (time.time_ns) on."""

    began_ns: int
    first_ms: int
    speed: int = 1

    def now_ms(self) -> int:
        """Return the instant, ms since 1970."""
        return self.first_ms + (time.time_ns() - self.began_ns) * self.speed // 1_000_000


def real_clock() -> Clock:
    """Return the clock of this world."""
    now = time.time_ns()
    return Clock(now, now // 1_000_000)


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What to send: so many datagrams to a port of 127.0.0.1, at so many a second."""

    port: int
    rate: float
    datagrams: int
    clock: Clock


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """What went out: datagrams, octets in their flows, and how long it took (wall and CPU)."""

    datagrams: int
    octets: int
    seconds: float
    cpu_seconds: float

    @property
    def flows(self) -> int:
        """Flow records in the datagrams."""
        return self.datagrams * RECORDS_PER_DATAGRAM

    @property
    def rate(self) -> float:
        """Datagrams a second, as it really was."""
        return self.datagrams / max(self.seconds, 1e-9)


class _Wire:
    """Prepared messages, and the call that gives them to the kernel."""

    def __init__(self, shape: Shape) -> None:
        self.traffic = generate(shape)
        count = len(self.traffic)
        self._turn = 0
        calls = message_calls()
        assert calls is not None, "this system has no sendmmsg"
        self._send = calls[1]
        self._vectors = np.zeros(count, VECTOR)
        self._vectors["at"] = self.traffic.payload.ctypes.data + self.traffic.offsets
        self._vectors["octets"] = self.traffic.lengths
        self._messages = np.zeros(count, MESSAGE)
        self._messages["vectors_at"] = self._vectors.ctypes.data + VECTOR.itemsize * np.arange(
            count
        )
        self._messages["vectors"] = 1
        self._exporters: list[int] = self.traffic.exporters.tolist()
        self._octets_through = np.cumsum(self.traffic.octets_of)

    def send(self, order: Order) -> Sent:
        """Send what an order says; a socket per exporter for as long as that takes."""
        with contextlib.ExitStack() as stack:
            handles = [
                stack.enter_context(_connected(source_address(number), order.port)).fileno()
                for number in range(self.traffic.shape.exporters)
            ]
            began, busy = time.perf_counter(), time.process_time()
            done = octets = 0
            while done < order.datagrams:
                self.traffic.again(self._turn, order.clock.now_ms() // 1000)
                self._turn += 1
                count = min(len(self.traffic), order.datagrams - done)
                self._send_first(count, handles, began + done / order.rate, order.rate)
                done += count
                octets += int(self._octets_through[count - 1])
            seconds = time.perf_counter() - began
        return Sent(done, octets, seconds, time.process_time() - busy)

    def _send_first(self, count: int, handles: Sequence[int], began: float, rate: float) -> None:
        """Send the first `count` datagrams, a burst of each exporter at a time."""
        address = self._messages.ctypes.data
        burst = self.traffic.shape.burst
        for first in range(0, count, burst):
            left = began + first / rate - time.perf_counter()
            if left > _NAP_SECONDS:
                time.sleep(left)
            handle = handles[self._exporters[first]]
            at, last = first, min(first + burst, count)
            while at < last:
                sent = self._send(
                    handle, ctypes.c_void_p(address + MESSAGE.itemsize * at), last - at, 0
                )
                if sent < 0 and ctypes.get_errno() not in (errno.ECONNREFUSED, errno.EINTR):
                    raise OSError(ctypes.get_errno(), "sendmmsg")
                at += max(sent, 0)


def _connected(source: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_OCTETS)
    opened.bind((source, 0))
    opened.connect(("127.0.0.1", port))
    return opened


def _serve(shape: Shape, core: int | None, pipe: Connection) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    wire = _Wire(shape)
    pipe.send(len(wire.traffic))
    while (order := pipe.recv()) is not None:
        pipe.send(wire.send(order))


class Sender:
    """The process that sends, as who measures sees it."""

    def __init__(self, shape: Shape, core: int | None) -> None:
        """Start it on a core of its own; returns when its traffic is made."""
        context = multiprocessing.get_context("spawn")
        self.shape = shape
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(shape, core, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.datagrams_per_turn: int = self._pipe.recv()

    def send(self, order: Order, while_sending: Callable[[], None] = lambda: None) -> Sent:
        """Send as ordered; while_sending is called about ten times a second meanwhile."""
        self._pipe.send(order)
        while not self._pipe.poll(0.1):
            while_sending()
        sent: Sent = self._pipe.recv()
        return sent

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


@contextlib.contextmanager
def sending(shape: Shape, core: int | None) -> Iterator[Sender]:
    """Give a sender of some traffic for a while."""
    sender = Sender(shape, core)
    try:
        yield sender
    finally:
        sender.close()


def ceiling(sender: Sender, datagrams: int) -> Sent:
    """Send to a socket that nobody reads, as fast as it goes: what the sender itself can do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        order = Order(deaf.getsockname()[1], UNPACED, datagrams, real_clock())
        return sender.send(order)
