"""Hostile input for a while: what the collectors remember stays below its settings, and what did
not fit was counted.
"""

from __future__ import annotations

import random
import resource
import struct
import time
from collections.abc import Callable

from collectors.config import NasConfig, RadiusConfig
from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.state import HELD, PROGRESS, SEEN, SESSION, SPLIT, TOTALS
from collectors.radius.server import Accepted, AccountingServer
from infra.simulation.accounting_packets import NasIdentity, encode_accounting
from infra.simulation.network import AccountingEvent
from rating.ports import Batch, Block, MemoryState
from streams.decode import step
from tests.collectors.netflow import exports as x

TIGHT = FlowDecodeConfig(
    sessions_limit=300,
    templates_per_session_limit=64,
    template_fields_limit=256,
    template_octets_limit=400_000,
    held_octets_limit=200_000,
    held_octets_per_session_limit=50_000,
    held_sets_per_session_limit=100,
    samplers_per_session_limit=16,
    sets_per_datagram_limit=100,
    dedup_digests_limit=3_000,
)
BATCH = 200
BATCHES = 40
NOW = x.EXPORTED_AT * 1000
SAMPLER = ((302, 8),)
RATE = ((305, 4), (306, 4))


def random_source(chance: random.Random) -> bytes:
    return bytes(10) + b"\xff\xff" + chance.randbytes(4)


def new_exporters(chance: random.Random) -> Datagram:
    """A source never seen, with templates of its own and data that has none."""
    fields = [(chance.randrange(1, 400), 4) for _ in range(chance.randrange(1, 40))]
    sets = [
        x.template(chance.randrange(256, 65_536), fields, version=10),
        x.data(chance.randrange(256, 65_536), [chance.randbytes(40)]),
    ]
    return Datagram(0, random_source(chance), 2055, 2055, x.ipfix(sets))


def template_flood(chance: random.Random) -> Datagram:
    """One exporter that defines ever new ids, some with 65,535 fields."""
    sets = [
        x.template(chance.randrange(256, 65_536), [(1, 4), (2, 4), (8, 4)], version=10)
        for _ in range(20)
    ]
    giant = struct.pack(">HHHH", 2, 8 + 60_000, chance.randrange(256, 65_536), 65_535)
    whole = x.template(300, [(1, 4)] * 300, version=10)
    payload = x.ipfix([*sets, whole, giant + bytes(60_000)][-chance.choice((22, 2)) :])
    return Datagram(0, x.mapped("192.0.2.66"), 2055, 2055, payload)


def sampler_flood(chance: random.Random) -> Datagram:
    """One exporter that announces ever new samplers, and data that names others."""
    options = [struct.pack(">QII", chance.getrandbits(64), 1, n) for n in range(40)]
    data = [struct.pack(">IQ", 1_000, chance.getrandbits(64)) for _ in range(40)]
    sets = [
        x.options_template(257, SAMPLER, RATE, version=10),
        x.data(257, options),
        x.template(258, ((1, 4), (302, 8)), version=10),
        x.data(258, data),
    ]
    return Datagram(0, x.mapped("192.0.2.67"), 2055, 2055, x.ipfix(sets))


def tiny_sets(chance: random.Random) -> Datagram:
    """Sets of no octet at all that wait for templates: cheap to send, not to keep."""
    sets = [x.data(chance.randrange(256, 65_536), []) for _ in range(120)]
    domain = chance.randrange(20)
    return Datagram(0, x.mapped("192.0.2.68"), 2055, 2055, x.ipfix(sets, domain=domain))


def split_flood(chance: random.Random) -> Datagram:
    """Two ports of one forged address that contradict each other, under ever new domains."""
    port = chance.choice((1, 2))
    fields = [(port, 4), (8, 4)]
    payload = x.ipfix(
        [x.template(256, fields, version=10)],
        domain=chance.randrange(2_000),
        sequence=chance.getrandbits(32),
    )
    return Datagram(0, x.mapped("192.0.2.69"), port, 2055, payload)


FLOODS: tuple[Callable[[random.Random], Datagram], ...] = (
    new_exporters,
    new_exporters,
    template_flood,
    sampler_flood,
    tiny_sets,
    split_flood,
)


