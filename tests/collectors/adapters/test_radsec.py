"""Accounting over TLS (RFC 6614): the same answers as over UDP, on the connection that asked."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from collectors.adapters import radius_listener
from collectors.config import ConnectionsConfig, NasConfig, RadiusConfig, RadSecConfig, TlsConfig
from collectors.radius.packet import (
    STATUS_SERVER,
    decode_packet,
    encode_packet,
    message_authenticator,
    verify_response,
)
from tests.collectors.adapters.certificates import Authority, Certificate
from tests.collectors.adapters.running import Running, eventually, running
from tests.collectors.radius.packets import STOP, request

RADSEC = b"radsec"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("radsec"))


@pytest.fixture(scope="module")
def bng(authority: Authority) -> Certificate:
    return authority.sign("bng1.example", "DNS:bng1.example")


def config(authority: Authority, *clients: NasConfig, **limits: int) -> RadiusConfig:
    own = authority.sign("aaa.example", "DNS:aaa.example")
    tls = TlsConfig(str(own.file), str(own.key), str(authority.file))
    return RadiusConfig(
        listen=("127.0.0.1:0",),
        clients=clients or (NasConfig("bng1", "", "", certificate="BNG1.example"),),
        marker_interval_milliseconds=50,
        receive_buffer_octets=1_048_576,
        radsec=RadSecConfig(("127.0.0.1:0",), tls, ConnectionsConfig(**limits)),
    )


class Nas:
    """A NAS's connection: sends packets and takes answers one by one."""

    def __init__(self, opened: ssl.SSLSocket) -> None:
        self.socket = opened
        self._received = b""

    def send(self, *packets: bytes) -> None:
        self.socket.sendall(b"".join(packets))

    def answer(self, timeout_seconds: float = 5.0) -> bytes | None:
        """Return the next answer, None where none comes, b"" where the connection has ended."""
        self.socket.settimeout(timeout_seconds)
        while True:
            length = int.from_bytes(self._received[2:4], "big")
            if length and len(self._received) >= length:
                answer, self._received = self._received[:length], self._received[length:]
                return answer
            try:
                octets = self.socket.recv(4_096)
            except TimeoutError:
                return None
            except (ssl.SSLError, ConnectionError):
                octets = b""
            if not octets:
                return b""
            self._received += octets


@contextlib.contextmanager
def nas(shell: Running, authority: Authority, own: Certificate | None) -> Iterator[Nas]:
    context = authority.client_context(own)
    with (
        socket.create_connection(("127.0.0.1", shell.ports[1])) as plain,
        context.wrap_socket(plain, server_hostname="aaa.example") as opened,
    ):
        yield Nas(opened)


def asked(identifier: int = 1, **parts: Any) -> bytes:
    return request(identifier=identifier, secret=RADSEC, **parts)


def check(answer: bytes | None, question: bytes) -> None:
    assert answer
    decoded = decode_packet(answer)
    assert verify_response(answer, decoded, decode_packet(question), RADSEC) == ""


def status_server(identifier: int = 9) -> bytes:
    authenticator = bytes(range(16))
    blank = encode_packet(STATUS_SERVER, identifier, authenticator, [(80, bytes(16))])
    signed = message_authenticator(blank, authenticator, RADSEC)
    return encode_packet(STATUS_SERVER, identifier, authenticator, [(80, signed)])


def test_a_request_is_in_the_log_when_it_is_answered(
    authority: Authority, bng: Certificate
) -> None:
    with (
        running(radius_listener.run, config(authority)) as shell,
        nas(shell, authority, bng) as peer,
    ):
        peer.send(asked())
        check(peer.answer(), asked())
        (packet,) = shell.log.packets()
        assert (packet.packet, packet.nas_id) == (asked(), "bng1")
        assert packet.source_address == bytes(10) + b"\xff\xff\x7f\0\0\1"
        assert packet.source_port == peer.socket.getsockname()[1]
        assert shell.counters.get("radius_durable_packets") == 1


def test_nothing_is_answered_before_the_append_returns(
    authority: Authority, bng: Certificate
) -> None:
    with (
        running(radius_listener.run, config(authority)) as shell,
        nas(shell, authority, bng) as peer,
    ):
        shell.log.pause.clear()
        shell.log.entered.clear()
        peer.send(asked())
        assert shell.log.entered.wait(5)
        assert peer.answer(0.2) is None
        shell.log.pause.set()
        check(peer.answer(), asked())


def test_while_the_disk_is_full_nothing_is_answered_nor_kept(
    authority: Authority, bng: Certificate
) -> None:
    with (
        running(radius_listener.run, config(authority)) as shell,
        nas(shell, authority, bng) as peer,
    ):
        shell.log.is_full = True
        peer.send(asked(), status_server())
        assert eventually(lambda: shell.counters.get("radius_unanswered_packets") == 2)
        assert peer.answer(0.2) is None
        shell.log.is_full = False
        peer.send(asked())
        check(peer.answer(), asked())
        assert len(shell.log.packets()) == 1


