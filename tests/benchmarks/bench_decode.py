"""How fast datagrams become columns: `python -m tests.benchmarks.bench_decode`.

Generated traffic: 24 records a datagram (v5: 30), a template refresh every 500 datagrams, blocks
of 512 KiB eight at a time, the whole decoder with duplicates and sequence numbers, one core.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import numpy as np

from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.decoder import decode
from collectors.netflow.joining import join_blocks
from rating.ports import Batch, Block, MemoryState, StepResult
from rating.records import DirectoryEntry, frame_of
from streams.decode import step
from tests.collectors.netflow import exports
from tests.collectors.netflow.exports import Field

FIELDS: tuple[Field, ...] = (
    (8, 4), (12, 4), (15, 4), (10, 4), (14, 4), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2),
    (11, 2), (6, 1), (4, 1), (5, 1), (16, 4), (17, 4), (9, 1), (13, 1), (61, 1),
)  # fmt: skip
"""The usual template of a router: 50 octets a record."""

IPFIX_FIELDS: tuple[Field, ...] = (
    (8, 4), (12, 4), (10, 4), (14, 4), (2, 8), (1, 8), (152, 8), (153, 8), (7, 2), (11, 2),
    (6, 1), (4, 1), (5, 1), (16, 4), (17, 4), (61, 1),
)  # fmt: skip

EXPORTERS = 8
BLOCKS_PER_BATCH = 8
"""Blocks of 512 KiB that one step takes; the engine takes up to 64 when it is behind."""


def _records(fields: tuple[Field, ...], count: int, chance: np.random.Generator) -> bytes:
    """Return `count` records of random flows, plausible in octets, packets and times."""
    now = exports.EXPORTED_AT * 1000
    limits = {
        1: (40, 1_500_000), 2: (1, 1_000), 22: (exports.UPTIME - 60_000, exports.UPTIME - 1_000),
        21: (exports.UPTIME - 1_000, exports.UPTIME), 152: (now - 60_000, now - 1_000),
        153: (now - 1_000, now), 61: (0, 2), 4: (6, 18),
    }  # fmt: skip
    columns = []
    for element, octets, *_ in fields:
        low, high = limits.get(element, (0, min(1 << (8 * octets), 1 << 32)))
        values = chance.integers(low, high, count, dtype=np.int64).astype(">u8")
        columns.append(values.view(np.uint8).reshape(count, 8)[:, 8 - octets :])
    return np.concatenate(columns, axis=1).tobytes()


def generate(protocol: str, flows: int, seed: int = 1) -> list[bytes]:
    """Return block bodies that hold about `flows` records of v5, v9 or ipfix."""
    chance = np.random.default_rng(seed)
    if protocol == "v5":
        fields: tuple[Field, ...] = (
            (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2),
            (11, 2), (210, 1), (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (210, 2),
        )  # fmt: skip
        per = 30
    else:
        fields, per = (FIELDS, 24) if protocol == "v9" else (IPFIX_FIELDS, 24)
    size = sum(octets for _, octets, *_ in fields)
    body = _records(fields, flows, chance)
    datagrams: list[Datagram] = []
    make: Callable[..., bytes] = exports.v9 if protocol == "v9" else exports.ipfix
    for number in range(flows // per):
        part = body[number * per * size : (number + 1) * per * size]
        exporter, turn = number % EXPORTERS, number // EXPORTERS
        if protocol == "v5":
            payload = exports.v5([part], sequence=turn * per, count=per)
        else:
            sets = [exports.data(256, [part])]
            if turn % 500 == 0:
                sets.insert(0, exports.template(256, fields, version=9 if protocol == "v9" else 10))
            payload = make(sets, sequence=turn if protocol == "v9" else turn * per, domain=exporter)
        source = exports.mapped(f"192.0.2.{exporter + 1}")
        received_at = exports.EXPORTED_AT * 1000 + number // 100
        datagrams.append(Datagram(received_at, source, 50_000, 2055, payload))
    octets = len(datagrams[-1].payload)
    step = max(1, 524_288 // octets)
    return [
        encode_datagrams(datagrams[first : first + step])
        for first in range(0, len(datagrams), step)
    ]


def measure(protocol: str, flows: int) -> tuple[int, float]:
    """Return how many flows were decoded and the CPU seconds that it took."""
    bodies = generate(protocol, flows)
    state = MemoryState()
    config = FlowDecodeConfig()
    count = 0
    before = time.process_time()
    for first in range(0, len(bodies), BLOCKS_PER_BATCH):
        part = bodies[first : first + BLOCKS_PER_BATCH]
        block = join_blocks([decode_datagrams(body) for body in part])
        decoded = decode(state, block, watermark_at=0, config=config)
        state.apply(StepResult(changes=decoded.changes))
        count += len(decoded.flows)
    return count, time.process_time() - before


def measure_stage(flows: int) -> tuple[int, float]:
    """Return how many v9 flows the whole stage took, to rows of flow.minutes, and CPU seconds.

    A quarter of all addresses is own, and two prefix lists and a port make three classes.
    """
    entries = [
        DirectoryEntry("own", 1, "own_prefix", "64.0.0.0/2", "", 0, 0, None),
        DirectoryEntry("cdn", 1, "class_rule", '{"prefixes": ["128.0.0.0/2"]}', "cdn", 0, 0, None),
        DirectoryEntry("dns", 1, "class_rule", '{"ports": [[53, 53]]}', "dns", 0, 0, None),
    ]
    bodies = generate("v9", flows)
    state = MemoryState()
    run = functools.partial(step, config=FlowDecodeConfig(), watermark_at=0)
    state.apply(run(state, Batch({"directory": [frame_of(DirectoryEntry, entries)]})))
    count = 0
    before = time.process_time()
    for first in range(0, len(bodies), BLOCKS_PER_BATCH):
        part = bodies[first : first + BLOCKS_PER_BATCH]
        result = run(state, Batch(blocks=[Block(0, "data", 0, body) for body in part]))
        state.apply(result)
        count += result.counters["decode_flows"]
    return count, time.process_time() - before


def _line(name: str, count: int, seconds: float) -> str:
    """Return one result as text."""
    return (
        f"{name:12} {count:>10,} flows  {count / seconds / 1e6:6.2f} M flows/s  "
        f"{seconds / count * 1e6:6.3f} CPU s per million flows"
    )


def main() -> None:
    """Print flows/s and CPU seconds per million flows for each protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=960_000)
    flows = parser.parse_args().flows
    for protocol in ("v5", "v9", "ipfix"):
        print(_line(f"decode {protocol}", *measure(protocol, flows)))
    print(_line("stage v9", *measure_stage(flows)))


if __name__ == "__main__":
    main()
