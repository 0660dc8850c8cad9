"""Octets beyond 64 bits, forged one plausible record at a time: refused and counted, no wrap."""

from __future__ import annotations

import struct
from fractions import Fraction

import polars as pl
import pytest

from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from rating import attribute_step
from rating.curves import Payg
from rating.ports import Batch, Block, MemoryState
from rating.records import DirectoryEntry, FlowMinute, frame_of
from rating.session_config import AttributionConfig
from streams.codec import encode_value
from streams.decode import step
from tests.collectors.netflow import exports as x
from tests.rating.rate_scene import Scene, meter, plan, started, usage

NOW = x.EXPORTED_AT * 1000
OWN = DirectoryEntry("own", 1, "own_prefix", "10.0.0.0/8", "", 0, 0, None)
FIELDS = ((8, 4), (12, 4), (1, 8), (2, 4))
PER_DATAGRAM = 2_000
TIMES = 40_000
CONFIG = FlowDecodeConfig()


def forge(target: str, octets: int, times: int) -> Block:
    """Return a block of records that are all alike."""
    record = struct.pack(">IIQI", x.v4("198.51.100.1"), x.v4(target), octets, 1)
    payloads = [
        x.ipfix(
            [x.template(256, FIELDS, version=10), x.data(256, [record] * PER_DATAGRAM)],
            sequence=number * PER_DATAGRAM,
        )
        for number in range(times // PER_DATAGRAM)
    ]
    datagrams = [Datagram(NOW, x.mapped("192.0.2.1"), 2055, 2055, payload) for payload in payloads]
    return Block(1, "data", NOW, encode_datagrams(datagrams))


@pytest.mark.parametrize("target", ["10.0.0.1", "203.0.113.1"])
def test_plausible_records_whose_sum_is_not_are_refused(target: str) -> None:
    """40,000 records of 2^48 octets once were -7.2e18 octets of a subscriber."""
    octets = CONFIG.record_octets_limit
    batch = Batch(
        {"directory": [frame_of(DirectoryEntry, [OWN])]},
        [forge(target, octets, TIMES), forge("10.0.0.2", 1_000, PER_DATAGRAM)],
    )
    result = step(MemoryState(), batch, watermark_at=0, config=CONFIG)
    (output,) = result.outputs
    assert output.frame["octets_down"].to_list() == [1_000 * PER_DATAGRAM]
    assert result.counters["decode_octets"] == TIMES * octets + 1_000 * PER_DATAGRAM
    if target == "10.0.0.1":
        assert result.counters["decode_minutes_implausible"] == TIMES
    else:
        assert result.counters["decode_octets_transit"] == TIMES * octets


def test_an_address_that_many_exporters_forge_does_not_wrap_when_joined() -> None:
    minute = NOW // 60_000
    rows = [
        FlowMinute(
            address=x.mapped(f"10.0.0.{1 + number % 2}"), port_block=0, minute=minute,
            traffic_class="unclassified", octets_up=0,
            octets_down=CONFIG.octets_per_minute_limit if number % 2 else 1_000, packets_up=0,
            packets_down=1, octets_exported=0, rate_known=True, exporter=f"{number}",
            received_at=NOW,
        )
        for number in range(2_000)
    ]  # fmt: skip
    frame = pl.concat([frame_of(FlowMinute, rows)] * 130)
    result = attribute_step.step(
        MemoryState(),
        Batch({"flow.minutes": [frame]}),
        watermark_at=NOW + 3_600_000,
        config=AttributionConfig(),
    )
    (output,) = result.outputs
    assert output.frame["octets_down"].to_list() == [130 * 1_000 * 1_000]
    assert result.counters["attribute_refused_rows"] == 130 * 1_000


@pytest.mark.parametrize("scope", ["period", "day", "session"])
def test_a_counter_never_leaves_what_the_state_can_hold(scope: str) -> None:
    """Usage of months that adds up beyond 2^63 once ended the engine, again and again."""
    sold = plan(meter(Payg(Fraction(1), 10**15), scope=scope))
    scene = Scene().feed(started(sold))
    for number in range(24):
        scene.feed(usage(f"01-10 {number:02d}:00", 2**60))
    assert scene.counters["rate_refused_movements"] == 17
    scene.feed(through="02-02")
    assert scene.charges() == pytest.approx(7 * 2**60 / 10**15)


def test_usage_of_one_step_that_no_column_holds_is_refused() -> None:
    scene = Scene().feed(started(plan()), usage("01-10 09:00", 1_000))
    scene.feed(*(usage(f"01-10 10:{number:02d}", 2**60) for number in range(20)))
    assert scene.counters["rate_refused_rows"] == 20
    assert scene.octets("unclassified") == 1_000


def test_a_price_beyond_the_books_is_refused() -> None:
    scene = Scene().feed(started(plan(meter(Payg(Fraction(1), 1)))))
    scene.feed(usage("01-10 10:00", 10**17), usage("01-11 10:00", 10**6))
    assert scene.counters["rate_refused_movements"] == 1
    assert scene.charges() == 10**6
    scene.feed(through="02-02")


def test_cells_of_flows_are_bounded_too() -> None:
    sold = plan(meter(Payg(Fraction(1), 10**15), class_weights={"cdn": (1, 2)}))
    scene = Scene().feed(started(sold))
    for _ in range(30):
        scene.feed(usage("01-10 10:00", 2**58, source="flows", traffic_class="cdn", session=""))
        scene.feed(usage("01-10 10:00", 2**58))
    assert scene.counters["rate_refused_movements"]
    scene.feed(through="02-02")
    assert encode_value(scene.state.collections["meters"])
