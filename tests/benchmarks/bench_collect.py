"""The collectors of a cluster over a real Kafka, beside the embedded ones in the same run.

Datagrams a second into spool and Kafka; accounting requests a second durable and answered, and how
long an answer takes at a steady rate, where it waits for Kafka ("log") and where it does not
("spool"). One broker on this machine, so that its CPU comes out of the same cores.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import selectors
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from kafka import KafkaAdminClient

from collectors.adapters import flow_receiver, radius_listener
from collectors.adapters.kafka_publisher import RawTopic
from collectors.adapters.segments import SegmentWriter
from collectors.adapters.spool import SpoolingWriter
from collectors.config import FlowReceiverConfig, NasConfig, RadiusConfig, SpoolConfig
from collectors.datagrams import encode_datagrams
from collectors.metrics import Counters
from collectors.partitioning import split_flows, split_packets
from collectors.radius.log_codec import encode_packets
from rating.connections import KafkaConfig
from rating.ports import TopicWriter
from tests.benchmarks.bench_radius import NAS_SOCKETS, SECRET, interim
from tests.benchmarks.bench_receive import DATAGRAM, Result, measure, receive_into_segments
from tests.cluster.servers import Kafka

PARTITIONS = int(os.environ.get("FLOWRATE_TEST_PARTITIONS", "64"))
WRITERS = ("segments", "spool", "log")
"""Embedded; answered when this disk has it; answered when Kafka has it."""
ANSWER_TIMEOUT_SECONDS = 20.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def writer_of(
    kind: str, topic: str, bootstrap: str, directory: Path, counters: Counters
) -> TopicWriter:
    if kind == "segments":
        return SegmentWriter(directory)
    split = split_flows if topic.startswith("flows") else split_packets
    raw = RawTopic(topic, PARTITIONS, f"{topic}@bench", split, waits_for_kafka=kind == "log")
    kafka = KafkaConfig(bootstrap_servers=(bootstrap,))
    writer = SpoolingWriter(directory, raw, SpoolConfig(), kafka, counters)
    # What connecting costs is not what a datagram costs.
    body = encode_datagrams([]) if split is split_flows else encode_packets([])
    writer.append("data", 1, body)
    while writer.waiting_octets:
        time.sleep(0.01)
    return writer


def receive_into_spool(bootstrap: str, count: int, pipe: Connection) -> None:
    """Run the flow receiver until `count` datagrams are in Kafka or lost."""
    stop, counters = threading.Event(), Counters()

    def on_listening(ports: list[int]) -> None:
        pipe.send(ports[0])
        threading.Thread(target=watch, daemon=True).start()

    def watch() -> None:
        while counters.get("flow_appended_datagrams") + counters.get("flow_kernel_drops") < count:
            time.sleep(0.01)
        stop.set()

    with tempfile.TemporaryDirectory() as directory:
        config = FlowReceiverConfig(
            listen=("127.0.0.1:0",), queue_octets=count * (len(DATAGRAM) + 64)
        )
        writer = writer_of("spool", "flows", bootstrap, Path(directory), counters)
        before = time.process_time()
        flow_receiver.run(
            config, writer, now_ms=now_ms, stop=stop, counters=counters, on_listening=on_listening
        )
        assert isinstance(writer, SpoolingWriter)
        assert writer.close(60)
        cpu_seconds = time.process_time() - before
    drops = counters.get("flow_kernel_drops")
    pipe.send((counters.get("flow_appended_datagrams"), drops, cpu_seconds))


def serve(kind: str, bootstrap: str, pipe: Connection) -> None:
    """Run the accounting listener until the other side says something."""
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
        writer = writer_of(kind, "radius", bootstrap, Path(directory), counters)
        before = time.process_time()
        radius_listener.run(
            config, writer, now_ms=now_ms, stop=stop, counters=counters, on_listening=on_listening
        )
        cpu_seconds = time.process_time() - before
        if isinstance(writer, SpoolingWriter):
            writer.close()
    pipe.send((counters.get("radius_durable_packets"), cpu_seconds))


class Crowd:
    """NASes that ask and remember when; an answer is known by socket and identifier."""

    def __init__(self, port: int) -> None:
        self.latencies: list[float] = []
        self._waiting: dict[tuple[int, int], float] = {}
        self._selector = selectors.DefaultSelector()
        self._sockets = []
        for nas in range(NAS_SOCKETS):
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.connect(("127.0.0.1", port))
            opened.setblocking(False)
            self._selector.register(opened, selectors.EVENT_READ, nas)
            self._sockets.append(opened)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def ask(self, number: int, request: bytes) -> None:
        nas = number % NAS_SOCKETS
        self._waiting[(nas, request[1])] = time.perf_counter()
        self._sockets[nas].send(request)

    def hear(self, timeout_seconds: float) -> None:
        for key, _ in self._selector.select(timeout_seconds):
            opened = self._sockets[key.data]
            while True:
                try:
                    answer = opened.recv(4_096)
                except BlockingIOError:
                    break
                asked = self._waiting.pop((key.data, answer[1]))
                self.latencies.append(time.perf_counter() - asked)


def requests_of(count: int) -> list[bytes]:
    """Return requests whose identifiers repeat at one NAS after 256 of its own."""
    return [_interim_of(number) for number in range(count)]


def _interim_of(number: int) -> bytes:
    # The identifier counts per NAS: request n of the crowd is number n // 16 of its own NAS.
    return interim(number // NAS_SOCKETS + 256 * (number % NAS_SOCKETS) * 1_000)


def steady(crowd: Crowd, requests: Sequence[bytes], rate: int) -> None:
    """Ask `rate` times a second, whatever is answered."""
    began = time.perf_counter()
    for number, request in enumerate(requests):
        while (left := began + number / rate - time.perf_counter()) > 0:
            crowd.hear(min(left, 0.001))
        crowd.ask(number, request)
    _hear_all(crowd)


def crowded(crowd: Crowd, requests: Sequence[bytes], window: int) -> None:
    """Keep `window` requests under way."""
    for number, request in enumerate(requests):
        while crowd.waiting >= window:
            crowd.hear(0.01)
        crowd.ask(number, request)
        if not number % 32:
            crowd.hear(0)
    _hear_all(crowd)


def _hear_all(crowd: Crowd) -> None:
    deadline = time.perf_counter() + ANSWER_TIMEOUT_SECONDS
    while crowd.waiting and time.perf_counter() < deadline:
        crowd.hear(0.05)
    if crowd.waiting:
        raise SystemExit(f"{crowd.waiting} requests have no answer")


def radius(kind: str, bootstrap: str, count: int, rate: int) -> tuple[float, str]:
    """Return requests/s with many under way, and a line about them and a steady rate."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(kind, bootstrap, theirs), daemon=True)
    process.start()
    theirs.close()
    port = ours.recv()
    warm = Crowd(port)
    crowded(warm, requests_of(512), 64)
    crowd, requests = Crowd(port), requests_of(count)
    began = time.perf_counter()
    crowded(crowd, requests, 1_024)
    per_second = count / (time.perf_counter() - began)
    paced = Crowd(port)
    steady(paced, requests_of(rate * 5), rate)
    ours.send("stop")
    durable, cpu_seconds = ours.recv()
    process.join()
    cuts = statistics.quantiles(paced.latencies, n=100)
    return per_second, (
        f"radius {kind:9} {per_second:>8,.0f} requests/s  "
        f"{cpu_seconds / durable * 1e6:6.1f} CPU us each  at {rate:,}/s: "
        f"p50 {cuts[49] * 1e3:6.2f} ms  p99 {cuts[98] * 1e3:6.2f} ms"
    )


