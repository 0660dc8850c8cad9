"""How fast datagrams reach the log over loopback: `python -m tests.benchmarks.bench_receive`.

One process sends as fast as the other takes: the sender looks at the socket's queue in the kernel
and waits while it is half full, so that nothing is lost and the receiver is always busy. The same
sender then feeds a loop that only calls `recv_into`, the least any receiver can do.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from collectors.adapters import flow_receiver, sockets
from collectors.adapters.segments import SegmentWriter
from collectors.config import FlowReceiverConfig
from collectors.metrics import Counters

FLOWS_PER_DATAGRAM = 24
DATAGRAM = bytes(24 + FLOWS_PER_DATAGRAM * 50)
"""NetFlow v9 of 24 records of 50 octets; its content does not matter, nothing parses it."""

BUFFER_OCTETS = FlowReceiverConfig().receive_buffer_octets
BURST_DATAGRAMS = 200
PATIENCE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What one receiver took: datagrams, those the kernel dropped, and CPU and wall seconds."""

    datagrams: int
    dropped: int
    cpu_seconds: float
    wall_seconds: float

    def line(self, name: str) -> str:
        flows = self.datagrams * FLOWS_PER_DATAGRAM
        return (
            f"{name:22} {self.datagrams / self.wall_seconds:>9,.0f} datagrams/s  "
            f"{flows / self.wall_seconds / 1e6:6.2f} M flows/s  "
            f"{self.cpu_seconds / flows * 1e6:6.3f} CPU s per million flows  "
            f"lost {self.dropped:,}"
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def receive_into_segments(count: int, pipe: Connection) -> None:
    """Run the flow receiver over real segments until `count` datagrams are durable or lost."""
    stop, counters = threading.Event(), Counters()

    def on_listening(ports: list[int]) -> None:
        pipe.send(ports[0])
        threading.Thread(target=watch, daemon=True).start()

    def watch() -> None:
        while counters.get("flow_appended_datagrams") + counters.get("flow_kernel_drops") < count:
            time.sleep(0.01)
        stop.set()

    with tempfile.TemporaryDirectory() as directory:
        writer = SegmentWriter(Path(directory))
        # The queue takes the whole run: a slow disk shows in the time, not as loss.
        config = FlowReceiverConfig(
            listen=("127.0.0.1:0",), queue_octets=count * (len(DATAGRAM) + 64)
        )
        before = time.process_time()
        flow_receiver.run(
            config, writer, now_ms=_now_ms, stop=stop, counters=counters, on_listening=on_listening
        )
        cpu_seconds = time.process_time() - before
        writer.close()
    appended = counters.get("flow_appended_datagrams")
    pipe.send((appended, counters.get("flow_kernel_drops"), cpu_seconds))


def receive_only(count: int, pipe: Connection) -> None:
    """Call `recv_into` until `count` datagrams have come; keep nothing."""
    bound = sockets.open_udp("127.0.0.1:0", BUFFER_OCTETS)
    bound.socket.settimeout(None)
    buffer = bytearray(65_536)
    receive = bound.socket.recv_into
    pipe.send(bound.port)
    before = time.process_time()
    for _ in range(count):
        receive(buffer)
    pipe.send((count, 0, time.process_time() - before))


def _queued_octets(port: int) -> int:
    """Octets that wait in the kernel for a port: rx_queue of /proc/net/udp."""
    mark = f":{port:04X} "
    for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        if mark in line[:24]:
            return int(line.split()[4].partition(":")[2], 16)
    return 0


def measure(receiver: Callable[[int, Connection], None], count: int) -> Result:
    """Send `count` datagrams to a receiver in a process of its own; return what it took."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=receiver, args=(count, theirs), daemon=True)
    process.start()
    theirs.close()  # The end of the receiver then is the end of the pipe, not a wait for ever.
    port = ours.recv()
    began = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        send = sender.send
        for sent in range(0, count, BURST_DATAGRAMS):
            while _queued_octets(port) > BUFFER_OCTETS // 16:
                time.sleep(0.0005)
            for _ in range(min(BURST_DATAGRAMS, count - sent)):
                send(DATAGRAM)
    if not ours.poll(PATIENCE_SECONDS):
        process.kill()
        raise SystemExit(f"{receiver.__name__}: datagrams are missing, the kernel counts no drop")
    datagrams, dropped, cpu_seconds = ours.recv()
    wall_seconds = time.monotonic() - began
    process.join()
    return Result(datagrams, dropped, cpu_seconds, wall_seconds)


def main() -> None:
    """Print datagrams/s and CPU seconds per million flows, and the ratio to a bare loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datagrams", type=int, default=200_000)
    count = parser.parse_args().datagrams
    bare = measure(receive_only, count)
    real = measure(receive_into_segments, count)
    print(bare.line("bare recv_into loop"))
    print(real.line("receive into segments"))
    ratio = (real.cpu_seconds / real.datagrams) / (bare.cpu_seconds / bare.datagrams)
    speed = (real.datagrams / real.wall_seconds) / (bare.datagrams / bare.wall_seconds)
    print(f"receive against bare loop: {speed:.2f} of its rate, {ratio:.2f} times its CPU")


if __name__ == "__main__":
    main()
