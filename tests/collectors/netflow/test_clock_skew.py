"""An exporter whose clock is wrong: measured against the times of receipt, corrected, followed."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.datagrams import Datagram
from collectors.netflow.config import FlowDecodeConfig, check_decode
from collectors.netflow.state import HeldSet, Progress
from streams.codec import decode_value, encode_value
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NOW = x.EXPORTED_AT * SECOND
FIELDS: tuple[x.Field, ...] = ((8, 4), (12, 4), (1, 8), (152, 8), (153, 8))
TEMPLATE = x.template(256, FIELDS, version=10)


def sent(
    received_at: int, skew: int, *, delay: int = 0, template: bool = True, source: str = "192.0.2.1"
) -> Datagram:
    """Return a message about a flow of the ten seconds before it was sent, by a wrong clock.

    It was sent `delay` ms before its receipt, and the exporter's clock is `skew` ms ahead.
    """
    exported_at = received_at - delay + skew
    flow = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 10, exported_at - 10 * SECOND, exported_at)
    sets = [TEMPLATE] if template else []
    body = b"".join([*sets, x.data(256, [x.record(FIELDS, flow)])])
    head = struct.pack(">HHIII", 10, 16 + len(body), exported_at // SECOND, received_at % 9999, 0)
    return Datagram(received_at, x.mapped(source), 50_000, 2055, head + body)


def off(run: Run, datagrams: Sequence[Datagram]) -> list[int]:
    """Return how far each flow's end, corrected, lies from its datagram's receipt, ms."""
    flows = run.take(x.block_of(datagrams)).flows
    return [int(value) for value in flows.times()[1] - flows.received_at]


def minutes(skew: int, count: int = 10, *, since: int = NOW) -> list[Datagram]:
    """Return a message a minute, each 20 ms on its way."""
    return [sent(since + n * MINUTE, skew, delay=20) for n in range(count)]


@pytest.mark.parametrize("skew", [-5 * HOUR, -HOUR, -31 * SECOND, 32 * SECOND, HOUR, 400 * HOUR])
def test_a_clock_in_the_wrong_time_zone_is_corrected_from_the_first_datagram_on(skew: int) -> None:
    run = Run()
    found = off(run, minutes(skew))
    assert max(abs(value) for value in found) <= SECOND  # Export times are of whole seconds.
    assert run.counts["clock_corrected"] == 10


@pytest.mark.parametrize("skew", [-29 * SECOND, -SECOND, 0, 2 * SECOND, 29 * SECOND])
def test_a_clock_that_is_right_within_the_bound_is_left_alone(skew: int) -> None:
    run = Run()
    assert off(run, minutes(skew)) == [skew - 20] * 10
    assert run.counts["clock_corrected"] == 0


def test_the_bound_is_a_setting() -> None:
    run = Run(FlowDecodeConfig(clock_skew_limit_seconds=10))
    assert max(abs(value) for value in off(run, minutes(20 * SECOND))) <= SECOND
    (problem,) = check_decode(FlowDecodeConfig(clock_skew_limit_seconds=1))
    assert problem.startswith("clock_skew_limit_seconds = 1: expected 2 or more")


def test_a_datagram_that_was_long_on_its_way_is_no_wrong_clock() -> None:
    run = Run()
    off(run, minutes(0))
    late = sent(NOW + 10 * MINUTE, 0, delay=7 * MINUTE)
    assert off(run, [late]) == [-7 * MINUTE]


def test_a_forged_export_time_moves_its_own_flows_only() -> None:
    run = Run()
    off(run, minutes(HOUR))
    forged = sent(NOW + 10 * MINUTE, 90 * HOUR)
    honest = sent(NOW + 10 * MINUTE + 1, HOUR, delay=20)
    after = sent(NOW + 11 * MINUTE, HOUR, delay=20)
    assert [abs(value) <= SECOND for value in off(run, [forged, honest, after])] == [True] * 3


def test_a_clock_that_was_set_right_is_believed_at_once() -> None:
    run = Run()
    off(run, minutes(-3 * HOUR))
    assert off(run, minutes(0, 3, since=NOW + 10 * MINUTE)) == [-20] * 3


def test_a_clock_that_was_set_back_is_followed_after_three_minutes() -> None:
    run = Run()
    off(run, minutes(0))
    found = off(run, minutes(-HOUR, 8, since=NOW + 10 * MINUTE))
    assert [abs(value) <= SECOND for value in found] == [False] * 3 + [True] * 5


def test_a_clock_that_was_set_forward_is_followed_at_once() -> None:
    run = Run()
    off(run, minutes(0))
    found = off(run, minutes(HOUR, 5, since=NOW + 10 * MINUTE))
    assert max(abs(value) for value in found) <= SECOND


def test_each_exporter_has_a_clock_of_its_own() -> None:
    run = Run()
    both = [
        sent(NOW + n, skew, source=source)
        for n in range(6)
        for skew, source in ((HOUR, "192.0.2.1"), (0, "192.0.2.2"), (-HOUR, "192.0.2.3"))
    ]
    assert max(abs(value) for value in off(run, both)) <= SECOND


def test_what_waits_for_its_template_keeps_the_correction_of_its_datagram() -> None:
    run = Run()
    assert off(run, [sent(NOW, HOUR, template=False)]) == []
    run.restart()
    found = off(run, [sent(NOW + MINUTE, HOUR)])
    assert len(found) == 2
    assert max(abs(value) for value in found) <= SECOND


@given(
    st.lists(
        st.tuples(st.integers(0, 90 * SECOND), st.integers(-200 * SECOND, 200 * SECOND)),
        min_size=1,
        max_size=30,
    ),
    st.randoms(use_true_random=False),
)
def test_batches_and_restarts_change_no_correction(
    steps: list[tuple[int, int]], chance: random.Random
) -> None:
    received_at, datagrams = NOW, []
    for wait, skew in steps:
        received_at += wait
        datagrams.append(sent(received_at, skew))
    whole = off(Run(), datagrams)
    run, found = Run(), []
    while datagrams:
        size = chance.randint(1, len(datagrams))
        found += off(run, datagrams[:size])
        datagrams = datagrams[size:]
        run.restart()
    assert found == whole


def test_state_of_the_version_before_is_read() -> None:
    progress = {"is_started": True, "lowest": 1, "highest": 9, "units": 8, "last_seen_at": 5}
    assert decode_value(encode_value(progress), Progress) == Progress(
        is_started=True, lowest=1, highest=9, units=8, last_seen_at=5
    )
    held = {"session": "a", "template_id": 256, "source_port": 1, "received_at": 2}
    held_set = decode_value(
        encode_value({**held, "export_at": 3, "uptime": 4, "body": b"x"}), HeldSet
    )
    assert held_set.skew == 0
