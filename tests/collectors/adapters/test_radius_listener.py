"""The accounting listener: an answer says "it is on the disk", and nothing else says it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from collectors.adapters import radius_listener
from collectors.config import NasConfig, RadiusConfig
from collectors.radius.packet import (
    decode_packet,
    encode_packet,
    message_authenticator,
    verify_response,
)
from tests.collectors.adapters.running import Running, eventually, now_ms, running
from tests.collectors.radius.packets import SECRET, integer, request

CONFIG = RadiusConfig(
    listen=("*:0",),
    clients=(
        NasConfig("local", "127.0.0.1", "testing123"),
        NasConfig("local6", "::1", "testing123"),
    ),
    marker_interval_milliseconds=50,
    receive_buffer_octets=1_048_576,
)


class Nas:
    """A NAS's socket: sends to the listener and gives the next answer, or None in silence."""

    def __init__(self, opened: socket.socket, host: str, port: int) -> None:
        self.socket = opened
        self.to = (host, port)

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.to)

    def answer(self, timeout_seconds: float = 5.0) -> bytes | None:
        self.socket.settimeout(timeout_seconds)
        try:
            return self.socket.recvfrom(4_096)[0]
        except TimeoutError:
            return None


@contextlib.contextmanager
def nas(shell: Running, host: str = "127.0.0.1") -> Iterator[Nas]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        yield Nas(opened, host, shell.ports[0])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_request_is_in_the_log_when_it_is_answered(host: str) -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell, host) as peer:
        asked = request()
        peer.send(asked)
        answer = peer.answer()
        assert answer is not None
        (packet,) = shell.log.packets()
        assert packet.packet == asked
        assert packet.nas_id == ("local6" if ":" in host else "local")
        assert abs(packet.received_at - now_ms()) < 5_000
        reply = decode_packet(answer)
        assert verify_response(answer, reply, decode_packet(asked), SECRET) == ""


def test_nothing_is_answered_before_the_append_returns() -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell) as peer:
        shell.log.pause.clear()
        peer.send(request())
        assert shell.log.entered.wait(5)
        assert peer.answer(0.2) is None
        shell.log.pause.set()
        assert peer.answer() is not None


def test_what_waits_becomes_one_block() -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell) as peer:
        shell.log.pause.clear()
        shell.log.entered.clear()
        peer.send(request(identifier=0))
        assert shell.log.entered.wait(5)
        for identifier in range(1, 101):
            peer.send(request(identifier=identifier))
        shell.log.pause.set()
        for _ in range(101):
            assert peer.answer() is not None
        assert len([b for b in shell.log.blocks if b.kind == "data"]) <= 3
        assert len(shell.log.packets()) == 101


def _paced(config: RadiusConfig, log: Any, **parts: Any) -> None:
    log.pace_seconds = 0.5
    radius_listener.run(config, log, **parts)


def test_where_a_block_is_dear_packets_gather_first() -> None:
    with running(_paced, CONFIG) as shell, nas(shell) as peer:
        for identifier in range(20):
            peer.send(request(identifier=identifier))
            time.sleep(0.005)
        for _ in range(20):
            assert peer.answer() is not None
        # The first one came after a silence and is not held.
        blocks = [b for b in shell.log.blocks if b.kind == "data"]
        assert 2 <= len(blocks) <= 3
        assert blocks[1].received_at - blocks[0].received_at >= 450


def test_a_burst_is_read_at_full_speed_however_dear_a_block_is() -> None:
    config = dataclasses.replace(CONFIG, batch_packets=8)
    with running(_paced, config) as shell, nas(shell) as peer:
        shell.log.pause.clear()
        for identifier in range(160):
            peer.send(request(identifier=identifier))
        began = time.monotonic()
        shell.log.pause.set()
        for _ in range(160):
            assert peer.answer() is not None
        # Twenty blocks; a single packet may have been read before the rest came.
        assert time.monotonic() - began < 3


def test_packets_gather_no_longer_than_half_the_receive_buffer_holds() -> None:
    pace = radius_listener._Pace(0.05, 1_024, 212_992)
    pace.has_read(100.0, 10)
    assert pace.wait_seconds(100.0) == pytest.approx(0.05)
    pace.has_read(100.05, 100)  # 2,000 a second, and there is room for 52.
    assert pace.wait_seconds(100.05) == pytest.approx(0.026)
    pace.has_read(100.1, 1_024)
    assert pace.wait_seconds(100.1) == 0


def test_a_retransmission_gets_the_same_answer_and_is_logged_once() -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell) as peer:
        peer.send(request())
        first = peer.answer()
        peer.send(request())
        assert peer.answer() == first is not None
        assert len(shell.log.packets()) == 1
        assert shell.counters.get("radius_duplicate_packets") == 1


def test_a_retransmission_of_what_waits_for_the_disk_brings_one_answer() -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell) as peer:
        shell.log.pause.clear()
        for _ in range(3):
            peer.send(request())
        shell.log.pause.set()
        assert peer.answer() is not None
        assert eventually(lambda: shell.counters.get("radius_duplicate_packets") == 2)
        assert len(shell.log.packets()) == 1


