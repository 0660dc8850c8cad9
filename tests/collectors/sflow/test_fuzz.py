"""Whatever arrives: sFlow decoding never raises, never hangs, and loses or invents no octet.

Hypothesis draws datagrams of every kind of sample and layer; whole ones are summed up beside the
decoder, damaged ones (cut anywhere, bits flipped, numbers that lie) only have to be survived.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.decoder import COUNTED
from collectors.netflow.metrics import REFUSALS
from collectors.sflow.headers import SFLOW5
from rating.ports import Batch, Block, MemoryState
from rating.records import DirectoryEntry, frame_of
from streams.decode import step
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run, run_of, run_singly
from tests.collectors.sflow import agents as a

NOW = x.EXPORTED_AT * 1000
QUIET = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
OWN = frame_of(
    DirectoryEntry,
    [
        DirectoryEntry(prefix, 1, "own_prefix", prefix, "", 0, 0, None)
        for prefix in ("0.0.0.0/0", "::/0")
    ],
)
WRAPPINGS = 7


def _packet(octets: int, is_v6: bool) -> bytes:
    body = a.ports(40_000, 443, octets)
    if is_v6:
        return a.ipv6("2001:db8::1", "2001:db8:9::2", body)
    return a.ipv4("10.0.0.1", "203.0.113.9", body)


def _record(octets: int, is_v6: bool, wrapping: int) -> bytes:
    """Return a record of a packet of so many payload octets, below some layers."""
    packet = _packet(octets, is_v6)
    ether_type, ppp = (0x86DD, 0x0057) if is_v6 else (0x0800, 0x0021)
    frames = (
        a.ethernet(ether_type, packet),
        a.ethernet(ether_type, packet, tags=[(0x88A8, 1), (0x8100, 2)]),
        a.ethernet(0x8847, a.labels([1, 2], packet)),
        a.ethernet(0x8864, a.pppoe(ppp, packet), tags=[(0x8100, 2)]),
        a.snap(ether_type, packet),
    )
    if wrapping < len(frames):
        frame = frames[wrapping]
        return a.header(frame[:128], frame_octets=len(frame) + 4)
    if wrapping == len(frames):
        protocol = a.IPV6 if is_v6 else a.IPV4
        return a.header(packet[:128], protocol=protocol, frame_octets=len(packet), stripped=0)
    parsed = a.sampled_v6 if is_v6 else a.sampled_v4
    ends = ("2001:db8::1", "2001:db8:9::2") if is_v6 else ("10.0.0.1", "203.0.113.9")
    return parsed(*ends, len(packet))


SAMPLED = st.tuples(
    st.integers(4, 1_400), st.booleans(), st.integers(0, WRAPPINGS - 1), st.integers(0, 4_000),
    st.booleans(), st.sampled_from(["flow", "flow", "flow", "counters", "drop", "arp", "vendor"]),
)  # fmt: skip
Sampled = tuple[int, bool, int, int, bool, str]


def _sample(drawn: Sampled) -> bytes:
    octets, is_v6, wrapping, rate, is_expanded, kind = drawn
    if kind == "counters":
        return a.counter_sample([a.generic_counters(3, 10**15, 10**15)], is_expanded=is_expanded)
    if kind == "drop":
        return a.drop_sample()
    if kind == "vendor":
        return a.item(4_413 << 12 | 5, bytes(20))
    record = _record(octets, is_v6, wrapping)
    if kind == "arp":
        record = a.header(a.ethernet(0x0806, bytes(28)))
    sample = a.expanded_sample if is_expanded else a.flow_sample
    return sample([a.switch(7), record, a.gateway(1, [(2, [2, 3])])], rate=rate)


def _expected(samples: list[Sampled]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for octets, is_v6, _, rate, _, kind in samples:
        if kind == "flow":
            length = octets + (40 if is_v6 else 20)
            totals.update(flows=1, packets=1, octets=length)
            totals.update(packets_scaled=max(rate, 1), octets_scaled=length * max(rate, 1))
    return totals


def _datagrams(drawn: list[list[Sampled]]) -> list[Datagram]:
    return [
        Datagram(
            NOW + number,
            x.mapped("192.0.2.1"),
            50_000,
            6343,
            a.datagram([_sample(one) for one in samples], sequence=number),
        )
        for number, samples in enumerate(drawn)
    ]


@QUIET
@given(st.lists(st.lists(SAMPLED, max_size=6), min_size=1, max_size=6), st.randoms())
def test_octets_and_packets_are_conserved(
    drawn: list[list[Sampled]], chance: random.Random
) -> None:
    expected = _expected([one for samples in drawn for one in samples])
    datagrams = _datagrams(drawn)
    whole = run_of(datagrams)
    assert {n: whole.totals[n] for n in expected} == dict(expected)
    assert whole.totals["flows"] == expected["flows"]
    shuffled = chance.sample(datagrams, len(datagrams))
    assert run_singly(shuffled, restart=True).result() == whole.result()
    assert run_of([*datagrams, *shuffled]).result() == whole.result()


@QUIET
@given(st.lists(st.lists(SAMPLED, max_size=6), min_size=1, max_size=6))
def test_minutes_hold_what_was_sampled(drawn: list[list[Sampled]]) -> None:
    """Both ends of every packet are own: each octet is up once and down once."""
    block = Block(1, "data", NOW, encode_datagrams(_datagrams(drawn)))
    batch = Batch({"directory": [OWN]}, [block])
    result = step(MemoryState(), batch, watermark_at=0, config=FlowDecodeConfig())
    expected = _expected([one for samples in drawn for one in samples])
    frames = [output.frame for output in result.outputs]
    sums = pl.concat(frames).sum().row(0, named=True) if frames else {}
    for name in ("octets", "packets"):
        for way in ("up", "down"):
            assert sums.get(f"{name}_{way}", 0) == expected[f"{name}_scaled"]
    assert sums.get("octets_exported", 0) == 2 * expected["octets"]


def _damaged(chance: random.Random) -> Iterator[bytes]:
    """Yield datagrams that were whole once."""
    kinds = ["flow"] * 5 + ["counters", "drop", "arp", "vendor"]
    while True:
        samples = [
            _sample(
                (
                    chance.randrange(4, 200),
                    chance.random() < 0.5,
                    chance.randrange(WRAPPINGS),
                    chance.choice((0, 1, 1_000, 1 << 31)),
                    chance.random() < 0.5,
                    chance.choice(kinds),
                )
            )
            for _ in range(chance.randrange(1, 5))
        ]
        octets = bytearray(
            a.datagram(samples, agent=chance.choice(("", "198.51.100.7", "2001:db8::7")))
        )
        for _ in range(chance.randrange(4)):
            octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
        for _ in range(chance.randrange(3)):
            # A word that lies: counts, lengths and types are words.
            at = chance.randrange(len(octets) // 4) * 4
            octets[at : at + 4] = chance.choice(
                (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\5", b"\0\0\0\1")
            )
        end = chance.choice((len(octets), len(octets), chance.randrange(len(octets) + 1)))
        yield bytes(octets[:end])


def test_twenty_thousand_damaged_datagrams() -> None:
    chance = random.Random(20)
    damaged = _damaged(chance)
    totals: Counter[str] = Counter()
    for number in range(20):
        datagrams = [
            Datagram(NOW, b"\xfd" + i.to_bytes(15, "big"), 1, 6343, next(damaged))
            for i in range(number * 1_000, number * 1_000 + 1_000)
        ]
        run = Run()
        decoded = run.take(x.block_of(datagrams))
        flows = decoded.flows
        assert (flows.octets >= 0).all()
        # A flipped bit of the version makes NetFlow of it.
        is_sflow = np.array([origin.version == SFLOW5 for origin in decoded.origins])
        assert (flows.packets[is_sflow[flows.origin]] == 1).all()
        assert (flows.rate_numerator >= 1).all()
        assert np.isin(flows.origin, np.arange(len(decoded.origins))).all()
        totals.update(run.counts)
        totals["flows"] += len(flows)
    assert totals["datagrams"] == 20_000
    assert {name for name in totals if name not in (*COUNTED, "flows")} <= set(REFUSALS)
    assert totals["flows"] > 8_000, "the fuzz must reach the packets, too"
    own = ("sflow_", "samples_per", "records_per")
    reached = {name for name in totals if name.startswith(own)}
    assert reached | {"sflow_header_layers"} == {n for n in REFUSALS if n.startswith(own)}


@QUIET
@given(st.lists(st.binary(max_size=200), max_size=12), st.sampled_from([b"\0\0\0\5", b"\0\0"]))
def test_random_octets(payloads: list[bytes], beginning: bytes) -> None:
    run = Run()
    run.take(x.block(beginning + payload for payload in payloads))
    assert run.counts["datagrams"] == len(payloads)


def test_the_batching_of_damaged_datagrams_changes_no_total() -> None:
    damaged = _damaged(random.Random(3))
    for _ in range(20):
        datagrams = [
            Datagram(NOW, x.mapped(f"192.0.2.{i}"), 1, 6343, next(damaged)) for i in range(40)
        ]
        assert run_of(datagrams).result() == run_singly(datagrams, restart=True).result()
