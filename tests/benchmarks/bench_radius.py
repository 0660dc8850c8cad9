"""How many accounting requests a second are durable and answered; `--requests N` sets how many.

One process is the listener over real segments (each group one synced transaction), the other a
crowd of NASes that keeps a number of requests unanswered. Every request is another session's
interim update of 14 attributes; every answer is counted once and its identifier checked.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from collectors.adapters import radius_listener
from collectors.adapters.segments import SegmentWriter
from collectors.config import NasConfig, RadiusConfig
from collectors.metrics import Counters
from collectors.radius.packet import ACCOUNTING_REQUEST, sign_request

SECRET = "testing123"
NAS_SOCKETS = 16
ANSWER_TIMEOUT_SECONDS = 10.0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def interim(number: int, *, identifier: int = -1, session_seconds: int = 3_600) -> bytes:
    """Return an interim update of the number-th session, of 14 attributes."""

    def integer(attribute_type: int, value: int) -> tuple[int, bytes]:
        return attribute_type, struct.pack("!I", value)

    attributes = [
        integer(40, 3),
        (44, b"%08x" % number),
        (1, b"subscriber-%07d" % number),
        (4, bytes((10, 255, 0, 1))),
        (32, b"bng-dhaka-1"),
        (8, struct.pack("!I", 0x0A000000 + number)),
        (31, b"00:11:22:33:44:55"),
        (87, b"ge-0/0/1.100:1234"),
        integer(42, number * 7),
        integer(43, number * 91 % 2**32),
        integer(52, 0),
        integer(53, 3),
        integer(46, session_seconds),
        integer(55, _now_ms() // 1000),
    ]
    identifier = number % 256 if identifier < 0 else identifier
    return sign_request(ACCOUNTING_REQUEST, identifier, attributes, SECRET.encode())


def serve(pipe: Connection) -> None:
    """Run the listener until the other side says something; send back what it counted."""
    stop, counters = threading.Event(), Counters()

    def stop_when_told() -> None:
        pipe.recv()
        stop.set()

    def on_listening(ports: list[int]) -> None:
        pipe.send(ports[0])
        threading.Thread(target=stop_when_told, daemon=True).start()

    config = RadiusConfig(
        listen=("127.0.0.1:0",), clients=(NasConfig("bng1", "127.0.0.1", SECRET),)
    )
    with tempfile.TemporaryDirectory() as directory:
        writer = SegmentWriter(Path(directory))
        before = time.process_time()
        radius_listener.run(
            config, writer, now_ms=_now_ms, stop=stop, counters=counters, on_listening=on_listening
        )
        cpu_seconds = time.process_time() - before
        blocks = writer.next_number - 1
        writer.close()
    pipe.send((counters.get("radius_durable_packets"), blocks, cpu_seconds))


def _ask(nases: Sequence[socket.socket], requests: Sequence[bytes], window: int) -> int:
    """Send every request, `window` of each NAS at a time; return how many answers fit."""
    answered = 0
    for first in range(0, len(requests), window * len(nases)):
        shares = [
            requests[first + nas * window : first + (nas + 1) * window] for nas in range(len(nases))
        ]
        for nas, share in zip(nases, shares, strict=True):
            for request in share:
                nas.send(request)
        for nas, share in zip(nases, shares, strict=True):
            waiting = {request[1] for request in share}
            for _ in share:
                waiting.discard(nas.recv(4_096)[1])
            answered += len(share) - len(waiting)
    return answered


def measure(count: int, window: int) -> str:
    """Return a line about `count` requests with `window` of them under way at each NAS."""
    requests = [interim(number) for number in range(count)]
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    port = ours.recv()
    nases = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(NAS_SOCKETS)]
    for nas in nases:
        nas.connect(("127.0.0.1", port))
        nas.settimeout(ANSWER_TIMEOUT_SECONDS)
    began = time.monotonic()
    answered = _ask(nases, requests, window)
    wall_seconds = time.monotonic() - began
    for nas in nases:
        nas.close()
    ours.send("stop")
    durable, blocks, cpu_seconds = ours.recv()
    process.join()
    if not answered == durable == count:
        raise SystemExit(f"{count} asked, {durable} durable, {answered} answered")
    return (
        f"radius {window * NAS_SOCKETS:5} under way  {count / wall_seconds:>8,.0f} requests/s "
        f"durable and answered  {cpu_seconds / count * 1e6:5.1f} CPU us each  "
        f"{count / max(blocks, 1):6.1f} a block"
    )


def main() -> None:
    """Print requests/s for few and for many requests under way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=40_000)
    count = parser.parse_args().requests
    for window, share in ((1, 4), (8, 1), (64, 1)):
        print(measure(count // share, window))


if __name__ == "__main__":
    main()
