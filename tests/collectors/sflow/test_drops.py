"""Samples that an agent dropped before it sent anything: each counted once, whatever the order."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import msgspec
import pytest

from collectors.datagrams import Datagram
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.state import PROGRESS, TEMPLATE_OCTETS, TOTALS, Progress
from streams.codec import decode_value, encode_value
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run, run_of, run_singly
from tests.collectors.sflow import agents as a

HEADER = a.header(a.ethernet(0x0800, a.ipv4("10.0.0.1", "203.0.113.9", a.ports(1, 2))))
NOW = x.EXPORTED_AT * 1000

Told = tuple[int, int]
"""Sequence number and drops of a sample."""


def sent(samples: Sequence[bytes], sequence: int, agent: str = "198.51.100.7") -> Datagram:
    payload = a.datagram(samples, sequence=sequence, agent=agent)
    return Datagram(NOW + sequence, x.mapped("192.0.2.1"), 1, 6343, payload)


def of_source(told: Sequence[Told], source: int = 3) -> list[Datagram]:
    """Return a datagram for each sample."""
    return [
        sent([a.flow_sample([HEADER], sequence=sequence, drops=drops, source=source)], number)
        for number, (sequence, drops) in enumerate(told)
    ]


@pytest.mark.parametrize(
    ("told", "dropped"),
    [
        ([(10, 500)], 0),
        ([(10, 500), (11, 500)], 0),
        ([(10, 500), (11, 507), (15, 510)], 10),
        ([(10, 500), (15, 510), (11, 507), (16, 512)], 12),
        ([(10, 500), (11, 507), (11, 507)], 7),
        ([(10, 2**32 - 3), (11, 4)], 7),
        ([(2**32 - 1, 3), (0, 5), (1, 6)], 3),
        ([(900_000, 500), (1, 0), (2, 2), (3, 3)], 3),
        ([(10, 500), (11, 3), (12, 5)], 2),
        ([(10, 500), (5_000_000, 900), (5_000_001, 901)], 1),
    ],
    ids=[
        "first_sight", "none", "some", "late", "again", "drops_wrap", "sequence_wraps", "restart",
        "drops_cleared", "jump",
    ],
)  # fmt: skip
def test_drops_are_the_difference_between_samples(told: list[Told], dropped: int) -> None:
    datagrams = of_source(told)
    assert run_of(datagrams).counts["samples_dropped"] == dropped
    assert run_singly(datagrams, restart=True).counts["samples_dropped"] == dropped


def test_sources_sub_agents_and_agents_count_apart() -> None:
    def both(sequence: int, drops: int, number: int, agent: str) -> Datagram:
        samples = [
            a.flow_sample([HEADER], sequence=sequence, drops=drops, source=3),
            a.expanded_sample([HEADER], sequence=sequence + 70, drops=drops * 2, source=(0, 4)),
            a.expanded_sample([HEADER], sequence=sequence, drops=9, source=(1, 3)),
        ]
        return sent(samples, number, agent)

    datagrams = [
        both(sequence, drops, number, agent)
        for number, (sequence, drops) in enumerate([(1, 10), (2, 11), (3, 14)])
        for agent in ("198.51.100.7", "198.51.100.8")
    ]
    run = run_of(datagrams)
    by_agent = {
        run.flows[0].origins[number].address[-1]: count
        for (number, name), count in run.flows[0].counts.items()
        if name == "samples_dropped"
    }
    assert by_agent == {7: 4 + 8, 8: 4 + 8}
    assert run_singly(datagrams, restart=True).counts["samples_dropped"] == 24


def test_any_batching_counts_the_same_also_in_disorder_and_over_restarts_of_the_agent() -> None:
    chance = random.Random(8)
    for _ in range(30):
        drops, samples = 0, []
        for number in range(1, 40):
            drops += chance.choice((0, 0, 1, 50))
            if chance.random() < 0.05:
                drops = 0
            sequence = number if chance.random() < 0.95 else number + 10_000
            samples.append((sequence, drops, chance.choice((3, 4))))
        for _ in range(5):
            at = chance.randrange(len(samples) - 1)
            samples[at], samples[at + 1] = samples[at + 1], samples[at]
        datagrams = [
            sent([a.flow_sample([HEADER], sequence=s, drops=d, source=source)], number)
            for number, (s, d, source) in enumerate(samples)
        ]
        whole, parts = run_of(datagrams), Run()
        while datagrams:
            size = chance.randrange(1, 9)
            parts.take(x.block_of(datagrams[:size]))
            parts.restart()
            datagrams = datagrams[size:]
        assert parts.counts["samples_dropped"] == whole.counts["samples_dropped"]


def test_a_copy_of_a_datagram_drops_nothing_twice() -> None:
    datagrams = of_source([(1, 0), (2, 5)])
    assert run_of([*datagrams, *datagrams]).counts["samples_dropped"] == 5


def test_sources_beyond_the_limit_are_not_watched_but_their_packets_count() -> None:
    run = Run(FlowDecodeConfig(sampled_sources_per_session_limit=2))
    for number, drops in enumerate((0, 10)):
        samples = [
            a.flow_sample([HEADER], sequence=number, drops=drops, source=source)
            for source in range(5)
        ]
        run.take(x.block_of([sent(samples, number)]))
    assert run.counts["sampled_sources_limit"] == 6
    assert run.counts["samples_dropped"] == 20
    assert run.totals["flows"] == 10
    (progress,) = run.state.collections[PROGRESS].values()
    assert len(progress.sources) == 2


def test_sources_are_charged_to_the_limit_of_what_exporters_leave_in_memory() -> None:
    run = Run(FlowDecodeConfig(template_octets_limit=10 * TEMPLATE_OCTETS))
    for number in range(40):
        samples = [a.flow_sample([HEADER], source=source) for source in range(3)]
        datagram = sent(samples, number, agent=f"198.51.100.{number}")
        run.take(x.block_of([datagram]))
    held = run.state.collections[PROGRESS].values()
    assert len(held) < 5
    totals = run.state.collections[TOTALS][""]
    assert totals.template_octets == sum(3 * TEMPLATE_OCTETS for _ in held)


def test_progress_written_before_there_were_sources_is_read() -> None:
    now = Progress(is_started=True, highest=7, units=7, sources={3 << 32 | 4: (9, 2)})
    assert decode_value(encode_value(now), Progress) == now
    before = msgspec.to_builtins(now, str_keys=False)
    del before["sources"]
    assert decode_value(encode_value(before), Progress) == dataclasses.replace(now, sources={})
