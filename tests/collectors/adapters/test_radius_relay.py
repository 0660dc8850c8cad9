"""Accounting relayed from the log to a second server, whatever becomes of the server or of us."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.adapters.radius_relay import RadiusRelay, start_relay
from collectors.adapters.relay_position import RelayPosition, relayed_through
from collectors.adapters.relay_sources import RelaySource, spooled_packets
from collectors.adapters.segments import SegmentWriter
from collectors.config import RelayConfig
from collectors.metrics import Counters
from collectors.partitioning import split_packets
from collectors.radius.log_codec import encode_packets
from collectors.spool_frames import NumberedPart, encode_parts
from tests.collectors.adapters.running import eventually, now_ms
from tests.collectors.adapters.second_server import SecondServer, second_server
from tests.collectors.radius.packets import ON, START, logged, request

LOG = "radius.accounting"


def config(server: SecondServer | int, **changes: object) -> RelayConfig:
    port = server if isinstance(server, int) else server.port
    plain = RelayConfig(
        f"127.0.0.1:{port}",
        "second-secret",
        retry_first_milliseconds=8_000,  # A busy machine alone makes no retransmission.
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


IMPATIENT = {
    "retry_first_milliseconds": 100,
    "retry_max_milliseconds": 200,
    "attempt_seconds": 1,
}


class Scene:
    """A raw log and its relay, started and ended at will."""

    def __init__(self, directory: Path) -> None:
        self.log = SegmentWriter(directory / "radius")
        self.source = lambda: [RelaySource(LOG, directory / "radius")]
        self.position = directory / "relay.sqlite"
        self.counters = Counters()

    def append(self, *names: bytes, received_at: int = 0, status: int = START) -> int:
        at = received_at or now_ms()
        packets = [logged(request(session_id=name, status=status), at) for name in names]
        return self.log.append("data", at, encode_packets(packets))

    @contextlib.contextmanager
    def relaying(self, settings: RelayConfig) -> Iterator[RadiusRelay]:
        position = RelayPosition(self.position, b"flowrate")
        relay = start_relay(settings, self.source, position, now_ms, self.counters)
        try:
            yield relay
        finally:
            relay.finish()

    def begin(self, settings: RelayConfig) -> None:
        """Let the relay note where it begins."""
        with self.relaying(settings):
            pass

    def count(self, name: str, label: str = "") -> int:
        return self.counters.get(f"radius_relay_{name}", label)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_every_packet_of_the_log_is_relayed_once_and_counted(scene: Scene) -> None:
    names = [b"s%d" % n for n in range(300)]
    with second_server() as server, scene.relaying(config(server)):
        for start in range(0, 300, 50):
            scene.append(*names[start : start + 50])
            scene.log.append("marker", now_ms(), b"")
        assert eventually(lambda: scene.count("acknowledged_packets") == 300)
        assert eventually(lambda: relayed_through(scene.position, LOG) == 12)
        assert eventually(lambda: scene.count("held_packets") == 0)
    assert sorted(server.sessions()) == sorted(names)
    assert scene.count("sent_packets") == 300
    assert (scene.count("repeated_packets"), scene.count("oldest_seconds")) == (0, 0)


def test_what_was_in_the_log_before_is_not_relayed(scene: Scene) -> None:
    scene.append(b"before")
    with second_server() as server, scene.relaying(config(server)):
        scene.append(b"after")
        assert eventually(lambda: scene.count("acknowledged_packets") == 1)
    assert server.sessions() == [b"after"]


def test_a_server_that_is_down_gets_everything_when_it_is_back(scene: Scene) -> None:
    with second_server() as server:
        port = server.port
    with scene.relaying(config(port, **IMPATIENT)):
        scene.append(*[b"s%d" % n for n in range(40)])
        assert eventually(lambda: scene.count("repeated_packets") > 3)
        assert eventually(lambda: scene.count("oldest_seconds") >= 1)
        assert relayed_through(scene.position, LOG) == 0
        with second_server(port) as server:
            assert eventually(lambda: scene.count("acknowledged_packets") == 40)
    assert sorted(set(server.sessions())) == sorted(b"s%d" % n for n in range(40))


def test_a_slow_server_gets_retransmissions_it_can_tell(scene: Scene) -> None:
    with (
        second_server() as server,
        scene.relaying(config(server, **{**IMPATIENT, "attempt_seconds": 30})),
    ):
        server.delay_seconds = 0.35
        scene.append(b"slow")
        assert eventually(lambda: scene.count("acknowledged_packets") == 1)
    assert len({(packet.identifier, packet.authenticator) for packet in server.got}) == 1
    assert len(server.got) > 1


def test_a_server_that_lies_about_the_authenticator_is_not_believed(scene: Scene) -> None:
    with second_server() as server, scene.relaying(config(server, **IMPATIENT)):
        server.secret = b"another"
        scene.append(b"a")
        assert eventually(lambda: scene.count("refused_answers", "wrong_secret") >= 2)
        assert scene.count("acknowledged_packets") == 0
        server.secret = b"second-secret"
        assert eventually(lambda: scene.count("acknowledged_packets") == 1)


def test_a_restart_repeats_what_was_not_acknowledged_and_nothing_else(scene: Scene) -> None:
    names = [b"s%d" % n for n in range(20)]
    with second_server() as server:
        server.ignores = lambda packet: packet.first(44) in (b"s3", b"s7")
        with scene.relaying(config(server)):
            scene.append(*names[:10])
            scene.append(*names[10:])
            assert eventually(lambda: scene.count("acknowledged_packets") == 18)
        assert relayed_through(scene.position, LOG) == 0
        server.got.clear()
        server.ignores = lambda packet: False
        with scene.relaying(config(server)):
            assert eventually(lambda: scene.count("acknowledged_packets") == 20)
    assert set(server.sessions()) == {b"s3", b"s7"}
    assert relayed_through(scene.position, LOG) == 2


def test_a_held_packet_says_for_how_long(scene: Scene) -> None:
    with second_server() as server:
        scene.begin(config(server))
        scene.append(b"held", received_at=now_ms() - 90_000)
        with scene.relaying(config(server)):
            assert eventually(lambda: scene.count("acknowledged_packets") == 1)
    delay = int.from_bytes(server.got[0].first(41) or b"", "big")
    assert 90 <= delay <= 95


def test_more_than_the_queue_may_hold_is_given_up_oldest_first(scene: Scene) -> None:
    with second_server() as server:
        scene.begin(config(server))
        for n in range(10):
            scene.append(b"s%d" % n)
        size = len(encode_packets([logged(request(session_id=b"s0"))]))
        with scene.relaying(config(server, queue_octets_max=size * 4)):
            assert eventually(lambda: scene.count("acknowledged_packets") == 4)
    assert server.sessions() == [b"s6", b"s7", b"s8", b"s9"]
    assert scene.count("dropped_packets") == 6


def test_what_waited_too_long_is_given_up_also_on_its_way(scene: Scene) -> None:
    with second_server() as server:
        server.is_silent = True
        with scene.relaying(config(server)):
            scene.append(b"old", received_at=now_ms() - 7_200_000)
            assert eventually(lambda: len(server.got) > 0)
        server.is_silent = False
        server.got.clear()
        with scene.relaying(config(server, queue_hours_max=1)):
            assert eventually(lambda: scene.count("dropped_packets") == 1)
            scene.append(b"new")
            assert eventually(lambda: scene.count("acknowledged_packets") >= 1)
    assert b"new" in server.sessions()
    assert eventually(lambda: relayed_through(scene.position, LOG) == 2)


def test_a_log_that_was_trimmed_below_the_position_is_gone_and_not_waited_for(
    scene: Scene, tmp_path: Path
) -> None:
    with second_server() as server:
        server.is_silent = True
        with scene.relaying(config(server)):
            scene.append(b"gone")
            assert eventually(lambda: len(server.got) > 0)
        server.is_silent = False
        scene.append(b"also-gone")
        later = now_ms() + 7_200_000
        scene.append(b"left", received_at=later)
        assert scene.log.trim(consumed_number=2, received_before_at=later + 1) == 1
        server.got.clear()
        with scene.relaying(config(server)):
            assert eventually(lambda: scene.count("acknowledged_packets") == 1)
    assert server.sessions() == [b"left"]
    assert scene.count("dropped_packets") == 1


def test_an_accounting_on_in_every_partition_is_relayed_once(tmp_path: Path) -> None:
    packets = [
        logged(request(session_id=b"s1")),
        logged(request(session_id=b"", status=ON)),
        logged(request(session_id=b"s2")),
    ]
    parts = split_packets(encode_packets(packets), 8, 1 << 20)
    row = encode_parts([NumberedPart(p, 1, body) for p, body in parts])
    assert len(parts) == 8
    assert sorted(spooled_packets(row)) == sorted(packets)


def test_the_spools_of_a_topic_that_grew_are_relayed_one_after_the_other(tmp_path: Path) -> None:
    counters, position = Counters(), tmp_path / "relay.sqlite"
    names = ["g1"]

    def sources() -> list[RelaySource]:
        return [RelaySource(name, tmp_path / name) for name in names]

    def append(name: str, session: bytes) -> None:
        log = SegmentWriter(tmp_path / name)
        log.append("data", now_ms(), encode_packets([logged(request(session_id=session))]))
        log.close()

    SegmentWriter(tmp_path / "g1").close()
    with second_server() as server:
        relay = start_relay(
            config(server), sources, RelayPosition(position, b"flowrate"), now_ms, counters
        )
        try:
            append("g1", b"first")
            append("g2", b"second")
            names.append("g2")
            assert eventually(lambda: len(server.got) == 2)
        finally:
            relay.finish()
    assert server.sessions() == [b"first", b"second"]


def test_a_position_whose_disk_is_full_stands_still_and_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full = True
    note_done = RelayPosition.note_done

    def failing(self: RelayPosition, log: str, places: list[tuple[int, int]]) -> None:
        if is_full:
            raise OSError(28, "No space left on device")
        note_done(self, log, places)

    monkeypatch.setattr(RelayPosition, "note_done", failing)
    with second_server() as server, scene.relaying(config(server)):
        scene.append(b"a")
        assert eventually(lambda: scene.count("failures") >= 1)
        is_full = False
        assert eventually(lambda: relayed_through(scene.position, LOG) == 1)
    assert server.sessions() == [b"a"]