def test_many_requests_in_one_write_are_each_answered_once(
    authority: Authority, bng: Certificate
) -> None:
    questions = {number: asked(number, session_id=b"%d" % number) for number in range(250)}
    with (
        running(radius_listener.run, config(authority)) as shell,
        nas(shell, authority, bng) as peer,
    ):
        peer.send(*questions.values())
        answers = [peer.answer() for _ in questions]
        assert {answer[1] for answer in answers if answer} == set(questions)
        for answer in answers:
            assert answer
            check(answer, questions[answer[1]])
        assert peer.answer(0.2) is None
        assert len(shell.log.packets()) == 250


def test_groups_are_no_larger_than_a_batch(authority: Authority, bng: Certificate) -> None:
    small = dataclasses.replace(config(authority), batch_packets=16)
    with running(radius_listener.run, small) as shell, nas(shell, authority, bng) as peer:
        peer.send(*(asked(number, session_id=b"%d" % number) for number in range(200)))
        assert all(peer.answer() for _ in range(200))
        blocks = [block for block in shell.log.blocks if block.kind == "data"]
        assert len(blocks) >= 200 / 16
        assert len(shell.log.packets()) == 200


def test_a_packet_in_many_records_is_one_packet(authority: Authority, bng: Certificate) -> None:
    with (
        running(radius_listener.run, config(authority)) as shell,
        nas(shell, authority, bng) as peer,
    ):
        for octet in asked():
            peer.send(bytes((octet,)))
        check(peer.answer(), asked())


def test_a_repeated_request_gets_its_answer_again_and_is_logged_once(
    authority: Authority, bng: Certificate
) -> None:
    with (
        running(radius_listener.run, config(authority)) as shell,
        nas(shell, authority, bng) as peer,
    ):
        peer.send(asked())
        first = peer.answer()
        peer.send(asked())
        assert peer.answer() == first
        assert first
        assert len(shell.log.packets()) == 1


def test_the_same_request_on_another_connection_is_another_request(
    authority: Authority, bng: Certificate
) -> None:
    with running(radius_listener.run, config(authority)) as shell:
        for _ in range(2):  # A NAS whose connection broke sends again what had no answer.
            with nas(shell, authority, bng) as peer:
                peer.send(asked())
                check(peer.answer(), asked())
        assert len(shell.log.packets()) == 2


def test_status_server_keeps_a_connection_alive(authority: Authority, bng: Certificate) -> None:
    limits = config(authority, idle_timeout_seconds=1)
    with running(radius_listener.run, limits) as shell, nas(shell, authority, bng) as peer:
        for number in range(6):
            peer.send(status_server(number))
            check(peer.answer(), status_server(number))
            time.sleep(0.3)
        assert shell.log.packets() == []
        assert shell.counters.get("radius_status_server_packets") == 6
        assert peer.answer() == b""  # Silent for a second.
        assert shell.counters.get("radius_connections_closed", "idle_timeout") == 1


