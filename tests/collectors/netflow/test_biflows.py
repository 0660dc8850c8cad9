"""Biflows: both directions in one record (RFC 5103), in whichever elements they are told."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from collectors.netflow.elements import REVERSE
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run
from tests.streams.test_decode import OWN, Stage, datagram

ENDS: tuple[x.Field, ...] = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1))
BOTH: tuple[x.Field, ...] = (
    *ENDS, (1, 8), (2, 8), (1, 8, REVERSE), (2, 8, REVERSE), (152, 8), (153, 8),
)  # fmt: skip
NOW = x.EXPORTED_AT * 1000


def _values(source: str, target: str, start: int, end: int) -> tuple[int, ...]:
    return x.v4(source), x.v4(target), 40_000, 443, 6, 300, 3, 9_000, 8, start, end


def _message(fields: tuple[x.Field, ...], values: tuple[int | bytes, ...]) -> bytes:
    record = x.record(fields, values)
    return x.ipfix([x.template(256, fields, version=10), x.data(256, [record])])


@pytest.mark.parametrize("direction", [0, 1, 2, 3])
def test_forward_is_from_the_source_whoever_began(direction: int) -> None:
    # biflowDirection (239) says why the source is the source: nothing, initiator, responder, side.
    fields = (*BOTH, (239, 1))
    up = (*_values("10.0.0.1", "192.0.2.9", NOW - 5_000, NOW - 1_000), direction)
    down = (*_values("192.0.2.9", "10.0.0.2", NOW - 5_000, NOW - 1_000), direction)
    stage = Stage(OWN)
    stage.take(datagram(_message(fields, up)), datagram(_message(fields, down)))
    assert stage.totals("address") == {
        ("10.0.0.1",): (300, 9_000, 3, 8, 9_300),
        ("10.0.0.2",): (9_000, 300, 8, 3, 9_300),
    }


def _ntp(ms: int) -> bytes:
    seconds, rest = divmod(ms, 1000)
    return struct.pack(">II", seconds + 2_208_988_800, (rest << 32) // 1000 + 1)


@pytest.mark.parametrize(
    ("start", "end", "as_sent"),
    [
        (152, 153, lambda ms: ms),
        (154, 155, _ntp),
        (156, 157, _ntp),
        (150, 151, lambda ms: ms // 1000),
    ],
)
def test_the_span_of_a_biflow_covers_its_reverse_direction(
    start: int, end: int, as_sent: Callable[[int], int | bytes]
) -> None:
    octets = 4 if start == 150 else 8
    fields = (*BOTH, (start, octets, REVERSE), (end, octets, REVERSE))
    forward = _values("10.0.0.1", "192.0.2.9", NOW - 60_000, NOW - 30_000)
    run = Run()
    run.take(x.block([_message(fields, (*forward, as_sent(NOW - 59_000), as_sent(NOW - 2_000)))]))
    run.take(x.block([_message(fields, (*forward, as_sent(NOW - 70_000), as_sent(NOW - 40_000)))]))
    assert [(a - NOW, b - NOW) for a, b, _ in run.pieces] == [(-60_000, -2_000), (-70_000, -30_000)]


def test_a_reverse_time_of_zero_is_absent() -> None:
    fields = (*BOTH, (152, 8, REVERSE), (153, 8, REVERSE))
    values = (*_values("10.0.0.1", "192.0.2.9", NOW - 60_000, NOW - 30_000), 0, 0)
    run = Run()
    run.take(x.block([_message(fields, values)]))
    assert [(a - NOW, b - NOW) for a, b, _ in run.pieces] == [(-60_000, -30_000)]


def test_reverse_uptimes_and_deltas() -> None:
    uptimes = ((22, 4), (21, 4), (22, 4, REVERSE), (21, 4, REVERSE))
    fields: tuple[x.Field, ...] = (*BOTH[:9], *uptimes, (160, 8))
    told = (*_values("10.0.0.1", "192.0.2.9", 0, 0)[:9], 40_000, 70_000, 45_000, 98_000)
    run = Run()
    run.take(x.block([_message(fields, (*told, NOW - 100_000))]))
    deltas: tuple[x.Field, ...] = ((158, 4), (159, 4), (158, 4, REVERSE), (159, 4, REVERSE))
    told = (*told[:9], 60_000_000, 30_000_000, 59_000_000, 2_000_000)
    run.take(x.block([_message((*BOTH[:9], *deltas), told)]))
    assert [(a - NOW, b - NOW) for a, b, _ in run.pieces] == [(-60_000, -2_000)] * 2


def test_reverse_packets_without_reverse_octets_are_packets_only() -> None:
    fields: tuple[x.Field, ...] = (*ENDS, (1, 8), (2, 8, REVERSE))
    run = Run()
    ends = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 40_000, 443, 6)
    run.take(x.block([_message(fields, (*ends, 900, 7))]))
    assert (run.counted["octets"], run.counted["octets_reverse"]) == (900, 0)
    assert run.counted["packets_reverse"] == 7