def test_a_full_disk_means_silence_and_then_a_fresh_start() -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell) as peer:
        shell.log.is_full = True
        peer.send(request())
        assert peer.answer(0.3) is None
        assert shell.counters.get("radius_unanswered_packets") == 1
        shell.log.is_full = False
        peer.send(request())
        assert peer.answer() is not None
        assert len(shell.log.packets()) == 1


def test_a_full_disk_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        running(radius_listener.run, CONFIG) as shell,
        nas(shell) as peer,
    ):
        shell.log.is_full = True
        for identifier in range(20):
            peer.send(request(identifier=identifier))
        assert eventually(lambda: shell.counters.get("radius_unanswered_packets") == 20)
        assert eventually(lambda: shell.counters.get("radius_append_failures") >= 3)
        shell.log.is_full = False
        peer.send(request())
        assert peer.answer() is not None
    told = [r.message for r in caplog.records if "append" in r.message]
    assert len(told) == 2
    assert "No space left" in told[0]
    assert "again" in told[1]


def status_server() -> bytes:
    blank = encode_packet(12, 3, b"r" * 16, [(80, bytes(16))])
    return blank[:22] + message_authenticator(blank, b"r" * 16, SECRET)


def test_a_server_that_cannot_record_does_not_say_it_is_alive() -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell) as peer:
        peer.send(status_server())
        assert peer.answer() is not None
        shell.log.is_full = True
        assert eventually(lambda: shell.counters.get("radius_append_failures") > 0)
        peer.send(status_server())
        assert peer.answer(0.3) is None


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [(request(secret=b"guess"), "wrong_secret"), (b"\x04rubbish", "packet_too_short")],
)
def test_a_stranger_or_rubbish_is_counted_and_never_answered(datagram: bytes, reason: str) -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell) as peer:
        peer.send(datagram)
        assert peer.answer(0.3) is None
        assert shell.counters.get("radius_refused_packets", reason) == 1
        assert shell.log.packets() == []


def test_an_unknown_nas_is_counted_and_never_answered() -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell) as peer:
        peer.socket.bind(("127.0.0.9", 0))
        peer.send(request())
        assert peer.answer(0.3) is None
        assert shell.counters.get("radius_refused_packets", "unknown_nas") == 1


def test_refusals_are_logged_at_a_limited_rate(caplog: pytest.LogCaptureFixture) -> None:
    quiet = dataclasses.replace(CONFIG, log_lines_per_minute=3)
    with (
        caplog.at_level(logging.WARNING),
        running(radius_listener.run, quiet, lambda: 1_700_000_000_000) as shell,
        nas(shell) as peer,
    ):
        for _ in range(50):
            peer.send(b"rubbish")
        counters = shell.counters
        assert eventually(lambda: counters.get("radius_refused_packets", "packet_too_short") == 50)
    assert len([r for r in caplog.records if "refused a packet" in r.message]) == 3


def test_the_answer_comes_from_the_address_that_was_asked() -> None:
    # 127.0.0.2 is another address of this host; routing alone would answer from 127.0.0.1.
    config = dataclasses.replace(CONFIG, clients=(NasConfig("any", "127.0.0.0/8", "testing123"),))
    for listen in ("*:0", "0.0.0.0:0"):
        bound = dataclasses.replace(config, listen=(listen,))
        with running(radius_listener.run, bound) as shell, nas(shell) as peer:
            peer.to = ("127.0.0.2", shell.ports[0])
            peer.send(request())
            peer.socket.settimeout(5)
            assert peer.socket.recvfrom(4_096)[1] == ("127.0.0.2", shell.ports[0])


def test_received_through_is_told_also_when_nothing_comes() -> None:
    with running(radius_listener.run, CONFIG) as shell:
        assert eventually(lambda: len(shell.log.markers()) >= 3)


def test_no_packet_comes_behind_a_marker_that_is_later_than_it() -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell) as peer:
        for identifier in range(200):
            peer.send(request(identifier=identifier))
            assert peer.answer() is not None
        assert eventually(lambda: len(shell.log.markers()) >= 3)
    through = 0
    for block in shell.log.blocks:
        if block.kind == "marker":
            through = block.received_at
        else:
            assert block.received_at >= through


def test_a_nas_with_a_wrong_clock_is_reported_by_name() -> None:
    with running(radius_listener.run, CONFIG) as shell, nas(shell) as peer:
        peer.send(request(integer(55, now_ms() // 1000 + 7_200)))
        assert peer.answer() is not None
        name = "radius_clock_offset_milliseconds"
        assert eventually(lambda: shell.counters.get(name, "local") != 0)
        assert abs(shell.counters.get(name, "local") - 7_200_000) < 5_000


def test_a_bad_client_ends_the_process_with_its_name() -> None:
    bad = dataclasses.replace(CONFIG, clients=(NasConfig("bng1", "nowhere", "x"),))
    with pytest.raises(ValueError, match="bng1"), running(radius_listener.run, bad):
        pass
