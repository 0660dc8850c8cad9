"""RADIUS accounting servers side by side: ours, FreeRADIUS, pyrad's, and the least Python can do.

Ours answers when the request is durable. FreeRADIUS writes a detail file, which it does not sync,
or does nothing; pyrad's server verifies and reads the attributes; the bare loop verifies and
replies. Each is a process of its own on a port of loopback.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import multiprocessing
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pyrad import packet as pyrad_packet
from pyrad import server as pyrad_server

from collectors.adapters import radius_listener
from collectors.adapters.segments import SegmentWriter
from collectors.config import NasConfig, RadiusConfig
from collectors.metrics import Counters
from infra.garbage import collect_garbage_briefly
from infra.simulation.accounting_packets import DICTIONARY
from rating.ports import TopicWriter
from tests.benchmarks.process_usage import wait_until_bound
from tests.peers.peer_collectors import PATIENCE_SECONDS, free_udp_port
from tests.peers.peer_freeradius import configure

SECRET = "testing123"
CONFIG = RadiusConfig(listen=("127.0.0.1:0",), clients=(NasConfig("bng1", "127.0.0.1", SECRET),))
_BUFFER_OCTETS = 16_777_216
_RESPONSE, _REQUEST_HEAD = 5, 20


@dataclasses.dataclass(frozen=True, slots=True)
class AtWork:
    """A server that answers: its port and its process."""

    port: int
    pid: int


Start = Callable[[Path], contextlib.AbstractContextManager[AtWork]]


def flowrate(directory: Path, pipe: Connection, away_seconds: float = 0.0) -> None:
    """Run our listener over the durable log until told to stop; send what is durable then.

    For away_seconds from its start the disk takes nothing, as in an outage.
    """
    collect_garbage_briefly()
    stop, counters = threading.Event(), Counters()

    def stop_when_told() -> None:
        pipe.recv()
        stop.set()

    def on_listening(ports: list[int]) -> None:
        pipe.send(ports[0])
        threading.Thread(target=stop_when_told, daemon=True).start()

    segments = SegmentWriter(directory / "radius")
    writer = _Away(segments, away_seconds) if away_seconds else segments
    radius_listener.run(
        CONFIG,
        writer,
        now_ms=lambda: time.time_ns() // 1_000_000,
        stop=stop,
        counters=counters,
        on_listening=on_listening,
    )
    segments.close()
    pipe.send({name: count for (name, _), count in counters.snapshot().items()})


class _Away:
    """A log whose disk is away at first."""

    def __init__(self, writer: TopicWriter, seconds: float) -> None:
        self._writer = writer
        self._until = time.monotonic() + seconds

    def append(self, kind: str, received_at: int, body: bytes) -> int:
        if time.monotonic() < self._until:
            raise OSError(28, "No space left on device")
        return self._writer.append(kind, received_at, body)


def bare(directory: Path, pipe: Connection) -> None:
    """Receive, verify the Request Authenticator, reply (RFC 2866 §3); for ever."""
    del directory
    secret = SECRET.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
        opened.bind(("127.0.0.1", 0))
        pipe.send(opened.getsockname()[1])
        md5 = hashlib.md5
        while True:
            request, source = opened.recvfrom(4_096)
            signed = request[:4] + bytes(16) + request[_REQUEST_HEAD:] + secret
            if md5(signed).digest() != request[4:_REQUEST_HEAD]:
                continue
            head = bytes((_RESPONSE, request[1], 0, _REQUEST_HEAD))
            reply = head + md5(head + request[4:_REQUEST_HEAD] + secret).digest()
            opened.sendto(reply, source)


def pyrads(directory: Path, pipe: Connection) -> None:
    """Run pyrad's server: it verifies, reads the attributes and replies; for ever."""
    del directory

    class Server(pyrad_server.Server):  # type: ignore[misc]
        def HandleAcctPacket(self, request: Any) -> None:  # noqa: N802
            if not request.VerifyAcctRequest():
                return
            for name in list(request.keys()):
                request[name]
            reply = self.CreateReplyPacket(request)
            reply.code = pyrad_packet.AccountingResponse
            self.SendReplyPacket(request.fd, reply)

    hosts = {"127.0.0.1": pyrad_server.RemoteHost("127.0.0.1", SECRET.encode(), "bng1")}
    port = free_udp_port()
    server = Server(
        addresses=["127.0.0.1"], acctport=port, hosts=hosts, dict=DICTIONARY, auth_enabled=False
    )
    server.acctfds[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
    pipe.send(port)
    server.Run()


@contextlib.contextmanager
def in_process(
    target: Callable[..., None], directory: Path, *arguments: object
) -> Iterator[tuple[AtWork, Connection]]:
    """Run a server of Python in a process; give it and the pipe to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(directory, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        port = ours.recv()
        assert process.pid is not None
        yield AtWork(port, process.pid), ours
    finally:
        process.kill()
        process.join(PATIENCE_SECONDS)


def of_python(target: Callable[..., None]) -> Start:
    """Return how to start one of the servers above."""

    @contextlib.contextmanager
    def start(directory: Path) -> Iterator[AtWork]:
        with in_process(target, directory) as (at_work, _):
            yield at_work

    return start


_FREERADIUS = """
max_requests = 65536
cleanup_delay = 0
thread pool {{
    start_servers = 1
    max_servers = 1
    min_spare_servers = 1
    max_spare_servers = 1
    max_queue_size = 65536
}}
security {{
    allow_core_dumps = no
}}
modules {{
    always ok {{
        rcode = ok
    }}
    detail {{
        filename = {directory}/detail
        permissions = 0600
    }}
}}
client nas {{
    ipaddr = 127.0.0.1
    secret = {secret}
}}
server acct {{
    listen {{
        type = acct
        ipaddr = 127.0.0.1
        port = {port}
        recv_buff = {buffer}
        virtual_server = acct
    }}
    preacct {{
        ok
    }}
    accounting {{
        {module}
    }}
}}
"""


def freeradius(program: str, module: str) -> Start:
    """Return how to start FreeRADIUS with one worker; module is `detail` or `ok` (nothing)."""

    @contextlib.contextmanager
    def start(directory: Path) -> Iterator[AtWork]:
        port = free_udp_port()
        configure(
            directory, _FREERADIUS, secret=SECRET, port=port, module=module, buffer=_BUFFER_OCTETS
        )
        command = [program, "-f", "-d", str(directory), "-n", "radiusd", "-l", "stdout"]
        with (directory / "output").open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            wait_until_bound(port)
            yield AtWork(port, process.pid)
        finally:
            process.kill()
            process.wait(PATIENCE_SECONDS)

    return start
