"""Datagrams in bursts: the same columns with and without recvmmsg(2)."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import numpy as np
import pytest

from collectors.adapters import bursts
from collectors.adapters.bursts import Bursts
from collectors.adapters.sockets import BoundSocket, open_udp, to_address


@pytest.fixture(params=["at once", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "one by one":
        monkeypatch.setattr(bursts, "takes_many", lambda opened: False)
    return str(request.param)


@pytest.fixture(params=["127.0.0.1:0", "[::1]:0", "*:0"])
def bound(request: pytest.FixtureRequest) -> Iterator[BoundSocket]:
    opened = open_udp(request.param, 1_048_576)
    opened.socket.settimeout(None)
    yield opened
    opened.socket.close()


def send(bound: BoundSocket, host: str, payloads: list[bytes]) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.bind((host, 0))
        for payload in payloads:
            sender.sendto(payload, (host, bound.port))
        return int(sender.getsockname()[1])


def hosts(bound: BoundSocket) -> list[str]:
    host = bound.socket.getsockname()[0]
    return ["127.0.0.1", "::1"] if host == "::" else [host]


def payloads_of(burst: Bursts) -> list[bytes]:
    into = np.zeros(int(burst.lengths.sum()) + 1, np.uint8)
    octets = burst.payloads_into(into)
    ends = np.cumsum(burst.lengths).tolist()
    assert octets == (ends[-1] if ends else 0)
    assert into[octets] == 0
    return [
        into[end - length : end].tobytes()
        for end, length in zip(ends, burst.lengths.tolist(), strict=True)
    ]


@pytest.mark.parametrize("lengths", [[40] * 9, [0, 1, 1_400, 65_507, 0, 7]])
def test_a_burst_has_every_datagram_and_where_it_came_from(
    way: str, bound: BoundSocket, lengths: list[int]
) -> None:
    burst = Bursts(bound.socket, 32)
    for host in hosts(bound):
        wanted = [bytes([number + 1]) * length for number, length in enumerate(lengths)]
        port = send(bound, host, wanted)
        assert burst.receive(waits=True) == len(lengths)
        assert payloads_of(burst) == wanted
        addresses, ports = burst.sources()
        assert {address.tobytes() for address in addresses} == {to_address(host)}
        assert ports.tolist() == [port] * len(lengths)


def test_a_burst_takes_no_more_than_its_slots_and_leaves_the_rest(
    way: str, bound: BoundSocket
) -> None:
    burst = Bursts(bound.socket, 4)
    send(bound, hosts(bound)[0], [b"%d" % number for number in range(6)])
    assert burst.receive(waits=True) == 4
    assert payloads_of(burst) == [b"0", b"1", b"2", b"3"]
    assert burst.receive(waits=False) == 2
    assert payloads_of(burst) == [b"4", b"5"]


def test_a_socket_without_datagrams_says_so(way: str, bound: BoundSocket) -> None:
    burst = Bursts(bound.socket, 4)
    with pytest.raises(BlockingIOError):
        burst.receive(waits=False)


def test_a_closed_socket_is_an_error(way: str, bound: BoundSocket) -> None:
    burst = Bursts(bound.socket, 4)
    bound.socket.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        burst.receive(waits=True)
