"""How fast datagrams reach the log over loopback: `python -m tests.benchmarks.bench_receive`.

First the cost: one process sends as fast as the other takes (the sender looks at the socket's
queue in the kernel and waits while it is half full, so that nothing is lost and the receiver is
always busy), to a bare `recv_into` loop, to a bare `recvmsg_into` loop that asks for what a
collector needs (address, kernel time, drop counter), and to the receiver; the append is timed
alone. Then the rate: so many datagrams a second for so long, to the receiver on one core, with a
disk that keeps up and with one that stands still for 30 ms again and again.
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
from collectors.datagrams import Datagram, encode_datagrams
from collectors.metrics import Counters
from rating.ports import TopicWriter
from tests.benchmarks.bench_peers import cores, on_core
from tests.benchmarks.flow_sender import Order, Sender, real_clock, sending
from tests.benchmarks.flow_traffic import RECORDS_PER_DATAGRAM, Shape
from tests.benchmarks.own_collectors import own_collector, segments
from tests.benchmarks.process_usage import cpu_seconds, udp_socket

FLOWS_PER_DATAGRAM = 24
DATAGRAM = bytes(24 + FLOWS_PER_DATAGRAM * 50)
"""NetFlow v9 of 24 records of 50 octets; its content does not matter, nothing parses it."""

BUFFER_OCTETS = FlowReceiverConfig().receive_buffer_octets
BURST_DATAGRAMS = 200
PATIENCE_SECONDS = 60.0
_SO_TIMESTAMPNS, _SO_RXQ_OVFL = 35, 40
STALL_SECONDS = 0.030
STALL_EVERY_APPENDS = 20
TARGET_RATIO = 1.5
"""CPU of the receiver at most, in that of the bare loop with kernel time and the append."""


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


def receive_messages(count: int, pipe: Connection) -> None:
    """Call `recvmsg_into` until `count` datagrams have come: address, kernel time, drop counter."""
    bound = sockets.open_udp("127.0.0.1:0", BUFFER_OCTETS)
    opened = bound.socket
    opened.settimeout(None)
    opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    buffers = [bytearray(65_536)]
    ancillary_octets = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(4)
    receive = opened.recvmsg_into
    pipe.send(bound.port)
    before = time.process_time()
    for _ in range(count):
        receive(buffers, ancillary_octets)
    pipe.send((count, 0, time.process_time() - before))


def append_only(count: int) -> Result:
    """Append `count` datagrams in blocks that are made beforehand; nothing is received."""
    octets = FlowReceiverConfig().block_octets
    per_block = octets // len(DATAGRAM)
    datagrams = [Datagram(0, bytes(16), 1, 2055, DATAGRAM)] * per_block
    body = encode_datagrams(datagrams)
    with tempfile.TemporaryDirectory() as directory:
        writer = SegmentWriter(Path(directory))
        began, before = time.monotonic(), time.process_time()
        for _ in range(max(count // per_block, 1)):
            writer.append("data", _now_ms(), body)
        cpu_spent, passed = time.process_time() - before, time.monotonic() - began
        writer.close()
    return Result(max(count // per_block, 1) * per_block, 0, cpu_spent, passed)


class Stalling:
    """A log whose disk stands still for STALL_SECONDS at every STALL_EVERY_APPENDS-th append."""

    def __init__(self, writer: TopicWriter) -> None:
        """Take over the writer that does the work."""
        self._writer = writer
        self._appends = 0

    def append(self, kind: str, received_at: int, body: bytes) -> int:
        """Append, perhaps after standing still."""
        self._appends += 1
        if self._appends % STALL_EVERY_APPENDS == 0:
            time.sleep(STALL_SECONDS)
        return self._writer.append(kind, received_at, body)


def stalling(directory: Path) -> TopicWriter:
    """Return the writer of the durable log on a disk that stalls."""
    return Stalling(segments(directory))


def sustain(
    sender: Sender, rate: int, seconds: float, writer_of: Callable[[Path], TopicWriter]
) -> str:
    """Send at a rate for so long to the receiver on a core of its own; return what came of it."""
    clock = real_clock()
    with tempfile.TemporaryDirectory() as folder:
        with on_core(cores()[0]):
            receiving = own_collector(Path(folder), clock, 0, writer_of)
            collector = receiving.__enter__()
        try:
            before = cpu_seconds(collector.pids)
            sent = sender.send(Order(collector.port, rate, int(rate * seconds), clock))
            while udp_socket(collector.port)[0]:
                time.sleep(0.05)
            drops = udp_socket(collector.port)[1]
            used = cpu_seconds(collector.pids) - before
            taken = collector.finish().flows or 0
        finally:
            receiving.__exit__(None, None, None)
    missing = sent.datagrams - taken // RECORDS_PER_DATAGRAM
    overflow = collector.counts.get("flow_overflow_datagrams", 0)
    return (
        f"{sent.rate:>9,.0f} datagrams/s for {sent.seconds:.0f} s  {used / sent.seconds:4.2f} of a"
        f" core  dropped by the kernel {drops:,}, by the queue {overflow:,}; missing {missing:,}"
    )


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


def _per_datagram(result: Result) -> float:
    return result.cpu_seconds / result.datagrams


def main() -> None:
    """Print datagrams/s, CPU seconds per million flows, the ratios to bare loops, and loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datagrams", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=100_000, help="datagrams a second, sustained")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    bare = measure(receive_only, options.datagrams)
    print(bare.line("bare recv_into loop"), flush=True)
    told = measure(receive_messages, options.datagrams)
    print(told.line("bare recvmsg_into loop"), flush=True)
    append = append_only(options.datagrams)
    print(append.line("append alone"), flush=True)
    real = measure(receive_into_segments, options.datagrams)
    print(real.line("receive into segments"), flush=True)
    ratio = _per_datagram(real) / _per_datagram(bare)
    speed = (real.datagrams / real.wall_seconds) / (bare.datagrams / bare.wall_seconds)
    print(f"receive against bare loop: {speed:.2f} of its rate, {ratio:.2f} times its CPU")
    least = _per_datagram(told) + _per_datagram(append)
    ratio = _per_datagram(real) / least
    print(f"receive against recvmsg_into and append: {ratio:.2f} times their CPU", end=" ")
    print(f"(target {TARGET_RATIO})", flush=True)
    with sending(Shape(flows=240_000), cores()[1]) as sender:
        for name, writer_of in (("sound disk", segments), ("disk that stalls", stalling)):
            result = sustain(sender, options.rate, options.seconds, writer_of)
            print(f"receive, {name:17} {result}", flush=True)


if __name__ == "__main__":
    main()
