"""radsecproxy carries radclient's accounting over TLS to our listener, and our answers back."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.adapters import radius_listener
from collectors.config import NasConfig, RadiusConfig, RadSecConfig, TlsConfig
from tests.collectors.adapters.certificates import Authority
from tests.collectors.adapters.running import Running, eventually, running
from tests.peers.test_radclient import SESSION
from tests.peers_available import require_peer

SECRET = "testing123"
NASES = tuple(
    NasConfig(name, "", "", nas_identifier=name, certificate="proxy.example")
    for name in ("north", "south")
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("radsecproxy"))


def config(authority: Authority) -> RadiusConfig:
    own = authority.sign("aaa.example", "DNS:aaa.example")
    tls = TlsConfig(str(own.file), str(own.key), str(authority.file))
    return RadiusConfig(
        listen=(), clients=NASES, radsec=RadSecConfig(listen=("127.0.0.1:0",), tls=tls)
    )


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def radsecproxy(shell: Running, authority: Authority, folder: Path) -> Iterator[int]:
    """Run radsecproxy before the listener; yield the UDP port on which NASes reach it."""
    program = require_peer("radsecproxy")
    own = authority.sign("proxy.example", "DNS:proxy.example")
    port = free_port()
    settings = folder / "radsecproxy.conf"
    settings.write_text(
        f"""
ListenUDP 127.0.0.1:{port}
LogLevel 3
tls default {{
    CACertificateFile {authority.file}
    CertificateFile {own.file}
    CertificateKeyFile {own.key}
}}
client nas {{
    host 127.0.0.1
    type udp
    secret {SECRET}
}}
server flowrate {{
    host 127.0.0.1
    port {shell.ports[0]}
    type tls
    secret radsec
    MatchCertificateAttribute SubjectAltName:DNS:/^aaa\\.example$/
    CertificateNameCheck off
    StatusServer on
}}
realm * {{
    server flowrate
    accountingServer flowrate
}}
""",
        encoding="ascii",
    )
    with (
        (folder / "radsecproxy.log").open("wb") as log,
        subprocess.Popen(
            [program, "-f", "-c", str(settings), "-i", str(folder / "pid")], stderr=log
        ) as proxy,
    ):
        try:
            assert eventually(lambda: shell.counters.get("radius_connections_accepted") >= 1), (
                folder / "radsecproxy.log"
            ).read_text()
            yield port
        finally:
            proxy.terminate()
            proxy.wait(10)


def radclient(port: int, requests: tuple[str, ...], *options: str) -> str:
    done = subprocess.run(
        [require_peer("radclient"), "-x", *options, f"127.0.0.1:{port}", "acct", SECRET],
        input="\n\n".join(requests) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def of(nas: str) -> tuple[str, ...]:
    return tuple(f'{request}, NAS-Identifier = "{nas}"' for request in SESSION)


def test_sessions_of_two_nases_come_through_and_are_answered(
    authority: Authority, tmp_path: Path
) -> None:
    with (
        running(radius_listener.run, config(authority)) as shell,
        radsecproxy(shell, authority, tmp_path) as port,
    ):
        said = radclient(port, of("north")) + radclient(port, of("south"))
        assert said.count("Received Accounting-Response") == 6, said
        packets = shell.log.packets()
        assert [packet.nas_id for packet in packets] == ["north"] * 3 + ["south"] * 3
        assert shell.counters.get("radius_refused_packets") == 0
        assert shell.counters.get("radius_connections_accepted") == 1


def test_many_at_once_share_the_connection(authority: Authority, tmp_path: Path) -> None:
    # Without a User-Name radsecproxy 1.9 would answer itself and pass nothing on (decision 0122).
    requests = tuple(
        f'Acct-Status-Type = Start, Acct-Session-Id = "{number}", NAS-Identifier = "north",'
        ' User-Name = "rahim"'
        for number in range(300)
    )
    with (
        running(radius_listener.run, config(authority)) as shell,
        radsecproxy(shell, authority, tmp_path) as port,
    ):
        said = radclient(port, requests, "-p", "50")
        assert said.count("Received Accounting-Response") == 300
        assert len({packet.packet for packet in shell.log.packets()}) == 300


def test_the_proxys_status_server_is_answered(authority: Authority, tmp_path: Path) -> None:
    with (
        running(radius_listener.run, config(authority)) as shell,
        radsecproxy(shell, authority, tmp_path),
    ):
        until = time.monotonic() + 40
        while time.monotonic() < until and not shell.counters.get("radius_status_server_packets"):
            time.sleep(0.2)
        assert shell.counters.get("radius_status_server_packets") >= 1
        assert shell.counters.get("radius_connections") == 1


def test_without_a_certificate_that_we_know_nothing_comes_through(
    authority: Authority, tmp_path: Path
) -> None:
    closed = dataclasses.replace(
        config(authority), clients=(NasConfig("other", "", "", certificate="other.example"),)
    )
    with (
        running(radius_listener.run, closed) as shell,
        radsecproxy(shell, authority, tmp_path) as port,
    ):
        said = radclient(port, of("north")[:1], "-r", "1", "-t", "2")
        assert "No reply" in said
        assert shell.log.packets() == []
        assert shell.counters.get("radius_refused_packets", "unknown_nas") >= 1
