"""UDP sockets: addresses read right, buffers as large as the system gives, drops counted."""

from __future__ import annotations

import socket

import pytest

from collectors.adapters import sockets
from tests.collectors.adapters.running import eventually


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*:2055", ("*", 2055)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:4739", ("::1", 4739)),
        ("collector.example:9995", ("collector.example", 9995)),
    ],
)
def test_a_listen_address_is_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert sockets.parse_listen(text) == expected


@pytest.mark.parametrize("text", ["2055", ":2055", "*:", "*:x", "*:65536", "::1:2055", "*:-1"])
def test_another_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"\[::1\]:2055"):
        sockets.parse_listen(text)


@pytest.mark.parametrize("source", ["127.0.0.1", "::1"])
def test_the_star_takes_both_families(source: str) -> None:
    bound = sockets.open_udp("*:0", 65_536)
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with bound.socket, socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", (source, bound.port))
        bound.socket.settimeout(5)
        _, peer = bound.socket.recvfrom(10)
        mapped = bytes(10) + b"\xff\xff\x7f\0\0\1"
        assert sockets.to_address(peer[0]) == (bytes(15) + b"\1" if ":" in source else mapped)


def test_a_scope_is_no_part_of_an_address() -> None:
    assert sockets.to_address("fe80::1%eth0") == sockets.to_address("fe80::1")


def test_an_address_in_use_is_named() -> None:
    with sockets.open_udp("127.0.0.1:0", 65_536).socket as first:
        listen = f"127.0.0.1:{first.getsockname()[1]}"
        with pytest.raises(OSError, match=listen):
            sockets.open_udp(listen, 65_536)


def test_all_are_bound_or_none() -> None:
    with sockets.open_udp("127.0.0.1:0", 65_536).socket as taken:
        free = sockets.open_udp("127.0.0.1:0", 65_536)
        free.socket.close()
        in_use = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match="cannot listen"):
            sockets.open_all([f"127.0.0.1:{free.port}", in_use], 65_536)
        sockets.open_udp(f"127.0.0.1:{free.port}", 65_536).socket.close()


def test_a_buffer_that_is_given_brings_no_warning() -> None:
    bound = sockets.open_udp("127.0.0.1:0", 100_000)
    with bound.socket:
        assert bound.receive_buffer_octets >= 100_000
        assert bound.warning == ""


def test_a_capped_buffer_names_the_setting_and_the_value() -> None:
    wanted = 2**30 + 7  # More than Linux gives anybody: the doubled value must fit 31 bits.
    bound = sockets.open_udp("127.0.0.1:0", wanted)
    with bound.socket:
        assert bound.receive_buffer_octets < wanted
        assert f"sysctl -w net.core.rmem_max={wanted}" in bound.warning


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_the_kernel_drops_is_counted_per_socket(host: str) -> None:
    listen = f"[{host}]:0" if ":" in host else f"{host}:0"
    full, idle = sockets.open_udp(listen, 4_096), sockets.open_udp(listen, 4_096)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with full.socket, idle.socket, socket.socket(family, socket.SOCK_DGRAM) as sender:
        for _ in range(200):
            sender.sendto(bytes(1_000), (host, full.port))
        kept = 0
        full.socket.setblocking(False)
        assert eventually(lambda: sockets.kernel_drops([full.socket]) > 0)
        while True:
            try:
                full.socket.recv(2_000)
            except BlockingIOError:
                break
            kept += 1
        assert sockets.kernel_drops([full.socket]) == 200 - kept
        assert sockets.kernel_drops([idle.socket]) == 0