def check_decode_state(state: MemoryState) -> None:
    of = state.collections
    held = list(of.get(HELD, {}).values())
    sessions = of.get(SESSION, {})
    totals = of[TOTALS][""]
    assert totals.held_octets == sum(value.octets for value in held) <= TIGHT.held_octets_limit
    assert totals.template_octets == sum(session.octets for session in sessions.values())
    # What the batch itself touched is never forgotten in it: one batch may lie above the limit.
    assert totals.sessions == len(of[PROGRESS]) <= TIGHT.sessions_limit + BATCH
    assert len(sessions) <= len(of[PROGRESS])
    batch_templates = BATCH * 10_000
    assert totals.template_octets <= TIGHT.template_octets_limit + batch_templates
    for session in sessions.values():
        assert len(session.templates) <= TIGHT.templates_per_session_limit
        assert len(session.samplers) <= TIGHT.samplers_per_session_limit
    for progress in of[PROGRESS].values():
        assert progress.held_sets <= TIGHT.held_sets_per_session_limit
        assert progress.held_octets <= TIGHT.held_octets_per_session_limit
        assert len(progress.ports) <= 8
    marks = sum(len(value) // 24 for value in of[SEEN].values())
    assert marks <= TIGHT.dedup_digests_limit + BATCH
    assert len(of.get(SPLIT, {})) <= TIGHT.sessions_limit + BATCH


def test_decode_forgets_instead_of_growing() -> None:
    chance = random.Random(7)
    state = MemoryState()
    counted: dict[str, int] = {}
    peaks = []
    for number in range(BATCHES):
        received_at = NOW + 100 * number
        datagrams = [
            Datagram(received_at, flood.source_address, flood.source_port, 2055, flood.payload)
            for flood in (chance.choice(FLOODS)(chance) for _ in range(BATCH))
        ]
        block = Block(number + 1, "data", received_at, encode_datagrams(datagrams))
        # The watermark stands still: nothing may rely on time alone to be forgotten.
        result = step(state, Batch({}, [block]), watermark_at=NOW, config=TIGHT)
        state.apply(result)
        for name, count in result.counters.items():
            counted[name] = counted.get(name, 0) + count
        check_decode_state(state)
        if number % 10 == 9:
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    for name in (
        "decode_sessions_forgotten",
        "decode_digests_forgotten",
        "decode_refused_held_limit",
        "decode_refused_template_fields_limit",
        "decode_refused_template_truncated",
        "decode_refused_templates_per_session_limit",
        "decode_refused_samplers_per_session_limit",
        "decode_refused_sets_per_datagram_limit",
    ):
        assert counted.get(name), f"{name} counted nothing: {counted}"
    assert peaks[-1] - peaks[0] < 40_000, f"KiB at most in memory, every ten batches: {peaks}"


def test_options_and_data_cost_their_sum_not_their_product() -> None:
    """A few datagrams of toggling rates and ever new selectors once took a minute and 0.5 GB."""
    count = 9_000
    rates = [struct.pack(">QII", 7, 1, n % 2 + 1) for n in range(count)]
    data = [struct.pack(">IQ", 1_000, 1_000 + n) for n in range(count)]
    payloads = [
        x.ipfix(
            [
                x.options_template(257, SAMPLER, RATE, version=10),
                x.template(258, ((1, 4), (302, 8)), version=10),
            ]
        )
    ]
    for first in range(0, count, 3_000):
        payloads.append(x.ipfix([x.data(257, rates[first : first + 3_000])], sequence=first))
        payloads.append(x.ipfix([x.data(258, data[first : first + 3_000])], sequence=first))
    body = encode_datagrams(
        [Datagram(NOW, x.mapped("192.0.2.1"), 2055, 2055, payload) for payload in payloads]
    )
    block = Block(1, "data", NOW, body)
    begun = time.process_time()
    result = step(MemoryState(), Batch({}, [block]), watermark_at=0, config=FlowDecodeConfig())
    spent = time.process_time() - begun
    assert result.counters["decode_flows"] == count
    assert spent < 10


def test_radius_remembers_so_many_answers_and_no_more() -> None:
    chance = random.Random(7)
    nas = NasIdentity("192.0.2.9", "nas", b"secret")
    config = RadiusConfig(
        clients=(NasConfig("nas", "192.0.2.9", "secret"),), duplicate_cache_entries=500
    )
    server = AccountingServer(config)
    trusted, accepted = x.mapped("192.0.2.9"), 0
    for number in range(6_000):
        event = AccountingEvent(
            "interim", f"s{number}", "rahim", "10.0.0.7", "2001:db8::/64", 1_767_225_600, 60,
            number, number, 1, 1,
        )  # fmt: skip
        good = encode_accounting(event, nas, number % 256)
        spoiled = bytearray(good)
        spoiled[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        for source, packet in (
            (trusted, good),
            (trusted, bytes(spoiled)),
            (random_source(chance), good),
            (trusted, chance.randbytes(chance.randrange(200))),
        ):
            judged = server.handle(packet, source, chance.randrange(65_536), NOW)
            if isinstance(judged, Accepted):
                accepted += 1
                server.release(judged)
            assert server.cached <= config.duplicate_cache_entries
    assert accepted >= 6_000
    assert server.evicted == accepted - server.cached
