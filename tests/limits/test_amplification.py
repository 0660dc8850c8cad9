"""Records of one octet: what a batch costs in memory is bounded, however many records it holds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from rating.ports import Batch, Block, MemoryState
from streams.decode import PART_RECORDS_MAX, step
from tests.collectors.netflow import exports as x

NOW = x.EXPORTED_AT * 1000
CONFIG = FlowDecodeConfig()
SET_OCTETS = 60_000
DATAGRAMS = 70
"""4.2 million records, in 4.2 MB."""
PEAK_OCTETS_PER_PART_RECORD = 400
TEMPLATE = x.template(256, [(1, 1)], version=10)


def blocks(*sets: bytes, times: int, first: int = 0) -> list[Block]:
    """Return one block of messages with these sets, each with a sequence number of its own."""
    datagrams = [
        Datagram(NOW, x.mapped("192.0.2.1"), 2055, 2055, x.ipfix(sets, sequence=number))
        for number in range(first, first + times)
    ]
    return [Block(1, "data", NOW, encode_datagrams(datagrams))]


def at_once(data: bytes) -> tuple[MemoryState, list[Block]]:
    return MemoryState(), blocks(TEMPLATE, data, times=DATAGRAMS)


def released(data: bytes) -> tuple[MemoryState, list[Block]]:
    """A template comes for all that waited."""
    state = MemoryState()
    waiting = blocks(data, times=DATAGRAMS)
    state.apply(step(state, Batch({}, waiting), watermark_at=0, config=CONFIG))
    return state, blocks(TEMPLATE, times=1, first=DATAGRAMS)


@pytest.mark.parametrize("arrive", [at_once, released])
def test_memory_is_of_a_part_not_of_a_batch(
    arrive: Callable[[bytes], tuple[MemoryState, list[Block]]],
) -> None:
    state, batch = arrive(x.one_set(256, b"\7" * SET_OCTETS))
    tracemalloc.start()
    try:
        result = step(state, Batch({}, batch), watermark_at=0, config=CONFIG)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.counters["decode_flows"] == DATAGRAMS * SET_OCTETS
    assert result.counters["decode_octets"] == 7 * DATAGRAMS * SET_OCTETS
    payload = DATAGRAMS * SET_OCTETS
    assert peak < PEAK_OCTETS_PER_PART_RECORD * PART_RECORDS_MAX + 4 * payload