@pytest.mark.parametrize("own", [False, True])
def test_a_client_without_a_good_certificate_is_not_let_in(
    authority: Authority, own: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Authority(tmp_path_factory.mktemp("strangers"), "stranger")
    shown = stranger.sign("bng1.example", "DNS:bng1.example") if own else None
    with running(radius_listener.run, config(authority)) as shell:
        with contextlib.suppress(OSError), nas(shell, authority, shown) as peer:
            peer.send(asked())
            assert peer.answer() == b""
        assert eventually(
            lambda: shell.counters.get("radius_connections_refused", "handshake_failed") == 1
        )
        assert shell.log.packets() == []


def test_a_good_certificate_of_nobody_we_know_ends_its_connection(authority: Authority) -> None:
    other = authority.sign("bng2.example", "DNS:bng2.example")
    with (
        running(radius_listener.run, config(authority)) as shell,
        nas(shell, authority, other) as peer,
    ):
        peer.send(asked())
        assert peer.answer() == b""
        assert shell.counters.get("radius_refused_packets", "unknown_nas") == 1
        assert shell.log.packets() == []


def test_a_nas_is_known_by_its_fingerprint(authority: Authority, bng: Certificate) -> None:
    client = NasConfig("bng7", "", "", certificate=bng.fingerprint)
    with (
        running(radius_listener.run, config(authority, client)) as shell,
        nas(shell, authority, bng) as peer,
    ):
        peer.send(asked())
        check(peer.answer(), asked())
        assert [packet.nas_id for packet in shell.log.packets()] == ["bng7"]


def test_a_nas_without_a_certificate_of_its_own_is_known_by_its_address(
    authority: Authority, bng: Certificate
) -> None:
    client = NasConfig("local", "127.0.0.0/8", "testing123")
    with (
        running(radius_listener.run, config(authority, client)) as shell,
        nas(shell, authority, bng) as peer,
    ):
        peer.send(asked())
        check(peer.answer(), asked())
        assert [packet.nas_id for packet in shell.log.packets()] == ["local@127.0.0.1"]


def test_anothers_good_certificate_does_not_pass_for_a_nas_by_its_address(
    authority: Authority,
) -> None:
    other = authority.sign("bng3.example", "DNS:bng3.example")
    client = NasConfig("bng1", "127.0.0.1", "testing123", certificate="bng1.example")
    with (
        running(radius_listener.run, config(authority, client)) as shell,
        nas(shell, authority, other) as peer,
    ):
        peer.send(asked())
        assert peer.answer() == b""
        assert shell.log.packets() == []


def test_nases_behind_a_proxy_differ_by_nas_identifier(
    authority: Authority, bng: Certificate
) -> None:
    clients = [
        NasConfig(name, "", "", nas_identifier=name, certificate="bng1.example")
        for name in ("north", "south")
    ]
    with (
        running(radius_listener.run, config(authority, *clients)) as shell,
        nas(shell, authority, bng) as peer,
    ):
        for number, name in enumerate((b"south", b"west", b"north")):
            question = request((32, name), identifier=number, secret=RADSEC)
            peer.send(question)
            if name != b"west":  # Its silence does not end the others' connection.
                check(peer.answer(), question)
        peer.send(status_server())  # The proxy asks in its own name.
        check(peer.answer(), status_server())
        assert [packet.nas_id for packet in shell.log.packets()] == ["south", "north"]
        assert shell.counters.get("radius_refused_packets", "unknown_nas") == 1


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (request(identifier=2), "wrong_secret"),  # Signed with the secret for UDP.
        (asked(2)[:3] + b"\x13" + asked(2)[4:], "message_too_short"),
        (asked(2)[:2] + b"\xff\xff" + asked(2)[4:], "message_too_long"),
        (b"\x04\x02\x00\x16" + bytes(16) + b"\x28\x00", "attribute_length_lt_2"),
        (b"\x04\x02\x00\x16" + bytes(16) + b"\x28\x07", "attribute_overflows"),
    ],
)
def test_a_packet_that_cannot_be_right_ends_its_connection(
    authority: Authority, bng: Certificate, packet: bytes, reason: str
) -> None:
    with (
        running(radius_listener.run, config(authority)) as shell,
        nas(shell, authority, bng) as other,
    ):
        with nas(shell, authority, bng) as peer:
            peer.send(asked(1))
            check(peer.answer(), asked(1))
            peer.send(packet, asked(3))
            assert peer.answer() == b""
        assert shell.counters.get("radius_connections_closed", reason) == 1
        other.send(asked(4))
        check(other.answer(), asked(4))
        # What came behind it is not believed.
        assert [packet.packet for packet in shell.log.packets()] == [asked(1), asked(4)]


@pytest.mark.parametrize(
    "packet", [asked(2)[:0] + b"\x04\x02\x00\x14", encode_packet(1, 2, bytes(16), [])]
)
def test_an_unfinished_or_unexpected_packet_gets_no_answer(
    authority: Authority, bng: Certificate, packet: bytes
) -> None:
    with (
        running(radius_listener.run, config(authority)) as shell,
        nas(shell, authority, bng) as peer,
    ):
        peer.send(packet)
        assert peer.answer(0.3) is None
        assert shell.counters.get("radius_connections") == 1


def test_a_client_that_takes_no_answers_is_read_no_more_and_holds_nobody_up(
    authority: Authority, bng: Certificate
) -> None:
    with (
        running(radius_listener.run, config(authority)) as shell,
        nas(shell, authority, bng) as greedy,
        nas(shell, authority, bng) as peer,
    ):
        greedy.socket.settimeout(2)
        question = request(*[(33, bytes(250))] * 15, secret=RADSEC)  # Proxy-State comes back.
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 20_000:
                greedy.send(question)
                sent += 1
        assert sent < 20_000
        peer.send(asked(7))
        check(peer.answer(), asked(7))


def test_udp_and_radsec_are_of_one_log(authority: Authority, bng: Certificate) -> None:
    client = NasConfig("bng1", "127.0.0.1", "testing123", certificate="bng1.example")
    with (
        running(radius_listener.run, config(authority, client)) as shell,
        nas(shell, authority, bng) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.settimeout(5)
        udp.sendto(request(), ("127.0.0.1", shell.ports[0]))
        assert udp.recv(100)
        peer.send(asked(status=STOP))
        check(peer.answer(), asked(status=STOP))
        assert [packet.nas_id for packet in shell.log.packets()] == ["bng1", "bng1"]


def test_radsec_alone_needs_no_udp(authority: Authority, bng: Certificate) -> None:
    alone = dataclasses.replace(config(authority), listen=())
    with running(radius_listener.run, alone) as shell:
        shell.ports.insert(0, 0)
        with nas(shell, authority, bng) as peer:
            peer.send(asked())
            check(peer.answer(), asked())