def flows(receiver: Callable[[int, Connection], None], name: str, count: int) -> Result:
    result = measure(receiver, count)
    print(result.line(name), flush=True)
    return result


def main() -> None:
    """Print what each collector takes, and the ratios to the embedded one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datagrams", type=int, default=200_000)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rate", type=int, default=2_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        broker = Kafka(Path(directory))
        broker.start()
        try:
            _compare(broker.bootstrap, options)
        finally:
            broker.kill()


def _compare(bootstrap: str, options: argparse.Namespace) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    wanted = {"num_partitions": PARTITIONS, "replication_factor": 1}
    wanted["configs"] = {"max.message.bytes": "8388608"}  # type: ignore[assignment]
    admin.create_topics({"flows": wanted, "radius": wanted})
    admin.close()
    embedded = flows(receive_into_segments, "receive into segments", options.datagrams)
    cluster = flows(
        functools.partial(receive_into_spool, bootstrap), "into spool and Kafka", options.datagrams
    )
    print(
        f"spool and Kafka against segments: {embedded.wall_seconds / cluster.wall_seconds:.2f} of"
        f" the rate, {cluster.cpu_seconds / embedded.cpu_seconds:.2f} times the CPU",
        flush=True,
    )
    rates = {}
    for kind in WRITERS:
        rates[kind], line = radius(kind, bootstrap, options.requests, options.rate)
        print(line, flush=True)
    print(
        f"radius against segments: spool {rates['spool'] / rates['segments']:.2f},"
        f" log {rates['log'] / rates['segments']:.2f} of the rate"
    )


if __name__ == "__main__":
    main()
