"""One behaviour of both shells of a UDP socket: what waits is read, answers go back whence."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator

import pytest

from collectors.adapters import datagram_sockets, many_messages
from collectors.adapters.datagram_sockets import Batched, DatagramSocket, Single
from collectors.adapters.sockets import open_udp, to_address

OCTETS = 4_096
Shell = Callable[[socket.socket, int], DatagramSocket]
SHELLS: list[Shell] = [Single]
if many_messages.message_calls() is not None:
    SHELLS.append(Batched)


@contextlib.contextmanager
def _listening(shell: Shell, listen: str) -> Iterator[tuple[DatagramSocket, int]]:
    bound = open_udp(listen, 4_194_304)
    with bound.socket as opened:
        opened.setblocking(False)
        datagram_sockets._ask_for_local_address(opened)
        yield shell(opened, OCTETS), bound.port


@contextlib.contextmanager
def _asking(host: str, bind: str = "") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        opened.bind((bind or host, 0))
        opened.settimeout(5)
        yield opened


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "*:0"])
def test_datagrams_come_in_order_with_their_senders(shell: Shell, listen: str) -> None:
    host = "::1" if "::1" in listen else "127.0.0.1"
    with _listening(shell, listen) as (opened, port), _asking(host) as one, _asking(host) as two:
        sent = [(b"%d" % n * (n * 13 % 300), (one, two)[n % 3 == 0]) for n in range(200)]
        for octets, asking in sent:
            asking.sendto(octets, (host, port))
        received = opened.receive(1_000)
        assert [octets for octets, _ in received] == [octets for octets, _ in sent]
        ports = [asking.getsockname()[1] for _, asking in sent]
        assert [source.port for _, source in received] == ports
        assert {source.address for _, source in received} == {to_address(host)}
        assert opened.receive(1_000) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_no_more_are_read_than_wanted_and_the_rest_waits(shell: Shell) -> None:
    with _listening(shell, "127.0.0.1:0") as (opened, port), _asking("127.0.0.1") as asking:
        for n in range(150):
            asking.sendto(b"%d" % n, ("127.0.0.1", port))
        assert len(opened.receive(100)) == 100
        assert [octets for octets, _ in opened.receive(100)] == [b"%d" % n for n in range(100, 150)]


@pytest.mark.parametrize("shell", SHELLS)
def test_long_and_empty_datagrams(shell: Shell) -> None:
    with _listening(shell, "127.0.0.1:0") as (opened, port), _asking("127.0.0.1") as asking:
        longest = bytes(range(256)) * 16
        for octets in (b"", longest, longest + b"cut", b"short"):
            asking.sendto(octets, ("127.0.0.1", port))
        assert [octets for octets, _ in opened.receive(9)] == [b"", longest, longest, b"short"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("listen", ["0.0.0.0:0", "*:0"])
def test_each_answer_goes_to_who_asked_from_the_address_that_was_asked(
    shell: Shell, listen: str
) -> None:
    with _listening(shell, listen) as (opened, port), contextlib.ExitStack() as stack:
        asked = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        asking = [stack.enter_context(_asking("127.0.0.1")) for _ in range(9)]
        for n, each in enumerate(asking):
            each.sendto(b"%d" % n, (asked[n % 3], port))
        answers = [(b"to " + octets * 400, source) for octets, source in opened.receive(99)]
        assert opened.send(answers) == []
        for n, each in enumerate(asking):
            answer, address = each.recvfrom(OCTETS)
            assert (answer, address[0]) == (b"to " + b"%d" % n * 400, asked[n % 3])


@pytest.mark.parametrize("shell", SHELLS)
def test_more_answers_than_a_call_takes_arrive_in_order(shell: Shell) -> None:
    with _listening(shell, "[::1]:0") as (opened, port), _asking("::1") as asking:
        asking.sendto(b"?", ("::1", port))
        ((_, source),) = opened.receive(1)
        answers = [(b"%d" % n * (n % 50), source) for n in range(200)]
        assert opened.send(answers) == []
        assert [asking.recv(OCTETS) for _ in answers] == [octets for octets, _ in answers]


@pytest.mark.parametrize("shell", SHELLS)
def test_what_the_kernel_does_not_take_is_told_and_the_rest_goes_out(shell: Shell) -> None:
    with _listening(shell, "0.0.0.0:0") as (opened, port), _asking("127.0.0.1") as asking:
        asking.sendto(b"?", ("127.0.0.1", port))
        ((_, source),) = opened.receive(1)
        # From an address that this host does not have.
        lost = source._replace(port=1, route=_route_from_elsewhere(source.route))
        failed = opened.send([(b"a", source), (b"lost", lost), (b"lost", lost), (b"b", source)])
        assert [each.port for each, _ in failed] == [1, 1]
        assert {error.errno for _, error in failed} <= {errno.EINVAL, errno.ENETUNREACH}
        assert [asking.recv(OCTETS), asking.recv(OCTETS)] == [b"a", b"b"]


def _route_from_elsewhere(route: tuple[object, ...]) -> tuple[object, ...]:
    ours, elsewhere = socket.inet_aton("127.0.0.1"), socket.inet_aton("203.0.113.77")
    if isinstance(route[0], bytes):
        name, control = route[0][:32], route[0][32:]
        return (name + control.replace(ours, elsewhere), *route[1:])
    assert isinstance(route[0], list)
    ancillary = [(level, kind, data.replace(ours, elsewhere)) for level, kind, data in route[0]]
    return (ancillary, *route[1:])


def test_so_many_senders_are_kept_and_forged_ones_do_not_add_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if Batched not in SHELLS:
        pytest.skip("this system has no recvmmsg")
    monkeypatch.setattr(datagram_sockets, "_SOURCES_MAX", 8)
    with _listening(Batched, "127.0.0.1:0") as (opened, port), contextlib.ExitStack() as stack:
        for _ in range(30):
            asking = stack.enter_context(_asking("127.0.0.1"))
            asking.sendto(b"?", ("127.0.0.1", port))
            ((_, source),) = opened.receive(1)
            assert source.port == asking.getsockname()[1]
            assert isinstance(opened, Batched)
            assert len(opened._sources) <= 8


@pytest.mark.parametrize("calls", [None, (lambda *_: -1, lambda *_: 0)])
def test_where_the_calls_are_missing_or_refused_each_datagram_is_a_call(
    monkeypatch: pytest.MonkeyPatch, calls: object
) -> None:
    monkeypatch.setattr(many_messages, "message_calls", lambda: calls)
    with open_udp("127.0.0.1:0", 4_194_304).socket as opened:
        assert isinstance(datagram_sockets.open_datagrams(opened, OCTETS), Single)


@pytest.mark.skipif(Batched not in SHELLS, reason="this system has no recvmmsg")
def test_where_the_system_has_the_calls_they_are_used() -> None:
    with open_udp("*:0", 4_194_304).socket as opened:
        assert isinstance(datagram_sockets.open_datagrams(opened, OCTETS), Batched)
