"""Whatever arrives: the decoder never raises, never hangs, and keeps within its limits.

At least 20,000 inputs: structured datagrams made of lies, and mutated ones, many to a block (each
from an exporter of its own), and sequences of blocks against one state with small limits.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.datagrams import Datagram
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.decoder import COUNTED
from collectors.netflow.metrics import REFUSALS
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run

TIGHT = FlowDecodeConfig(
    held_octets_limit=4_000,
    held_octets_per_session_limit=2_000,
    held_sets_per_session_limit=20,
    sessions_limit=30,
    templates_per_session_limit=8,
    template_fields_limit=40,
    samplers_per_session_limit=8,
    sets_per_datagram_limit=60,
    dedup_digests_limit=500,
    running_flows_limit=20,
)

ELEMENTS = (1, 2, 4, 7, 8, 12, 21, 22, 23, 27, 34, 48, 61, 85, 86, 136, 148, 150, 152, 154, 158,
            160, 161, 231, 232, 233, 291, 292, 293, 302, 305, 306, 309, 310, 311, 323,
            352)  # fmt: skip
"""Elements with a meaning, lists of structured data (291 to 293) among them."""


def _hostile(chance: random.Random) -> bytes:
    """Return one datagram whose every number may lie."""
    version = chance.choice((5, 9, 9, 9, 10, 10, 10, chance.randrange(65_536)))
    body = b""
    for _ in range(chance.randrange(5)):
        set_id = chance.choice((0, 1, 2, 3, 256, 257, 258, chance.randrange(65_536)))
        if set_id < 4:
            content = _template_record(chance, version, set_id)
        else:
            content = chance.randbytes(chance.choice((0, 1, 4, 20, 60, 200)))
        length = chance.choice((4 + len(content),) * 8 + (0, 3, 4, 65_535, len(content)))
        body += struct.pack(">HH", set_id, length) + content
    if version == 10:
        total = chance.choice((16 + len(body),) * 6 + (0, 65_535))
        header = struct.pack(">HHIII", 10, total, x.EXPORTED_AT, chance.randrange(99), 0)
    elif version == 9:
        count = chance.randrange(65_536)
        header = struct.pack(">HHIIII", 9, count, x.UPTIME, x.EXPORTED_AT, chance.randrange(99), 0)
    else:
        header = struct.pack(">HH", version, chance.choice((0, 1, 2, 30, 65_535))) + bytes(20)
        body += chance.randbytes(48 * chance.randrange(3))
    whole = header + body
    return whole[: chance.randrange(len(whole) + 1)] if chance.random() < 0.1 else whole


def _template_record(chance: random.Random, version: int, set_id: int) -> bytes:
    """Return a template, options template or withdrawal with random fields."""
    count = chance.choice((0, 1, 2, 5, 9, 30, 65_535))
    fields = b""
    for _ in range(min(count, 40)):
        element = chance.choice(ELEMENTS)
        octets = chance.choice((0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 16, 17, 65_535, 65_534))
        if version == 10 and chance.random() < 0.2:
            enterprise = chance.choice((29305, 1, 0))
            fields += struct.pack(">HHI", element | 0x8000, octets, enterprise)
        else:
            fields += struct.pack(">HH", element, octets)
    template_id = chance.choice((256, 257, 258, 0, 3, 65_535))
    if set_id in (1, 3):
        scopes = chance.choice((0, 1, 4, count, 65_535))
        return struct.pack(">HHH", template_id, count, scopes) + fields
    return struct.pack(">HH", template_id, count) + fields


def _blocks(seed: int, count: int, size: int) -> Iterator[list[Datagram]]:
    chance = random.Random(seed)
    number = 0
    for _ in range(count):
        block = []
        for _ in range(size):
            number += 1
            address = b"\xfd" + (number % 97).to_bytes(15, "big")
            at = x.EXPORTED_AT * 1000 + number
            block.append(Datagram(at, address, chance.randrange(3), 2055, _hostile(chance)))
        yield block


def _check_bounds(run: Run) -> None:
    state = run.state.collections
    held = state.get("flow_held", {}).values()
    assert sum(value.octets for value in held) <= TIGHT.held_octets_limit
    for progress in state.get("flow_progress", {}).values():
        assert progress.held_octets <= TIGHT.held_octets_per_session_limit
        assert len(progress.ports) <= 8
    for session in state.get("flow_session", {}).values():
        assert len(session.templates) <= TIGHT.templates_per_session_limit
        assert len(session.samplers) <= TIGHT.samplers_per_session_limit
    running = state.get("flow_running", {}).values()
    assert sum(len(value) for value in running) <= 64 * TIGHT.running_flows_limit * 3 // 2
    totals = state.get("flow_totals", {}).get("")
    if totals:
        assert totals.held_octets == sum(value.octets for value in held)
        sessions = state.get("flow_session", {}).values()
        assert totals.template_octets == sum(session.octets for session in sessions)


def test_hostile_datagrams_in_blocks() -> None:
    run = Run(TIGHT)
    taken = 0
    for number, block in enumerate(_blocks(seed=11, count=40, size=500)):
        decoded = run.take(x.block_of(block), watermark_at=block[0].received_at - 60_000)
        taken += len(block)
        flows = decoded.flows
        assert (flows.start_at <= flows.end_at).all()
        for name in ("octets", "packets", "octets_reverse", "packets_reverse"):
            assert not (getattr(flows, name) < 0).any()
        assert (flows.rate_numerator >= 1).all()
        assert np.isin(flows.origin, np.arange(len(decoded.origins))).all()
        _check_bounds(run)
        if number % 10 == 0:
            run.restart()
    assert taken == 20_000
    assert run.counts["datagrams"] == taken
    assert {name for name in run.counts if name not in COUNTED} <= set(REFUSALS)
    assert run.totals["flows"] > 1_000, "the fuzz must reach the traffic, too"


def test_the_batching_of_hostile_datagrams_changes_no_total() -> None:
    """Without limits in reach and with ports that agree, one block or many is the same."""
    for seed in range(20):
        chance = random.Random(seed)
        payloads = [_hostile(chance) for _ in range(30)]
        blocks = [x.block([payload]) for payload in payloads]
        whole, singly = Run(), Run()
        whole.take(x.block(payloads))
        for block in blocks:
            singly.take(block)
        assert whole.result() == singly.result(), seed


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=200), max_size=12), st.integers(0, 2))
def test_random_octets(payloads: list[bytes], kind: int) -> None:
    headers = (b"", struct.pack(">HH", 9, 1), struct.pack(">HH", 10, 60))
    run = Run(TIGHT)
    run.take(x.block(headers[kind] + payload for payload in payloads))
    assert run.counts["datagrams"] == len(payloads)


def test_one_datagram_full_of_empty_sets_and_one_octet_records_ends_soon() -> None:
    sets = x.template(256, [(1, 1)]) + struct.pack(">HH", 256, 60_004) + b"\1" * 60_000
    run = Run()
    run.take(x.block([x.v9([sets]), x.v9([struct.pack(">HH", 400, 4) * 16_000], sequence=1)]))
    assert run.totals["octets"] == 60_000
    assert run.counts["sets_per_datagram_limit"] == 1
