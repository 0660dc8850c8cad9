"""IPFIX over TCP and TLS: every message once into the log, in order, and who is not let in."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.adapters import flow_receiver
from collectors.adapters.sockets import to_address
from collectors.adapters.tls import ServerTls
from collectors.config import (
    ConnectionsConfig,
    FlowConnectionsConfig,
    FlowReceiverConfig,
    TlsConfig,
)
from collectors.datagrams import Datagram
from tests.collectors.adapters.certificates import Authority, Certificate
from tests.collectors.adapters.running import Running, eventually, now_ms, running
from tests.collectors.netflow import exports as x
from tests.peers_available import require_peer

QUICK = FlowReceiverConfig(
    listen=("127.0.0.1:0",),
    receive_buffer_octets=1_048_576,
    block_milliseconds=20,
    marker_interval_milliseconds=50,
    append_retry_milliseconds=20,
    connections=FlowConnectionsConfig(listen=("127.0.0.1:0", "[::1]:0")),
)


def limited(**limits: int) -> FlowReceiverConfig:
    wanted = dataclasses.replace(QUICK.connections, limits=ConnectionsConfig(**limits))
    return dataclasses.replace(QUICK, connections=wanted)


def message(number: int, octets: int = 100) -> bytes:
    return x.ipfix([x.one_set(999, struct.pack(">I", number) + bytes(octets))], sequence=number)


@contextlib.contextmanager
def exporter(shell: Running, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    port = shell.ports[2] if ":" in host else shell.ports[1]
    with socket.create_connection((host, port)) as opened:
        yield opened


def messages(shell: Running) -> list[Datagram]:
    return [d for d in shell.log.datagrams() if d.connection and d.payload]


def ends(shell: Running) -> list[int]:
    return [d.connection for d in shell.log.datagrams() if d.connection and not d.payload]


def closed(shell: Running, reason: str) -> bool:
    return eventually(lambda: shell.counters.get("flow_connections_closed", reason) == 1)


def are_accepted(shell: Running, connections: int) -> bool:
    return eventually(lambda: shell.counters.get("flow_connections_accepted") >= connections)


def is_cut_off(opened: socket.socket) -> bool:
    opened.settimeout(5)
    try:
        return opened.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_messages_are_logged_in_order_with_where_they_came_from(host: str) -> None:
    sent = [message(number, 7 * number) for number in range(200)]
    before = now_ms()
    with running(flow_receiver.run, QUICK) as shell:
        with exporter(shell, host) as opened:
            source = opened.getsockname()
            opened.sendall(b"".join(sent))
        assert eventually(lambda: len(ends(shell)) == 1)
    found = messages(shell)
    assert [d.payload for d in found] == sent
    assert {(d.source_address, d.source_port) for d in found} == {(to_address(host), source[1])}
    assert {d.local_port for d in found} == {shell.ports[2] if ":" in host else shell.ports[1]}
    assert {d.connection for d in found} == {ends(shell)[0]}
    assert all(before <= d.received_at <= now_ms() for d in found)
    assert shell.counters.get("flow_received_datagrams") == 200
    assert shell.counters.get("flow_connections_closed", "closed_by_peer") == 1
    assert shell.counters.get("flow_connections") == 0


def test_a_message_in_many_segments_is_one_message() -> None:
    with running(flow_receiver.run, QUICK) as shell, exporter(shell) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in message(1):
            opened.send(bytes((octet,)))
            time.sleep(0.0005)
        assert eventually(lambda: len(messages(shell)) == 1)
    assert messages(shell)[0].payload == message(1)


def test_the_longest_message_fits() -> None:
    longest = message(1, 65_535 - 16 - 8)
    assert len(longest) == 65_535
    with running(flow_receiver.run, QUICK) as shell, exporter(shell) as opened:
        opened.sendall(longest * 40)
        assert eventually(lambda: len(messages(shell)) == 40)


def test_datagrams_and_messages_go_into_one_log() -> None:
    with running(flow_receiver.run, QUICK) as shell, exporter(shell) as opened:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for number in range(50):
                udp.sendto(message(number), ("127.0.0.1", shell.ports[0]))
                opened.sendall(message(number))
        assert eventually(lambda: len(shell.log.datagrams()) == 100)
    assert len(messages(shell)) == 50


def test_no_message_comes_behind_a_marker_that_is_later_than_it() -> None:
    with running(flow_receiver.run, QUICK) as shell, exporter(shell) as opened:
        for number in range(100):
            opened.sendall(message(number))
            time.sleep(0.003)
        assert eventually(lambda: len(shell.log.markers()) >= 5)
    through = 0
    for block in shell.log.blocks:
        if block.kind == "marker":
            through = block.received_at
            continue
        log = type(shell.log)()
        log.blocks = [block]
        assert all(through <= d.received_at <= block.received_at for d in log.datagrams())
    assert len(messages(shell)) == 100


def test_a_connection_that_dies_in_mid_message_loses_that_alone() -> None:
    with running(flow_receiver.run, QUICK) as shell:
        with exporter(shell) as opened:
            opened.sendall(message(1) + message(2) + message(3)[:50])
        assert eventually(lambda: len(ends(shell)) == 1)
        assert shell.counters.get("flow_connections_cut_messages") == 1
    assert [d.payload for d in messages(shell)] == [message(1), message(2)]


def test_a_connection_that_is_reset_ends_too() -> None:
    with running(flow_receiver.run, QUICK) as shell:
        with exporter(shell) as opened:
            opened.sendall(message(1))
            assert eventually(lambda: len(messages(shell)) == 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert closed(shell, "broken")
        assert eventually(lambda: len(ends(shell)) == 1)


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (x.v9([x.template(256, x.BASIC)]), "version_not_ipfix"),
        (b"GET / HTTP/1.1\r\n\r\n", "version_not_ipfix"),
        (struct.pack(">HH", 10, 15), "message_too_short"),
        (struct.pack(">HH", 10, 0), "message_too_short"),
    ],
)
def test_what_is_no_message_ends_its_connection_alone(garbage: bytes, reason: str) -> None:
    with running(flow_receiver.run, QUICK) as shell, exporter(shell) as other:
        other.sendall(message(1))
        with exporter(shell) as opened:
            opened.sendall(message(2) + garbage)
            assert closed(shell, reason)
            assert is_cut_off(opened)
        other.sendall(message(3))
        assert eventually(lambda: len(messages(shell)) == 3)
        assert shell.counters.get("flow_connections") == 1
        assert shell.counters.get("flow_connections_cut_messages") == 0
    assert {d.payload for d in messages(shell)} == {message(1), message(2), message(3)}


def test_a_message_that_trickles_in_is_given_up_in_time() -> None:
    with running(flow_receiver.run, limited(message_timeout_seconds=1)) as shell:
        with exporter(shell) as opened, contextlib.suppress(OSError):
            opened.sendall(message(1))
            began = time.monotonic()
            for octet in message(2):
                opened.send(bytes((octet,)))
                time.sleep(0.05)
                if shell.counters.get("flow_connections_closed", "message_timeout"):
                    break
            assert 0.9 <= time.monotonic() - began < 4
        assert closed(shell, "message_timeout")
        assert shell.counters.get("flow_connections_cut_messages") == 1
    assert [d.payload for d in messages(shell)] == [message(1)]


def test_a_connection_that_is_silent_for_too_long_is_closed() -> None:
    with running(flow_receiver.run, limited(idle_timeout_seconds=1)) as shell:
        with exporter(shell) as opened:
            for number in range(8):  # Longer than the timeout, but not silent.
                opened.sendall(message(number))
                time.sleep(0.2)
            assert len(messages(shell)) >= 7
            assert is_cut_off(opened)
        assert closed(shell, "idle_timeout")
        assert shell.counters.get("flow_connections_cut_messages") == 0


@pytest.mark.parametrize("limit", ["connections_max", "connections_per_address_max"])
def test_connections_beyond_the_limit_are_not_let_in(limit: str) -> None:
    with running(flow_receiver.run, limited(**{limit: 2})) as shell, contextlib.ExitStack() as all_:
        two = [all_.enter_context(exporter(shell)) for _ in range(2)]
        for number, opened in enumerate(two):
            opened.sendall(message(number))
        assert eventually(lambda: len(messages(shell)) == 2)
        with exporter(shell) as third:
            assert is_cut_off(third)
        assert shell.counters.get("flow_connections_refused", limit) == 1
        two[0].close()
        assert closed(shell, "closed_by_peer")
        with exporter(shell) as fourth:
            fourth.sendall(message(9))
            assert eventually(lambda: len(messages(shell)) == 3)


def test_while_the_log_lags_exporters_are_held_back_and_nothing_is_lost() -> None:
    config = dataclasses.replace(
        limited(message_timeout_seconds=1, idle_timeout_seconds=1),
        block_octets=20_000,
        queue_octets=60_000,
    )
    sent = [message(number, 9_000) for number in range(2_000)]
    with running(flow_receiver.run, config) as shell, exporter(shell) as opened:
        shell.log.is_full = True
        opened.settimeout(1.5)
        stream = b"".join(sent)
        done = 0
        with contextlib.suppress(TimeoutError):
            while done < len(stream):
                done += opened.send(stream[done : done + 65_536])
        assert done < len(stream)  # The exporter's TCP waited.
        assert shell.counters.get("flow_connections_waits") >= 1
        assert shell.counters.get("flow_queue_octets") <= 60_000
        shell.log.is_full = False
        opened.settimeout(30)
        opened.sendall(stream[done:])
        assert eventually(lambda: len(messages(shell)) == len(sent))
        assert shell.counters.get("flow_overflow_datagrams") == 0
    assert [d.payload for d in messages(shell)] == sent


def test_what_waits_in_the_kernel_at_the_stop_is_in_the_log_after_it() -> None:
    with running(flow_receiver.run, QUICK) as shell, exporter(shell) as opened:
        shell.log.pause.clear()
        opened.sendall(b"".join(message(number) for number in range(3_000)))
    assert len(messages(shell)) == 3_000
    assert len(ends(shell)) == 1


def test_a_stop_while_the_disk_is_full_ends_and_counts_what_is_lost() -> None:
    config = dataclasses.replace(QUICK, block_octets=2_000, queue_octets=5_000)
    with running(flow_receiver.run, config) as shell, exporter(shell) as opened:
        shell.log.is_full = True
        opened.sendall(b"".join(message(number) for number in range(200)))
        assert eventually(lambda: shell.counters.get("flow_connections_waits") == 1)
    assert shell.counters.get("flow_abandoned_datagrams") == 200
    assert messages(shell) == []


def test_a_message_larger_than_the_queue_goes_alone() -> None:
    config = dataclasses.replace(QUICK, block_octets=2_000, queue_octets=5_000)
    with running(flow_receiver.run, config) as shell, exporter(shell) as opened:
        opened.sendall(b"".join(message(number, 9_000) for number in range(20)))
        assert eventually(lambda: len(messages(shell)) == 20)


def test_a_connection_from_the_same_port_in_the_same_millisecond_has_another_number() -> None:
    with running(flow_receiver.run, QUICK, lambda: 1_700_000_000_000) as shell:
        port = 0
        for number in range(5):
            with socket.socket() as opened:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind(("127.0.0.1", port))
                port = opened.getsockname()[1]
                opened.connect(("127.0.0.1", shell.ports[1]))
                opened.sendall(message(number))
                assert are_accepted(shell, number + 1)
                time.sleep(0.1)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The clock stands still: only the end of the receiver hands these over.
    assert {d.source_port for d in messages(shell)} == {port}
    assert len({d.connection for d in messages(shell)}) == 5


def test_openssls_client_is_understood(authority: Authority) -> None:
    router = authority.sign("router5.example", "DNS:router5.example")
    config = secured(
        authority, client_ca_file=str(authority.file), client_names=("router5.example",)
    )
    sent = [message(number) for number in range(50)]
    with running(flow_receiver.run, config) as shell:
        subprocess.run(
            [
                *(require_peer("openssl"), "s_client", "-quiet", "-no_ign_eof"),
                *("-connect", f"127.0.0.1:{shell.ports[1]}", "-CAfile", str(authority.file)),
                *("-cert", str(router.file), "-key", str(router.key), "-verify_return_error"),
            ],
            input=b"".join(sent),
            capture_output=True,
            timeout=20,
            check=True,
        )
        assert eventually(lambda: len(ends(shell)) == 1)
    assert [d.payload for d in messages(shell)] == sent


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def secured(authority: Authority, **change: object) -> FlowReceiverConfig:
    own = authority.sign("collector.example", "DNS:collector.example")
    config = TlsConfig(certificate_file=str(own.file), key_file=str(own.key))
    wanted = FlowConnectionsConfig(
        tls_listen=("127.0.0.1:0",),
        tls=dataclasses.replace(config, **change),  # type: ignore[arg-type]
        limits=ConnectionsConfig(handshake_timeout_seconds=1),
    )
    return dataclasses.replace(QUICK, connections=wanted)


@contextlib.contextmanager
def secure_exporter(shell: Running, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", shell.ports[1])) as plain,
        context.wrap_socket(plain, server_hostname="collector.example") as opened,
    ):
        yield opened


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_messages_over_tls(authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.client_context()
    context.check_hostname = True
    context.minimum_version = context.maximum_version = version
    sent = [message(number, 3_000) for number in range(500)]
    with running(flow_receiver.run, secured(authority)) as shell:
        with secure_exporter(shell, context) as opened:
            opened.sendall(b"".join(sent))
            # An exporter never reads, and closes at once: nothing must be lost by that.
        assert eventually(lambda: len(ends(shell)) == 1)
    assert [d.payload for d in messages(shell)] == sent


def test_octets_that_tls_holds_are_read_without_more_from_the_network(
    authority: Authority,
) -> None:
    with (
        running(flow_receiver.run, secured(authority)) as shell,
        secure_exporter(shell, authority.client_context()) as opened,
    ):
        opened.sendall(b"".join(message(number, 65_000) for number in range(100)))
        assert eventually(lambda: len(messages(shell)) == 100)


def test_tls_1_1_is_refused(authority: Authority) -> None:
    context = authority.client_context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with running(flow_receiver.run, secured(authority)) as shell:
        with pytest.raises(OSError), secure_exporter(shell, context):  # noqa: PT011
            pass
        assert refused(shell, "handshake_failed")


def refused(shell: Running, reason: str) -> bool:
    return eventually(lambda: shell.counters.get("flow_connections_refused", reason) == 1)


def test_plain_octets_on_the_tls_port_are_refused(authority: Authority) -> None:
    with running(flow_receiver.run, secured(authority)) as shell:
        with exporter(shell) as opened:
            opened.sendall(message(1))
            assert refused(shell, "handshake_failed")
        assert shell.log.datagrams() == []


def test_a_handshake_that_does_not_come_is_given_up(authority: Authority) -> None:
    with running(flow_receiver.run, secured(authority)) as shell, exporter(shell) as opened:
        assert is_cut_off(opened)
        assert refused(shell, "handshake_timeout")


def try_to_send(shell: Running, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError), secure_exporter(shell, context) as opened:
        opened.sendall(message(1))
        opened.recv(1)  # TLS 1.3: the refusal comes behind the handshake.


def test_only_clients_of_the_authority_are_let_in(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger", "stranger")
    config = secured(authority, client_ca_file=str(authority.file))
    forged = authority.client_context(stranger.sign("router1.example"))
    with running(flow_receiver.run, config) as shell:
        try_to_send(shell, authority.client_context())
        assert refused(shell, "handshake_failed")
        try_to_send(shell, forged)
        assert eventually(
            lambda: shell.counters.get("flow_connections_refused", "handshake_failed") == 2
        )
        with secure_exporter(
            shell, authority.client_context(authority.sign("router1.example"))
        ) as opened:
            opened.sendall(message(2))
            assert eventually(lambda: len(messages(shell)) == 1)
    assert [d.payload for d in messages(shell)] == [message(2)]


def names_of(certificate: Certificate) -> list[tuple[str, bool]]:
    return [
        ("Router2.Example", True),
        ("192.0.2.7", True),
        ("2001:db8:0:0::7", True),
        ("urn:router:2", True),
        (certificate.fingerprint, True),
        (certificate.fingerprint.upper().replace("SHA256", "sha256"), True),
        ("router3.example", False),
        ("sha256:" + 64 * "0", False),
        # Its commonName does not count, since it has a DNS name (RFC 6125 §6.4.4).
        ("second", False),
    ]


@pytest.mark.parametrize("which", range(9))
def test_a_client_is_let_in_by_any_name_of_its_certificate(
    authority: Authority, which: int
) -> None:
    client = authority.sign(
        "second", "DNS:router2.example,IP:192.0.2.7,IP:2001:db8::7,URI:urn:router:2"
    )
    name, is_let_in = names_of(client)[which]
    config = secured(authority, client_ca_file=str(authority.file), client_names=("x", name))
    with running(flow_receiver.run, config) as shell:
        try_to_send(shell, authority.client_context(client)) if not is_let_in else None
        if not is_let_in:
            assert refused(shell, "name_not_allowed")
            assert shell.log.datagrams() == []
            return
        with secure_exporter(shell, authority.client_context(client)) as opened:
            opened.sendall(message(2))
            assert eventually(lambda: len(messages(shell)) == 1)


def test_a_common_name_counts_where_there_is_no_dns_name(authority: Authority) -> None:
    client = authority.sign("router4.example", "IP:192.0.2.4")
    config = secured(
        authority, client_ca_file=str(authority.file), client_names=("ROUTER4.example",)
    )
    with (
        running(flow_receiver.run, config) as shell,
        secure_exporter(shell, authority.client_context(client)) as opened,
    ):
        opened.sendall(message(2))
        assert eventually(lambda: len(messages(shell)) == 1)


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(
    authority: Authority, tmp_path: Path
) -> None:
    first, second = authority.sign("first", "DNS:a"), authority.sign("next", "DNS:b")
    file, key = tmp_path / "own.pem", tmp_path / "own.key"
    shutil.copy(first.file, file)
    shutil.copy(first.key, key)
    served = ServerTls(TlsConfig(str(file), str(key)), 0.0)
    before = served.context(1.0)
    shutil.copy(second.file, file)
    os.utime(file, ns=(1, 1))
    assert served.context(2.0) is before  # Not looked yet.
    assert served.context(40.0) is before  # The key does not fit the certificate.
    shutil.copy(second.key, key)
    os.utime(key, ns=(2, 2))
    assert served.context(80.0) is not before
    assert served.context(160.0) is served.context(190.0)


def test_a_certificate_that_cannot_be_used_ends_the_process(
    authority: Authority, tmp_path: Path
) -> None:
    config = secured(authority, certificate_file=str(tmp_path / "none.pem"))
    with (
        pytest.raises(OSError, match=r"cannot use the TLS files .*none\.pem"),
        running(flow_receiver.run, config),
    ):
        pass


def test_a_port_that_is_taken_ends_the_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = FlowConnectionsConfig(listen=(f"127.0.0.1:{taken.getsockname()[1]}",))
        config = dataclasses.replace(QUICK, connections=wanted)
        with (
            pytest.raises(OSError, match="cannot listen on TCP"),
            running(flow_receiver.run, config),
        ):
            pass
