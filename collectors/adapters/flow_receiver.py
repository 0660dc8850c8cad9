"""The flow collector's shell: datagrams into blocks, blocks into the log, nothing parsed.

Receiving is urgent, writing is not: each socket has a thread that only copies datagrams into its
own buffer; the calling thread appends full or old blocks. Between them is a queue bounded in
octets; where the disk stands still for longer than it lasts, whole blocks are dropped and counted.
What comes over connections joins there (`flow_connections`); it waits and is not dropped.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from collectors.adapters.bursts import Bursts
from collectors.adapters.connections import Listening, open_listening
from collectors.adapters.drop_reports import DropReports
from collectors.adapters.flow_connections import ConnectionReceiver, Offer
from collectors.adapters.sockets import (
    DATAGRAM_OCTETS_MAX,
    BoundSocket,
    open_all,
)
from collectors.config import FlowReceiverConfig
from collectors.datagrams import encode_columns
from collectors.metrics import Counters
from rating.ports import TopicWriter

log = logging.getLogger(__name__)

_IDLE_ITEMS_MAX = 256
_STOPPING_WAIT_SECONDS = 0.02
_DRAIN_BLOCKS_MAX = 256
_BLOCK_DATAGRAMS_MAX = 65_536
"""Bounds a block of empty datagrams, which never fills by octets."""


class _Block:
    """What one socket has received and not yet handed over: payloads and columns beside them."""

    def __init__(self, block_octets: int, burst_datagrams: int, local_port: int) -> None:
        # A burst of the largest datagrams always fits behind a block that is just below its limit;
        # what is never written to takes no memory.
        self._payload = np.empty(block_octets + burst_datagrams * DATAGRAM_OCTETS_MAX, np.uint8)
        self._local_port = local_port
        self.used = self.count = 0
        self._times: list[int] = []
        self._columns: list[tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint32]]] = []

    def add(self, burst: Bursts, received_at: int) -> None:
        """Take a burst that came at received_at (ms) behind what is there."""
        self.used += burst.payloads_into(self._payload[self.used :])
        self.count += burst.count
        self._times.append(received_at)
        self._columns.append((*burst.sources(), burst.lengths))

    def take(self) -> bytes:
        """Return the block's body and begin an empty one."""
        addresses, sources, lengths = zip(*self._columns, strict=True)
        ports = np.empty((2, self.count), np.uint16)
        np.concatenate(sources, out=ports[0])
        ports[1] = self._local_port
        body = encode_columns(
            np.repeat(np.array(self._times, np.int64), [len(each) for each in lengths]),
            np.concatenate(addresses).tobytes(),
            ports,
            np.concatenate(lengths),
            self._payload.data[: self.used],
        )
        self.used = self.count = 0
        self._times, self._columns = [], []
        return body


@dataclasses.dataclass(frozen=True, slots=True)
class _Item:
    """What a receive thread hands over; body is None where nothing came.

    Everything the thread received before `through` (ms) is in here or was handed over earlier.
    """

    thread: int
    through: int
    body: bytes | None
    datagrams: int


class _Handover:
    """The queue between receive threads and the append loop, bounded in octets and in items."""

    def __init__(self, octets_max: int, counters: Counters, reports: DropReports) -> None:
        self._reports = reports
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._octets = 0
        self._octets_max = octets_max
        self._counters = counters
        self._is_over = False

    def received(self, item: _Item, octets: int) -> None:
        """Count an item's datagrams and payload octets, and queue it or drop its block."""
        self._counters.add("flow_received_datagrams", item.datagrams)
        self._counters.add("flow_received_octets", octets)
        if item.body is None:
            # A later item says the same and more, so this one may be left out.
            if self._items.qsize() < _IDLE_ITEMS_MAX:
                self._items.put(item)
            return
        if self._charge(len(item.body)):
            self._items.put(item)
        else:
            self._counters.add("flow_overflow_datagrams", item.datagrams)
            self._reports.add_queue_drops(item.thread, item.datagrams)

    def offer(self, item: _Item, octets: int) -> bool:
        """Do the same where there is room, else nothing: whoever offers can wait."""
        if self._is_over:
            self._counters.add("flow_abandoned_datagrams", item.datagrams)
            return True
        if item.body is not None and not self._charge(len(item.body)):
            return False
        self._counters.add("flow_received_datagrams", item.datagrams)
        self._counters.add("flow_received_octets", octets)
        if item.body is not None or self._items.qsize() < _IDLE_ITEMS_MAX:
            self._items.put(item)
        return True

    def give_up(self) -> None:
        """Take whatever is offered from now on, and count it as lost: nobody appends any more."""
        self._is_over = True

    def get(self, timeout_seconds: float) -> _Item | None:
        try:
            return self._items.get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def done(self, body: bytes) -> None:
        self._charge(-len(body))

    def _charge(self, octets: int) -> bool:
        with self._lock:
            # A block larger than the whole queue would otherwise wait for ever, or be dropped.
            fits = self._octets + octets <= self._octets_max or not self._octets
            if not fits:
                return False
            self._octets += octets
            self._counters.set("flow_queue_octets", self._octets)
        return True


