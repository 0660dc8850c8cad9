"""The sessions stage on blocks of real RADIUS packets."""

from __future__ import annotations

import struct

import pytest

from collectors.config import NasConfig, RadiusConfig
from collectors.radius.log_codec import AccountingPacket, encode_packets
from collectors.radius.packet import ACCOUNTING_REQUEST, sign_request
from rating.ports import Batch, Block, MemoryState, StepResult
from rating.records import DirectoryEntry, frame_of
from rating.session_config import SessionsConfig
from streams import sessions
from streams.codec import encode_value
from streams.sessions import SessionsStageConfig, step
from tests.rating.accounting_log import PEOPLE, at

SECRET = "testing123"


def body(
    status: int, event: str, seconds: int, octets_in: int, octets_out: int, *, ahead: int = 0
) -> bytes:
    """Return a block with one Accounting-Request of alice, whose NAS is some seconds ahead."""
    stamped = at(event) // 1000 + ahead
    integers = ((40, status), (46, seconds), (42, octets_in), (43, octets_out), (55, stamped))
    attributes = [(kind, struct.pack("!I", value)) for kind, value in integers]
    attributes += [(1, b"alice"), (44, b"0001"), (8, bytes((100, 64, 0, 1)))]
    request = sign_request(ACCOUNTING_REQUEST, 1, attributes, SECRET.encode())
    source = bytes(10) + b"\xff\xff\x0a\x00\x00\x01"
    return encode_packets([AccountingPacket(at(event), "bras", source, 1813, request)])


def run(bodies: list[bytes], nas: NasConfig | None = None) -> tuple[MemoryState, StepResult]:
    """Return state and result of one step over blocks."""
    clients = (nas or NasConfig("bras", "10.0.0.1", SECRET),)
    config = SessionsStageConfig(radius=RadiusConfig(clients=clients))
    blocks = [Block(n, "data", at("10:00:00"), body) for n, body in enumerate(bodies, start=1)]
    frames = {"directory": [frame_of(DirectoryEntry, list(PEOPLE))]}
    state = MemoryState()
    result = step(state, Batch(frames, blocks), watermark_at=at("10:06:00"), config=config)
    state.apply(result)
    return state, result


def octets(result: StepResult) -> tuple[int, int]:
    (usage,) = [o.frame for o in result.outputs if o.topic == "usage.measured"]
    assert set(usage["rating_key"]) == {"s-alice"}
    return int(usage["octets_up"].sum()), int(usage["octets_down"].sum())


def test_packets_of_a_block_become_usage_bindings_and_a_live_session() -> None:
    bodies = [body(1, "10:00:00", 0, 0, 0), body(3, "10:05:00", 300, 100, 5000)]
    state, result = run(bodies)
    assert octets(result) == (100, 5000)
    (binding,) = [o.frame for o in result.outputs if o.topic == "session.bindings"]
    assert binding["subscriber_id"].to_list() == ["s-alice"]
    (row,) = result.rows
    assert (row.framed_address, row.octets_down, row.ended_at) == ("100.64.0.1", 5000, None)
    assert set(state.collections) <= set(sessions.COLLECTIONS)


def forged(event: str, seconds: int, gigawords: int) -> bytes:
    """Return a block with an interim update of alice whose counters stand at the gigawords."""
    integers = ((40, 3), (46, seconds), (42, 7), (43, 9), (52, gigawords), (53, gigawords))
    attributes = [(kind, struct.pack("!I", value)) for kind, value in integers]
    attributes += [(1, b"alice"), (44, b"0001"), (8, bytes((100, 64, 0, 1)))]
    request = sign_request(ACCOUNTING_REQUEST, 1, attributes, SECRET.encode())
    source = bytes(10) + b"\xff\xff\x0a\x00\x00\x01"
    return encode_packets([AccountingPacket(at(event), "bras", source, 1813, request)])


@pytest.mark.parametrize("gigawords", [2**20, 2**31 - 1, 2**32 - 1])
def test_counters_that_no_line_moves_are_refused_and_the_session_goes_on(gigawords: int) -> None:
    bodies = [
        body(1, "10:00:00", 0, 0, 0),
        forged("10:02:30", 150, gigawords),
        body(3, "10:05:00", 300, 100, 5000),
    ]
    state, result = run(bodies)
    assert octets(result) == (100, 5000)
    counted = result.counters.get("sessions_counters_implausible", 0)
    assert counted + result.counters.get("sessions_packet_faults", 0) == 2
    (row,) = result.rows
    assert (row.octets_down, row.ended_at) == (5000, None)
    assert encode_value(state.collections["sessions"])


def test_a_rate_between_two_packets_is_one_that_a_line_has() -> None:
    """Once 2^55 octets in a second were 2.9e20 bit/s, which no column holds."""
    bodies = [
        forged("10:05:00", 60_000_000, 0),
        forged("10:05:01", 60_000_001, 2**23),
    ]
    _, result = run(bodies)
    (row,) = result.rows
    assert row.rate_down_bps == 8 * SessionsConfig().octets_per_second_limit


@pytest.mark.parametrize(
    ("nas", "expected"),
    [
        (NasConfig("bras", "10.0.0.1", SECRET, swap_input_output=True), (5000, 100)),
        (NasConfig("bras", "10.0.0.1", SECRET, unit_octets=1024), (102_400, 5_120_000)),
    ],
    ids=["input-is-download", "counts-kibibytes"],
)
def test_what_corrects_a_nas_is_applied(nas: NasConfig, expected: tuple[int, int]) -> None:
    bodies = [body(1, "10:00:00", 0, 0, 0), body(2, "10:05:00", 300, 100, 5000)]
    assert octets(run(bodies, nas)[1]) == expected


def test_a_block_that_cannot_be_read_is_a_dead_letter_and_stops_nothing() -> None:
    _, result = run([b"no block", body(2, "10:05:00", 300, 100, 5000)])
    assert octets(result) == (100, 5000)
    (dead,) = [o.frame for o in result.outputs if o.topic == "dead.letters"]
    assert dead["source"].to_list() == ["radius.accounting"]
    assert dead["body"].to_list() == [b"no block"]
    assert result.counters["sessions_blocks_refused"] == 1


def test_a_wrong_clock_is_counted_and_its_packets_are_placed_by_arrival() -> None:
    good, wrong = body(1, "10:00:00", 0, 0, 0), body(2, "10:05:00", 300, 100, 5000, ahead=7_200)
    _, result = run([good, wrong])
    assert octets(result) == (100, 5000)
    assert result.counters["sessions_clock_wrong"] == 1
    (usage,) = [o.frame for o in result.outputs if o.topic == "usage.measured"]
    assert max(usage["minute"].to_list()) <= at("10:05:00") // 60_000


def test_a_packet_that_says_nothing_usable_is_counted() -> None:
    source = bytes(16)
    bad = encode_packets([AccountingPacket(at("10:00:00"), "bras", source, 1, b"\x04\x01\x00\x04")])
    _, result = run([bad])
    assert result.counters["sessions_packet_faults"] == 1
