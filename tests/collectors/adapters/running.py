"""Shells run in a thread on free ports, with a log in memory whose disk can be full."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from collectors.datagrams import Datagram, decode_datagrams
from collectors.metrics import Counters
from collectors.radius.log_codec import AccountingPacket, decode_packets
from rating.ports import Block

PATIENCE_SECONDS = 10.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryLog:
    """A TopicWriter in memory; while `is_full` every append fails as a full disk does."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.is_full = False
        self.pause = threading.Event()
        self.pause.set()
        self.entered = threading.Event()

    def append(self, kind: str, received_at: int, body: bytes) -> int:
        self.entered.set()
        self.pause.wait(PATIENCE_SECONDS)
        if self.is_full:
            raise OSError(28, "No space left on device")
        self.blocks.append(Block(len(self.blocks) + 1, kind, received_at, body))
        return len(self.blocks)

    def datagrams(self) -> list[Datagram]:
        found = [decode_datagrams(b.body) for b in self.blocks if b.kind == "data"]
        return [block.datagram(i) for block in found for i in range(len(block))]

    def packets(self) -> list[AccountingPacket]:
        return [p for b in self.blocks if b.kind == "data" for p in decode_packets(b.body)]

    def markers(self) -> list[int]:
        return [b.received_at for b in self.blocks if b.kind == "marker"]


class Running:
    """A shell that listens: its ports, log, counters, and the stop event."""

    def __init__(self, ports: list[int], log: MemoryLog, counters: Counters) -> None:
        self.ports = ports
        self.log = log
        self.counters = counters


@contextlib.contextmanager
def running(
    run: Callable[..., None], config: Any, clock: Callable[[], int] = now_ms
) -> Iterator[Running]:
    """Run `run(config, log, …)` until the block ends; what it raised is raised here."""
    log, counters, stop, listening = MemoryLog(), Counters(), threading.Event(), threading.Event()
    ports: list[int] = []
    failures: list[BaseException] = []

    def on_listening(bound: list[int]) -> None:
        ports.extend(bound)
        listening.set()

    def target() -> None:
        try:
            run(config, log, now_ms=clock, stop=stop, counters=counters, on_listening=on_listening)
        except BaseException as error:
            failures.append(error)
            listening.set()

    thread = threading.Thread(target=target)
    thread.start()
    try:
        assert listening.wait(PATIENCE_SECONDS)
        if not failures:
            yield Running(ports, log, counters)
    finally:
        log.pause.set()
        stop.set()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition becomes true before patience ends."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.005)
    return condition()