class _Receiver(threading.Thread):
    """Drains one socket into blocks until told to stop, then what the kernel still holds."""

    def __init__(
        self,
        number: int,
        bound: BoundSocket,
        config: FlowReceiverConfig,
        handover: _Handover,
        now_ms: Callable[[], int],
        stop: threading.Event,
    ) -> None:
        super().__init__(name=f"receive-{bound.port}", daemon=True)
        self.failure: BaseException | None = None
        self._number = number
        self._socket = bound.socket
        self._config = config
        self._pause_seconds = config.burst_pause_microseconds / 1e6
        self._handover = handover
        self._now_ms = now_ms
        self._stopping = stop
        self._bursts = Bursts(bound.socket, config.burst_datagrams)
        self._block = _Block(config.block_octets, config.burst_datagrams, bound.port)
        self._last_at = 0

    def run(self) -> None:
        try:
            # A receive timeout of the kernel's costs no extra system call per datagram.
            _set_receive_timeout(self._socket, max(self._config.block_milliseconds // 2, 1))
            while not self._stopping.is_set():
                self._receive_block()
            for _ in range(_DRAIN_BLOCKS_MAX):
                if not self._receive_block(waits=False):
                    break
        except BaseException as error:
            self.failure = error
            self._stopping.set()

    def _receive_block(self, *, waits: bool = True) -> int:
        """Receive until the block is full or old, or nothing comes; hand it over.

        Returns how many datagrams it holds.
        """
        block, bursts, now_ms = self._block, self._bursts, self._now_ms
        burst_max, pause_seconds = self._config.burst_datagrams, self._pause_seconds
        began_at = now_ms()
        until = began_at + self._config.block_milliseconds
        last_at = max(began_at, self._last_at)
        try:
            while block.count < _BLOCK_DATAGRAMS_MAX:
                count = bursts.receive(waits=waits)
                now = now_ms()
                # The clock may step back; "received through" must not.
                last_at = max(now, last_at)
                block.add(bursts, last_at)
                if block.used >= self._config.block_octets or not began_at <= now < until:
                    break
                if waits and count < burst_max:
                    # To be woken for each datagram would cost more than all else.
                    time.sleep(pause_seconds)
        except BlockingIOError:
            last_at = max(now_ms(), last_at)
        self._last_at = last_at
        count, used = block.count, block.used
        body = block.take() if count else None
        self._handover.received(_Item(self._number, last_at, body, count), used)
        return count


def _set_receive_timeout(opened: socket.socket, milliseconds: int) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    opened.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, rest * 1000)
    )


