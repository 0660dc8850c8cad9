"""From the accounting packet at the RADIUS collector to the throttle: a NAS under steady load.

The NAS is a process of its own. It sends interim updates at a rate and, now and then, one that
takes its line over the allowance; it answers CoA and remembers when each came. When the decision
was committed PostgreSQL tells (track_commit_timestamp).

There are so many lines that each sends once in an interim interval. The first update of every line
tells of all the time since its start, so measuring begins with the second.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from billing.adapters.databases import reading
from collectors.radius.packet import ACCOUNTING_RESPONSE
from infra.simulation.accounting_packets import NasIdentity, ServiceChange, answer_change
from tests.benchmarks import cluster_load
from tests.benchmarks.cluster_load import INTERIM, START, Load
from tests.benchmarks.cluster_machine import Cluster, Spent, cpu_seconds, difference
from tests.cluster.processes import free_port

NAS_SOCKETS = 32
TURN_SECONDS = 0.005
THROTTLING_OCTETS = 2 * cluster_load.ALLOWANCE_OCTETS
WARM_UP_SECONDS = 10
"""Beyond the first interim interval."""
CROSSINGS_PER_SECOND = 20
LINGER_SECONDS = 10.0
JOINING_SECONDS = 5.0
"""For what is left of a rebalance once every worker has been given something."""


@dataclasses.dataclass(frozen=True, slots=True)
class Drive:
    """What the NAS does: packets/s to warm up, and then for so many seconds more."""

    radius_port: int
    coa_port: int
    packets_per_second: int
    interim_seconds: int
    seconds: int

    @property
    def lines(self) -> int:
        """How many lines send once in an interim interval."""
        return self.packets_per_second * self.interim_seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What the NAS saw: per session when it sent the crossing packet and when a CoA came (s)."""

    sent_at: dict[str, float]
    changed_at: dict[str, float]
    answer_seconds: list[float]
    sent: int
    late_seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from packet to answer, to committed decision and to CoA, and what was used."""

    answers: Sequence[float]
    decisions: Sequence[float]
    changes: Sequence[float]
    crossings: int
    sent: int
    late_seconds: float
    cpu_seconds: dict[str, float]
    spent: Spent


class _Nas:
    """Sockets, requests under way, and what was seen."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive
        self._selector = selectors.DefaultSelector()
        self._sockets = [self._open(0) for _ in range(NAS_SOCKETS)]
        self._coa = self._open(drive.coa_port)
        self._under_way: dict[tuple[int, int], float] = {}
        self._octets = [0] * drive.lines
        self._began_at = time.time()
        self._identity = NasIdentity("127.0.0.1", "nas", cluster_load.SECRET.encode())
        self._next_crossing = 0
        self.seen = Seen({}, {}, [], 0, 0.0)
        self.sent = 0
        self.late_seconds = 0.0

    def _open(self, port: int) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_194_304)
        opened.bind(("127.0.0.1", port))
        opened.setblocking(False)
        self._selector.register(opened, selectors.EVENT_READ)
        return opened

    def send(self, line: int, status: int) -> None:
        now = time.time()
        self._octets[line] += 40_000
        packet = cluster_load.accounting_request(
            line, status, int(now), int(now - self._began_at), self._octets[line]
        )
        number = line // 256 % NAS_SOCKETS
        self._under_way[number, line % 256] = time.monotonic()
        self._sockets[number].sendto(packet, ("127.0.0.1", self._drive.radius_port))
        self.sent += 1

    def cross(self) -> None:
        """Send the packet that takes the next line over its allowance."""
        line, self._next_crossing = self._next_crossing, self._next_crossing + 1
        if line < self._drive.lines:
            self._octets[line] += THROTTLING_OCTETS
            self.seen.sent_at[cluster_load.session_of(line)] = time.time()
            self.send(line, INTERIM)

    def listen(self, seconds: float) -> None:
        """Take answers and requests for at least so long."""
        until = time.monotonic() + seconds
        while True:
            for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
                self._read(key.fileobj)  # type: ignore[arg-type]
            if time.monotonic() >= until:
                return

    def _read(self, opened: socket.socket) -> None:
        while True:
            try:
                datagram, source = opened.recvfrom(4_096)
            except BlockingIOError:
                return
            if opened is self._coa:
                answer = answer_change(datagram, self._identity, self._changed)
                if answer is not None:
                    opened.sendto(answer, source)
            elif datagram[0] == ACCOUNTING_RESPONSE:
                key = self._sockets.index(opened), datagram[1]
                began = self._under_way.pop(key, None)
                if began is not None:
                    self.seen.answer_seconds.append(time.monotonic() - began)

    def _changed(self, change: ServiceChange) -> bool:
        self.seen.changed_at.setdefault(change.acct_session_id, time.time())
        return True


def drive_nas(drive: Drive, pipe: Connection) -> None:
    """Be the NAS: start every line, say so, wait for the word, then send as `drive` says.

    It says too when it is warm, and what it has seen since then.
    """
    nas = _Nas(drive)
    pipe.send("bound")
    for line in range(drive.lines):
        nas.send(line, START)
        if line % 20 == 19:
            nas.listen(0.02)
    pipe.send("started")
    while not pipe.poll():
        nas.listen(0.2)
    pipe.recv()
    warm_up_seconds = drive.interim_seconds + WARM_UP_SECONDS
    line = _send_steadily(nas, drive, 0, warm_up_seconds, crossings_per_second=0)
    pipe.send("warm")
    nas.seen.answer_seconds.clear()
    sent_before, nas.late_seconds = nas.sent, 0.0
    _send_steadily(nas, drive, line, drive.seconds, CROSSINGS_PER_SECOND)
    sent, late_seconds = nas.sent - sent_before, nas.late_seconds
    nas.listen(LINGER_SECONDS)
    pipe.send(dataclasses.replace(nas.seen, sent=sent, late_seconds=late_seconds))


