"""`flowrate collect flows` and `collect radius` as processes: killed, started, ended in order."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaAdminClient
from sqlalchemy import create_engine

from collectors.adapters import flow_receiver, radius_listener
from collectors.adapters.growing_spool import untaken
from collectors.adapters.kafka_publisher import RawTopic
from collectors.adapters.spool import SpoolingWriter
from collectors.config import FlowReceiverConfig, NasConfig, RadiusConfig, SpoolConfig
from collectors.datagrams import decode_datagrams
from collectors.drops import split_reports
from collectors.leases import producer_of
from collectors.metrics import Counters
from collectors.partitioning import split_flows, split_packets
from collectors.radius.log_codec import decode_packets
from infra.settings import load_settings
from infra.wiring.engine import stage_configs
from rating.envelopes import EXPIRED, LEFT, LIVE
from streams.adapters import postgres_growth
from streams.adapters.postgres_tables import create_tables
from streams.progress import Seen, Standing
from streams.topology import build_stages
from tests.cluster.processes import free_port
from tests.cluster.raw_topics import Reader, create_topic
from tests.cluster.servers import Kafka
from tests.cluster.test_spool import broker, client, own_broker
from tests.collectors.adapters.running import eventually, now_ms
from tests.collectors.radius.packets import request
from tests.infra.waiting import wait_until

__all__ = ["broker", "own_broker"]

ROOT = Path(__file__).parent.parent.parent
PARTITIONS = 3
SETTINGS = """
mode = "cluster"
data_dir = "data"
[cluster]
database_url = "{database_url}"
[cluster.kafka]
bootstrap_servers = ["{bootstrap}"]
request_timeout_milliseconds = 3000
delivery_timeout_milliseconds = 6000
[cluster.spool]
collector_id = "{collector_id}"
radius_ack_after = "{ack_after}"
lease_seconds = 2.0
[collectors.flows]
listen = ["127.0.0.1:{port}"]
block_milliseconds = 20
[collectors.radius]
listen = ["127.0.0.1:{port}"]
clients = [{{nas_id = "bng1", address = "127.0.0.0/8", secret = "testing123"}}]
[metrics]
is_enabled = false
"""


class Role:
    """One collector process of a cluster, which may be killed and started again."""

    def __init__(self, directory: Path, role: str, **settings: object) -> None:
        directory.mkdir(exist_ok=True)
        self.port = free_udp_port()
        self.file = directory / "flowrate.toml"
        known = {"collector_id": "a", "ack_after": "spool", "port": self.port}
        self.file.write_text(SETTINGS.format(**known | settings))
        self.spool = directory / "data" / "spool"
        self._role = role
        self._log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        seen = self.told().count("on UDP")
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "infra.cli", "collect", self._role),
                    *("--config", str(self.file)),
                ],
                cwd=ROOT,
                stderr=log,
            )
        wait_until(lambda: self.told().count("on UDP") > seen, "the role listens", 40)

    def told(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(40)
        self.process = None
        return status


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attempt:
        attempt.bind(("127.0.0.1", 0))
        return int(attempt.getsockname()[1])


@pytest.fixture
def cluster(kafka: Kafka, database_url: str) -> dict[str, str]:
    """A broker and a database whose topics have the generation 1."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        create_tables(connection, partitions=PARTITIONS)
    engine.dispose()
    return {"database_url": database_url, "bootstrap": kafka.bootstrap}


@pytest.fixture
def raw_topics(kafka: Kafka) -> Iterator[None]:
    """The raw topics of generation 1, empty."""
    names = ["flow.datagrams.g1", "radius.accounting.g1"]
    for name in names:
        create_topic(kafka, name, PARTITIONS)
    yield
    delete_topics(kafka, names)