class _Appender:
    """Appends what the receivers hand over, and "received through T" behind it."""

    def __init__(
        self,
        config: FlowReceiverConfig,
        writer: TopicWriter,
        handover: _Handover,
        stop: threading.Event,
        counters: Counters,
        reports: DropReports,
    ) -> None:
        self._reports = reports
        self._config = config
        self._writer = writer
        self._handover = handover
        self._stopping = stop
        self._counters = counters
        self._through: dict[int, int] = {}
        self._marked_at = 0
        self._tried_at = 0
        self._failures = 0

    def append_next(self, timeout_seconds: float) -> bool:
        """Make the next item durable, retrying while the disk is full; False where none came.

        When stopping, an append that fails is given up: there is nobody left to wait for.
        """
        item = self._handover.get(timeout_seconds)
        if item is None:
            return False
        if item.body is not None:
            self._append_body(item, item.body)
            self._handover.done(item.body)
        self._through[item.thread] = item.through
        return True

    def _append_body(self, item: _Item, body: bytes) -> None:
        while not self._append("data", item.through, body):
            if self._stopping.is_set():
                self._counters.add("flow_abandoned_datagrams", item.datagrams)
                return
            self._stopping.wait(self._config.append_retry_milliseconds / 1000)
        self._counters.add("flow_appended_blocks")
        self._counters.add("flow_appended_datagrams", item.datagrams)

    def mark(self, threads: int, *, force: bool = False) -> bool:
        """Append "received through T" where it is due: T is the least of the threads'.

        What was dropped until then is told before it. Returns whether it did.
        """
        if len(self._through) < threads:
            return False
        through = min(self._through.values())
        due = force or through >= self._tried_at + self._config.marker_interval_milliseconds
        if not due or through <= self._marked_at:
            return False
        self._tried_at = through
        drops = self._reports.body(through)
        if drops is not None:
            if not self._append("data", through, drops):
                return False
            self._reports.settle()
        if not self._append("marker", through, b""):
            return False
        self._marked_at = through
        self._counters.set("flow_received_through_at", through)
        return True

    def _append(self, kind: str, received_at: int, body: bytes) -> bool:
        try:
            self._writer.append(kind, received_at, body)
        except OSError as error:
            self._counters.add("flow_append_failures")
            if not self._failures:
                log.error("flow log: append failed, datagrams wait and are tried again: %s", error)
            self._failures += 1
            return False
        if self._failures:
            log.warning("flow log: appending again after %d failures", self._failures)
            self._failures = 0
        return True


def _listen_for_connections(config: FlowReceiverConfig) -> list[Listening]:
    """Return the listening sockets for TCP and TLS, none where none are set."""
    wanted = config.connections
    return open_listening(wanted.listen, wanted.tls_listen, wanted.tls, time.monotonic())


def _offer_of(handover: _Handover, thread: int) -> Offer:
    """Return how the thread of the connections hands over."""

    def offer(through: int, body: bytes | None, messages: int, octets: int) -> bool:
        return handover.offer(_Item(thread, through, body, messages), octets)

    return offer


def run(
    config: FlowReceiverConfig,
    writer: TopicWriter,
    *,
    now_ms: Callable[[], int],
    stop: threading.Event,
    counters: Counters,
    on_listening: Callable[[list[int]], None] = lambda ports: None,
) -> None:
    """Receive flows until `stop` is set; blocks the caller, who is the append thread.

    writer appends to `flow.datagrams`. on_listening is given the local ports in the order of
    `config.listen`, then those of TCP and TLS, once every socket is bound. Raises OSError where an
    address cannot be bound or a certificate not be used, ValueError for a malformed address, and
    whatever ended a receive thread. A full disk raises nothing: blocks wait, bounded, and are
    appended when it has room.
    """
    bound = open_all(config.listen, config.receive_buffer_octets)
    try:
        listening = _listen_for_connections(config)
    except BaseException:
        for each in bound:
            each.socket.close()
        raise
    reports = DropReports(bound, counters)
    handover = _Handover(config.queue_octets, counters, reports)
    threads: list[_Receiver | ConnectionReceiver] = [
        _Receiver(number, each, config, handover, now_ms, stop) for number, each in enumerate(bound)
    ]
    if listening:
        offer = _offer_of(handover, len(threads))
        threads.append(ConnectionReceiver(listening, config, offer, now_ms, stop, counters))
    appender = _Appender(config, writer, handover, stop, counters, reports)
    for each in bound:
        if each.warning:
            log.warning("%s", each.warning)
    buffers = (each.receive_buffer_octets for each in bound)
    counters.set("flow_receive_buffer_octets", min(buffers, default=config.receive_buffer_octets))
    try:
        for thread in threads:
            thread.start()
        log.info("receiving flows on UDP %s", ", ".join(config.listen))
        on_listening([*(each.port for each in bound), *(each.port for each in listening)])
        while not stop.is_set():
            appender.append_next(config.block_milliseconds / 1000)
            appender.mark(len(threads))
        # A thread may wait for room in the queue, so there must go on being some.
        while any(thread.is_alive() for thread in threads):
            appender.append_next(_STOPPING_WAIT_SECONDS)
        while appender.append_next(0):
            pass
        appender.mark(len(threads), force=True)
    finally:
        stop.set()
        handover.give_up()
        for thread in threads:
            if thread.is_alive():
                thread.join()
        for each in bound:
            each.socket.close()
        for accepting in listening:
            accepting.socket.close()
    for thread in threads:
        if thread.failure is not None:
            raise thread.failure