def _send_steadily(
    nas: _Nas, drive: Drive, line: int, seconds: int, crossings_per_second: int
) -> int:
    """Send interim updates from a line on, at the rate for so long; return the next line."""
    began, sent, crossings = time.monotonic(), 0, 0
    while (passed := time.monotonic() - began) < seconds:
        while sent < int(passed * drive.packets_per_second):
            nas.send(line, INTERIM)
            line, sent = (line + 1) % drive.lines, sent + 1
        while crossings < int(passed * crossings_per_second):
            nas.cross()
            crossings += 1
        nas.listen(TURN_SECONDS)
        late_seconds = time.monotonic() - began - passed - TURN_SECONDS
        nas.late_seconds = max(nas.late_seconds, late_seconds)
    return line


def measure(
    cluster: Cluster, packets_per_second: int, interim_seconds: int, seconds: int, workers: int
) -> Latency:
    """Run collector, workers and `act` under a NAS's load; the subscribers are appended here."""
    radius_port, coa_port = free_port(), free_port()
    drive = Drive(radius_port, coa_port, packets_per_second, interim_seconds, seconds)
    load = Load(drive.lines)
    cluster.write_settings(radius_port=radius_port, coa_port=coa_port)
    cluster.start_workers(workers)
    # A first round over so many subscribers takes longer than Kafka waits for a rebalance.
    logs = [cluster.directory / f"worker-{number}.log" for number in range(workers)]
    _wait_for(lambda: all("partitions taken over" in log.read_text() for log in logs))
    time.sleep(JOINING_SECONDS)
    cluster.subscribe(load, int(time.time()) // 60 * 60 - 60)
    roles = {
        "collect radius": cluster.start_role("radius", "collect", "radius"),
        "act": cluster.start_role("act", "act"),
    }
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    nas = context.Process(target=drive_nas, args=(drive, theirs), daemon=True)
    try:
        _wait_for(lambda: "on UDP" in (cluster.directory / "radius.log").read_text())
        nas.start()
        return _drive(cluster, load.subscribers, ours, roles)
    finally:
        if nas.pid:
            nas.kill()
        for process in roles.values():
            process.terminate()
        for process in roles.values():
            process.wait(30)


def _drive(
    cluster: Cluster, lines: int, pipe: Connection, roles: dict[str, subprocess.Popen[bytes]]
) -> Latency:
    for _ in ("bound", "started"):
        _wait(cluster, pipe)
        pipe.recv()
    for table in ("live_session", "account_event_result"):
        _wait_for(functools.partial(_has_all, cluster, table, lines), cluster)
    pipe.send("go")
    _wait(cluster, pipe)
    pipe.recv()
    before, standing = _used(cluster, roles), cluster.standing()
    began = time.monotonic()
    _wait(cluster, pipe)
    seen: Seen = pipe.recv()
    wall_seconds = time.monotonic() - began
    after = _used(cluster, roles)
    committed = _decisions(cluster)
    return Latency(
        sorted(seen.answer_seconds),
        sorted(committed[s] - at for s, at in seen.sent_at.items() if s in committed),
        sorted(seen.changed_at[s] - at for s, at in seen.sent_at.items() if s in seen.changed_at),
        len(seen.sent_at),
        seen.sent,
        seen.late_seconds,
        {name: after[name] - before[name] for name in after},
        difference(standing, cluster.standing(), wall_seconds),
    )


def _wait(cluster: Cluster, pipe: Connection) -> None:
    """Wait for the NAS's word; meanwhile a silent flow collector marks each second."""
    while not pipe.poll(1.0):
        cluster.publish([("flow.datagrams", "marker", time.time_ns() // 1_000_000, b"")])


def _wait_for(
    is_so: Callable[[], bool], cluster: Cluster | None = None, seconds: float = 900.0
) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit("the cluster under the NAS does not get ready")
        if cluster is not None:
            cluster.publish([("flow.datagrams", "marker", time.time_ns() // 1_000_000, b"")])
        time.sleep(0.5)


def _has_all(cluster: Cluster, table: str, count: int) -> bool:
    with reading(cluster.database) as connection:
        found = connection.exec_driver_sql(f"select count(*) from {table}").scalar_one()
    return bool(found >= count)


def _decisions(cluster: Cluster) -> dict[str, float]:
    """Return when (s) the throttle of each session's subscriber was committed."""
    with reading(cluster.database) as connection:
        rows = connection.exec_driver_sql(
            "select s.acct_session_id, extract(epoch from pg_xact_commit_timestamp(d.xmin))"
            " from desired_service d join live_session s on s.subscriber_id = d.rating_key"
            " where d.target like 'profile:%%'"
        ).fetchall()
    return {str(session): float(at) for session, at in rows}


def _used(cluster: Cluster, roles: dict[str, subprocess.Popen[bytes]]) -> dict[str, float]:
    used = {
        "workers": sum(cpu_seconds(process.pid) for process in cluster.workers),
        "Kafka": cpu_seconds(cluster.servers.kafka.pid),
        "PostgreSQL": cpu_seconds(cluster.servers.postgres.pid),
    }
    return used | {name: cpu_seconds(process.pid) for name, process in roles.items()}