def delete_topics(kafka: Kafka, names: list[str]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.delete_topics(names)
    admin.close()
    time.sleep(1)


@pytest.mark.usefixtures("raw_topics")
def test_numbers_stay_dense_over_kills_of_a_flow_collector(
    kafka: Kafka, cluster: dict[str, str], tmp_path: Path
) -> None:
    role = Role(tmp_path / "a", "flows", **cluster)
    stop, sent = threading.Event(), [0]

    def send() -> None:
        exporters = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
        for number, exporter in enumerate(exporters):
            exporter.bind((f"127.0.0.{number + 2}", 0))
        while not stop.is_set():
            for exporter in exporters:
                exporter.sendto(b"%08d" % sent[0] + bytes(400), ("127.0.0.1", role.port))
                sent[0] += 1
            time.sleep(0.001)
        for exporter in exporters:
            exporter.close()

    sender = threading.Thread(target=send)
    reader = Reader(kafka, "flow.datagrams.g1", PARTITIONS)
    try:
        role.start()
        sender.start()
        for run in range(4):
            time.sleep(random.Random(run).uniform(0.7, 1.5))
            assert role.end(signal.SIGKILL) == -signal.SIGKILL
            role.start()
        time.sleep(1)
        stop.set()
        sender.join()
        assert role.end(signal.SIGTERM) == 0
    finally:
        stop.set()
        if role.process:
            role.end(signal.SIGKILL)
    assert reader.until(lambda: [m.state for m in reader.marks()].count(LEFT) == PARTITIONS)
    numbers: list[int] = []
    for received in reader.partitions.values():
        last_of: dict[bytes, int] = {}
        for envelope in received.envelopes:
            block, _ = split_reports(decode_datagrams(envelope.body))
            for datagram in map(block.datagram, range(len(block))):
                number = int(datagram.payload[:8])
                assert number > last_of.get(datagram.source_address, -1)
                last_of[datagram.source_address] = number
                numbers.append(number)
        assert received.marks[-1].state == LEFT
        assert received.marks[-1].number == received.number.get("flows@a", 0)
        began = {e.number: decode_datagrams(e.body).received_at[0] for e in received.envelopes}
        for mark in received.marks:
            behind = [at for number, at in began.items() if number > mark.number]
            assert min(behind, default=mark.watermark_at) >= mark.watermark_at
    assert len(numbers) == len(set(numbers))
    assert len(numbers) > sent[0] // 4
    reader.close()


@pytest.mark.usefixtures("raw_topics")
@pytest.mark.parametrize("ack_after", ["log", "spool"])
def test_what_a_radius_collector_answered_is_in_kafka_whatever_killed_it(
    kafka: Kafka, cluster: dict[str, str], tmp_path: Path, ack_after: str
) -> None:
    role = Role(tmp_path / "a", "radius", ack_after=ack_after, **cluster)
    answered: list[bytes] = []
    stop = threading.Event()

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nas:
            nas.settimeout(0.5)
            number = 0
            while not stop.is_set():
                packet = request(session_id=b"S%06d" % number, identifier=number % 256)
                number += 1
                for _ in range(20):
                    nas.sendto(packet, ("127.0.0.1", role.port))
                    try:
                        if nas.recv(4_096)[1] == packet[1]:
                            answered.append(packet)
                            break
                    except OSError:
                        continue

    asking = threading.Thread(target=ask)
    reader = Reader(kafka, "radius.accounting.g1", PARTITIONS)
    try:
        role.start()
        asking.start()
        for run in range(4):
            time.sleep(random.Random(run).uniform(0.5, 1.2))
            role.end(signal.SIGKILL)
            role.start()
        time.sleep(1)
        stop.set()
        asking.join()
        assert role.end(signal.SIGTERM) == 0
    finally:
        stop.set()
        if role.process:
            role.end(signal.SIGKILL)
    assert reader.until(lambda: [m.state for m in reader.marks()].count(LEFT) == PARTITIONS)
    logged = {packet.packet for body in reader.bodies() for packet in decode_packets(body)}
    assert len(answered) > 20
    assert set(answered) <= logged
    reader.close()


@pytest.mark.usefixtures("raw_topics")
def test_a_collector_starts_without_postgres_once_it_knows_its_topics(
    kafka: Kafka, cluster: dict[str, str], tmp_path: Path
) -> None:
    role = Role(tmp_path / "a", "flows", **cluster)
    role.start()
    assert role.end(signal.SIGTERM) == 0
    told = role.file.read_text()
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    role.file.write_text(told.replace(cluster["database_url"], nowhere))
    reader = Reader(kafka, "flow.datagrams.g1", PARTITIONS)
    role.start()
    try:
        assert reader.until(lambda: [m.state for m in reader.marks()].count(LIVE) >= 3)
    finally:
        assert role.end(signal.SIGTERM) == 0
    assert "the lease is not renewed" in role.told()
    reader.close()


@pytest.mark.usefixtures("raw_topics")
def test_a_collector_turns_to_topics_that_have_grown_without_a_pause(
    kafka: Kafka, cluster: dict[str, str], tmp_path: Path
) -> None:
    create_topic(kafka, "flow.datagrams.g2", 5)
    role = Role(tmp_path / "a", "flows", **cluster)
    role.start()
    assert role.process is not None
    number = [0]
    engine = create_engine(
        cluster["database_url"].replace("postgresql://", "postgresql+psycopg://")
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:

        def send(seconds: float) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                exporter.sendto(b"%08d" % number[0] + bytes(100), ("127.0.0.1", role.port))
                number[0] += 1
                time.sleep(0.002)

        send(1.5)
        with engine.begin() as connection:
            postgres_growth.plan(connection, 5)
            postgres_growth.switch(connection)
        send(6.0)
    readers = [Reader(kafka, f"flow.datagrams.g{g}", p) for g, p in ((1, PARTITIONS), (2, 5))]
    try:
        for reader in readers:
            assert reader.until(lambda r=reader: len(r.marks()) >= 5)  # type: ignore[misc]
        assert role.process.poll() is None
        with engine.connect() as connection:
            [(state, generation)] = connection.exec_driver_sql(
                "select state, generation from collector_lease"
            ).fetchall()
        assert (state, generation) == ("live", 2)
    finally:
        assert role.end(signal.SIGTERM) == 0
    engine.dispose()
    payloads: list[list[int]] = []
    for reader in readers:
        reader.until(lambda: False, 2.0)
        blocks = [split_reports(decode_datagrams(body))[0] for body in reader.bodies()]
        payloads.append(
            [int(block.datagram(n).payload[:8]) for block in blocks for n in range(len(block))]
        )
        assert {received.marks[-1].state for received in reader.partitions.values()} == {LEFT}
        reader.close()
    delete_topics(kafka, ["flow.datagrams.g2"])
    assert all(payloads), "both generations got some"
    assert max(payloads[0]) < min(payloads[1])
    assert sorted(payloads[0] + payloads[1]) == list(range(number[0]))


@pytest.mark.usefixtures("raw_topics")
def test_a_collector_that_was_away_while_topics_grew_brings_exactly_what_was_not_taken(
    kafka: Kafka, cluster: dict[str, str], tmp_path: Path
) -> None:
    create_topic(kafka, "flow.datagrams.g2", 5)
    role = Role(tmp_path / "a", "flows", **cluster)
    role.start()
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            exporter.sendto(b"%08d" % sent + bytes(100), ("127.0.0.1", role.port))
            sent += 1
            time.sleep(0.001)
    assert role.end(signal.SIGKILL) == -signal.SIGKILL
    spooled = sorted(
        payloads_of(
            [b for _, _, bodies in untaken(role.spool / "flow.datagrams.g1", {}) for b in bodies]
        )
    )
    former = Reader(kafka, "flow.datagrams.g1", PARTITIONS)
    former.until(lambda: False, 2.0)
    # The last block that Kafka has came too late for the workers.
    taken = {p: received.number.get("flows@a", 0) for p, received in former.partitions.items()}
    taken = {p: max(0, number - 1) for p, number in taken.items()}
    before = payloads_of(
        [
            envelope.body
            for p, received in former.partitions.items()
            for envelope in received.envelopes
            if envelope.number <= taken[p]
        ]
    )
    former.close()
    assert before
    engine = create_engine(
        cluster["database_url"].replace("postgresql://", "postgresql+psycopg://")
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("update collector_lease set state = 'expired'")
        for partition, number in taken.items():
            seen = {"flow.datagrams": {"flows@a": Seen(number, 1, EXPIRED, True, 2)}}
            connection.exec_driver_sql(
                "insert into stage_task values(%s, 1, 0, 0, %s)",
                (f"decode/{partition}", msgspec.msgpack.encode(Standing(seen=seen))),
            )
        postgres_growth.plan(connection, 5)
        postgres_growth.switch(connection)
        stages = build_stages(stage_configs(load_settings(role.file, ())))
        postgres_growth.grow(connection, stages, lambda: Counter(), producer_of)
    engine.dispose()
    role.start()
    reader = Reader(kafka, "flow.datagrams.g2", 5)
    try:
        assert eventually(lambda: not (role.spool / "flow.datagrams.g1").exists())
    finally:
        assert role.end(signal.SIGTERM) == 0
    assert reader.until(lambda: [m.state for m in reader.marks()].count(LEFT) == 5)
    after = payloads_of(reader.bodies())
    reader.close()
    delete_topics(kafka, ["flow.datagrams.g2"])
    assert after
    assert sorted(before + after) == spooled


def payloads_of(bodies: Sequence[bytes]) -> list[int]:
    blocks = [split_reports(decode_datagrams(body))[0] for body in bodies]
    return [int(block.datagram(n).payload[:8]) for block in blocks for n in range(len(block))]


class Shells:
    """Both collectors in threads of this process, over spools that are soon full."""

    FLOWS = FlowReceiverConfig(
        listen=("127.0.0.1:0",),
        block_octets=20_000,
        queue_octets=40_000,
        block_milliseconds=20,
        append_retry_milliseconds=50,
    )
    RADIUS = RadiusConfig(
        listen=("127.0.0.1:0",),
        clients=(NasConfig("bng1", "127.0.0.1", "testing123"),),
        marker_interval_milliseconds=50,
    )

    def __init__(self, broker: Kafka, directory: Path) -> None:
        self.flows, self.radius = Counters(), Counters()
        self._stop = threading.Event()
        config = SpoolConfig(octets_max=60_000)
        self._spools = []
        for name, split, to in (
            ("full.flows", split_flows, self.flows),
            ("full.radius", split_packets, self.radius),
        ):
            topic = RawTopic(name, 2, f"{name}@a", split)
            spool = SpoolingWriter(directory / name, topic, config, client(broker), to)
            self._spools.append(spool)
        self._threads: list[threading.Thread] = []
        self.flow_port = self._start(flow_receiver.run, self.FLOWS, self._spools[0], self.flows)
        self.radius_port = self._start(
            radius_listener.run, self.RADIUS, self._spools[1], self.radius
        )

    def _start(
        self, run: Callable[..., None], config: object, writer: SpoolingWriter, to: Counters
    ) -> int:
        ports: list[int] = []
        arguments = {"now_ms": now_ms, "stop": self._stop, "counters": to}
        arguments["on_listening"] = ports.extend
        thread = threading.Thread(target=run, args=(config, writer), kwargs=arguments)
        thread.start()
        self._threads.append(thread)
        assert eventually(lambda: bool(ports))
        return ports[0]

    def end(self) -> bool:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)
        left = [spool.close() for spool in self._spools]
        return all(left)


def test_a_full_spool_makes_radius_silent_and_flow_loss_counted(
    broker: Kafka, tmp_path: Path
) -> None:
    for name in ("full.flows", "full.radius"):
        create_topic(broker, name, 2)
    shells = Shells(broker, tmp_path)
    flows, radius = shells.flows, shells.radius
    broker.pause()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(1.0)

        def ask(number: int) -> bool:
            filler = [(25, bytes(253))] * 14
            packet = request(*filler, session_id=b"S%d" % number, identifier=number % 256)
            peer.sendto(packet, ("127.0.0.1", shells.radius_port))
            try:
                return peer.recv(4_096)[1] == packet[1]
            except TimeoutError:
                return False

        def overflows() -> bool:
            peer.sendto(bytes(1_400), ("127.0.0.1", shells.flow_port))
            return flows.get("flow_overflow_datagrams") > 0

        answers = [ask(number) for number in range(17)]
        assert answers[:10] == [True] * 10, "the spool has room"
        assert not ask(17), "a full spool means silence"
        assert radius.get("spool_refused_full") > 0
        assert radius.get("radius_unanswered_packets") > 0
        assert eventually(overflows)
        assert flows.get("spool_refused_full") > 0
        broker.resume()
        assert eventually(lambda: ask(18)), "answers again once Kafka takes what waits"
        appended = flows.get("flow_appended_blocks")
        assert eventually(lambda: overflows() and flows.get("flow_appended_blocks") > appended + 2)
    assert shells.end()
