"""How fast datagrams become columns: `python -m tests.benchmarks.bench_decode`.

Generated traffic: 24 records a datagram, a template refresh every 500 datagrams, blocks of 512 KiB
sixteen at a time, the whole decoder with duplicates and sequence numbers, one core. Then the stage,
to rows of flow.minutes; one exporter to 64; one template to 2,000 of 20 layouts; sampled packets of
eight sFlow agents; and nfcapd and goflow2, where they are installed, on the same datagrams over
loopback. Everything runs once before it is measured: a collector runs for months.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence

from collectors.datagrams import decode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.decoder import decode
from collectors.netflow.joining import join_blocks
from infra.allocator import keep_freed_memory
from infra.garbage import collect_garbage_rarely
from rating.ports import Batch, Block, MemoryState, StepResult
from rating.records import DirectoryEntry, frame_of
from streams.config import StreamsConfig
from streams.decode import step
from tests.benchmarks.bench_peers import contestants, cores, run_trial
from tests.benchmarks.flow_sender import sending
from tests.benchmarks.flow_traffic import BLOCK_OCTETS, PROTOCOLS, Protocol, Shape, generate
from tests.benchmarks.sample_traffic import sampled_blocks
from tests.collectors.netflow.exports import EXPORTED_AT

BLOCKS_PER_BATCH = StreamsConfig().batch_octets_max // BLOCK_OCTETS
"""Blocks that one step of the engine takes when it is behind."""
EXPORTERS = (1, 4, 16, 64)
SAMPLES_MAX = 120_000
"""Sampled packets that are written: one by one, in Python."""
TURNS = 4
"""How often the traffic is repeated, with other headers."""
PEER_RATES = {"nfcapd": 8_000, "goflow2": 1_500}
"""Datagrams a second at which a peer's CPU is taken: below where it loses any."""


def blocks_of(shape: Shape) -> list[bytes]:
    """Return TURNS repetitions of a shape's traffic as block bodies; together about shape.flows."""
    traffic = generate(shape)
    bodies: list[bytes] = []
    for turn in range(TURNS):
        traffic.again(turn, EXPORTED_AT)
        bodies += traffic.blocks()
    return bodies


def measure(bodies: Sequence[bytes]) -> tuple[int, float]:
    """Return how many flows were decoded and the CPU seconds that it took."""
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


def measure_stage(bodies: Sequence[bytes]) -> tuple[int, float]:
    """Return how many flows the whole stage took, to rows of flow.minutes, and CPU seconds.

    The lines' prefix is own, and two prefix lists and a port make three classes.
    """
    entries = [
        DirectoryEntry("own", 1, "own_prefix", "100.64.0.0/10", "", 0, 0, None),
        DirectoryEntry(
            "cdn", 1, "class_rule", '{"prefixes": ["198.18.0.0/21"]}', "cdn", 0, 0, None
        ),
        DirectoryEntry("dns", 1, "class_rule", '{"ports": [[53, 53]]}', "dns", 0, 0, None),
    ]
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


def warm(
    run: Callable[[Sequence[bytes]], tuple[int, float]], bodies: Sequence[bytes]
) -> tuple[int, float]:
    """Return what a second run over the same traffic says."""
    run(bodies)
    return run(bodies)


def _line(name: str, count: int, seconds: float) -> str:
    """Return one result as text."""
    return (
        f"{name:34} {count:>10,} flows  {count / seconds / 1e6:6.2f} M flows/s  "
        f"{seconds / count * 1e6:6.3f} CPU s per million flows"
    )


def _against_peers(protocol: Protocol, own: float, seconds: float) -> None:
    """Print a peer's CPU seconds per million flows over loopback, and ours beside it."""
    with sending(Shape(protocol=protocol, flows=96_000), cores()[1]) as sender:
        for contestant in contestants(tuple(PEER_RATES)):
            trial = run_trial(contestant, sender, PEER_RATES[contestant.name], seconds)
            print(
                f"decode {protocol:5} against {contestant.name:8}: {own:6.3f} of its"
                f" {trial.cpu_per_million:6.3f} CPU s per million flows, receiving included"
                f" ({own / max(trial.cpu_per_million, 1e-9):.3f}); {trial.says()}",
                flush=True,
            )


def main() -> None:
    """Print flows/s and CPU seconds per million flows for each protocol and shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=960_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of sending to each peer")
    options = parser.parse_args()
    keep_freed_memory()
    collect_garbage_rarely()
    flows = options.flows // TURNS
    for protocol in PROTOCOLS:
        bodies = blocks_of(Shape(protocol=protocol, flows=flows, exporters=8))
        count, seconds = warm(measure, bodies)
        print(_line(f"decode {protocol}", count, seconds), flush=True)
        _against_peers(protocol, seconds / count * 1e6, options.seconds)
    sampled = sampled_blocks(min(flows, SAMPLES_MAX))
    print(_line("decode sflow", *warm(measure, sampled)), flush=True)
    print(_line("stage sflow", *warm(measure_stage, sampled)), flush=True)
    for exporters in EXPORTERS:
        bodies = blocks_of(Shape(flows=flows, exporters=exporters, templates=exporters))
        print(_line(f"stage v9, {exporters} exporters", *warm(measure_stage, bodies)), flush=True)
    many = Shape(flows=flows, exporters=500, templates=2_000, layouts=20, burst=2)
    few = Shape(flows=flows, exporters=500, templates=500, layouts=1, burst=2)
    costs = []
    for name, shape in (("500 templates of 1 layout", few), ("2,000 templates of 20", many)):
        count, seconds = warm(measure, blocks_of(shape))
        costs.append(seconds / count)
        print(_line(f"decode v9, {name}", count, seconds))
    print(f"2,000 templates of 20 layouts against one: {costs[1] / costs[0]:.2f} times the CPU")


if __name__ == "__main__":
    main()
