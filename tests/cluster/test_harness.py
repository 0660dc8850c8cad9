"""What the proofs rest on can itself tell right from wrong: paths, disks, comparisons, tables."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.chaos.disk import SmallDisk
from tests.cluster.chaos.paths import Paths
from tests.cluster.chaos.probes import API, RADIUS, WAREHOUSE, WATERMARK, Wound, table_of
from tests.cluster.chaos.supervision import Supervised
from tests.cluster.prove import first_difference
from tests.infra.waiting import wait_until


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that sends back what it is sent; gives host:port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve_one(connection: socket.socket) -> None:
            with connection, contextlib.suppress(ConnectionResetError):
                while octets := connection.recv(100):
                    connection.sendall(octets)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_a_path_is_cut_frozen_and_healed(echo: str) -> None:
    paths = Paths()
    host, _, port = paths.open("echo", echo).rpartition(":")

    def connect() -> socket.socket:
        return socket.create_connection((host, int(port)), timeout=5)

    with connect() as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        paths.change("echo", "frozen")
        client.sendall(b"two")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)
        paths.change("echo", "open")
        client.settimeout(5)
        assert client.recv(100) == b"two", "what was sent meanwhile comes through"
        paths.change("echo", "cut")
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    # The reset may meet the connection while it is being made.
    with pytest.raises(ConnectionResetError), connect() as client:
        client.recv(100)
    paths.heal()
    with connect() as client:
        client.sendall(b"three")
        assert client.recv(100) == b"three"
    paths.close()


def test_a_disk_is_full_until_it_has_room(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "small")
    try:
        if not disk.is_mounted:
            pytest.skip("a small file system needs root and mount(8)")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "small" / "file").write_bytes(bytes(100_000))
        disk.make_room()
        (tmp_path / "small" / "file").write_bytes(bytes(100_000))
    finally:
        disk.close()


def test_a_process_is_started_again_whatever_ended_it(tmp_path: Path) -> None:
    own = Supervised("own", ["sh", "-c", "exit 3"], tmp_path)
    killed = Supervised("killed", ["sleep", "100"], tmp_path)
    for process in (own, killed):
        process.start()
    killed.kill()

    def are_started_again() -> bool:
        own.look_after()
        killed.look_after()
        return own.starts >= 2 and killed.starts == 2

    wait_until(are_started_again, "both to be started again", 10)
    assert own.own_ends[0] == 3
    assert killed.own_ends == [], "a kill of ours is not its own end"
    own.abandon()
    killed.abandon()


def test_the_first_line_that_differs_is_told_as_both_have_it() -> None:
    assert first_difference("a 1\nb 2", "a 1\nb 2") == ""
    told = first_difference("a 1\nb 2\nc 3", "a 1\nb 7\nc 4")
    assert "line 2" in told
    assert "embedded: b 2" in told
    assert "cluster:  b 7" in told
    assert "(no line)" in first_difference("a 1\nb 2", "a 1")


def test_recovery_is_told_per_kind_with_what_never_came_back() -> None:
    back = {WATERMARK: 4.0, API: 0.5, RADIUS: 1.0, WAREHOUSE: 2.0}
    wounds = [
        Wound("worker killed", 0.0, 0, 0.0, back),
        Wound("worker killed", 9.0, 0, 0.0, {**back, WATERMARK: 6.0}),
        Wound("API killed", 5.0, 0, 1.5, {API: 3.0}),
    ]
    title, api, worker = table_of(wounds)
    assert "watermark" in title
    assert "4.0 5.0 6.0" in worker
    assert "3.0 3.0 3.0" in api
    assert "- (1 never)" in api
