"""The context of a trace: what travels in envelopes, and which rows it is about."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from rating.envelopes import Envelope, decode_message, encode_envelope
from rating.traces import (
    Carrier,
    NoSpans,
    TraceContext,
    active,
    active_trace_id,
    chance_of,
    decode_trace,
    encode_trace,
)

CONTEXT = TraceContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, 1_000, 1_199)
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01;flowrate=1000-1199"


def trace(number: int, received_from_at: int = 1_000, received_until_at: int = 1_199) -> bytes:
    return encode_trace(TraceContext(number, number, received_from_at, received_until_at))


def test_it_begins_with_the_traceparent_that_w3c_wrote_down() -> None:
    assert encode_trace(CONTEXT) == TRACE
    assert decode_trace(TRACE) == CONTEXT


def test_it_fits_into_an_envelope_whatever_its_numbers() -> None:
    largest = TraceContext((1 << 128) - 1, (1 << 64) - 1, 10**15 - 1, 10**15 - 1)
    message = encode_envelope(Envelope("flows@ams1", 7, 5, b"body", encode_trace(largest)))
    envelope = decode_message(message)
    assert isinstance(envelope, Envelope)
    assert decode_trace(envelope.trace) == largest
    assert envelope.body == b"body"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        TRACE + b"0" * 15,
        TRACE.replace(b"4bf9", b"4BF9"),
        TRACE.replace(b"-01;", b"-00;"),
        b"00-" + b"0" * 32 + TRACE[35:],
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01;flowrate=1000-1199",
        b"\xff" * 90,
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01;flowrate=१-२".encode(),
    ],
)
def test_what_is_no_trace_of_ours_is_ignored(octets: bytes) -> None:
    assert decode_trace(octets) is None
    carrier = Carrier()
    carrier.take(octets)
    assert len(carrier) == 0


def test_a_trace_is_about_the_rows_received_in_its_time() -> None:
    carrier = Carrier()
    carrier.take(trace(1, 1_000, 1_199))
    carrier.take(trace(2, 5_000, 5_100))
    assert carrier.of_rows(np.array([999, 2_000])) == []
    assert carrier.of_rows(np.array([1_000])) == [trace(1)]
    assert carrier.of_rows(np.array([1_999])) == [trace(1)], "flows know the second only"
    assert carrier.of_rows(np.array([5_100, 1_000])) == [trace(1), trace(2, 5_000, 5_100)]
    assert carrier.of_rows(np.empty(0, np.int64)) == []


def test_a_trace_waits_for_its_rows_and_is_forgotten_behind_the_watermark() -> None:
    carrier = Carrier(forget_after_ms=600_000)
    carrier.take(trace(1))
    carrier.forget(1_199 + 600_000)
    assert carrier.of_rows(np.array([1_100])) == [trace(1)]
    carrier.forget(1_199 + 600_001)
    assert len(carrier) == 0


def test_what_is_carried_comes_out_though_more_come_in() -> None:
    carrier = Carrier(traces_max=3)
    for number in range(1, 6):
        carrier.take(trace(number))
    assert carrier.of_rows(np.array([1_100])) == [trace(1), trace(2), trace(3)]


def test_what_has_come_out_makes_room_for_what_comes_in() -> None:
    carrier = Carrier(traces_max=3)
    for number in (1, 2, 3):
        carrier.take(trace(number, number * 10_000, number * 10_000))
    assert carrier.of_rows(np.array([20_000])) == [trace(2, 20_000, 20_000)]
    for number in (4, 5, 3):
        carrier.take(trace(number, number * 10_000, number * 10_000))
    assert len(carrier) == 3
    everything = np.arange(10_000, 60_000, 10_000)
    kept = [trace(number, number * 10_000, number * 10_000) for number in (1, 3, 4)]
    assert carrier.of_rows(everything) == kept


def test_the_first_received_is_the_first_whoever_was_taken_first() -> None:
    carrier = Carrier()
    carrier.take(trace(2, 5_000, 5_100))
    carrier.take(trace(1, 1_000, 1_199))
    assert carrier.of_rows(np.array([5_050, 1_100])) == [trace(1), trace(2, 5_000, 5_100)]


def test_chances_are_spread_evenly_and_the_same_each_time() -> None:
    chances = np.array([chance_of(number) for number in range(20_000)])
    assert chances.min() >= 0.0
    assert chances.max() < 1.0
    counted, _ = np.histogram(chances, bins=10, range=(0, 1))
    assert counted.min() > 1_800
    assert chance_of(7) == chances[7]


def test_switched_off_nothing_is_traced() -> None:
    assert NoSpans().start_trace(0, 0.0, (0, 0)) == b""
    assert NoSpans().child([TRACE], "rate", 0, 1, {}) == b""


def test_the_active_trace_is_that_of_this_task_alone() -> None:
    async def work(number: int) -> str:
        with active(trace(number)):
            await asyncio.sleep(0)
            return active_trace_id()

    async def both() -> list[str]:
        return list(await asyncio.gather(work(1), work(2)))

    assert asyncio.run(both()) == [f"{1:032x}", f"{2:032x}"]
    assert active_trace_id() == ""
