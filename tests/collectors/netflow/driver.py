"""Drives the decoder over blocks as a stage does, with restarts in between, and sums up."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from collectors.datagrams import Datagram, DatagramBlock
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.counting import Counting
from collectors.netflow.decoder import Decoded, decode
from collectors.netflow.state import COLLECTIONS, HELD
from rating.addresses import format_address
from rating.ports import MemoryState, StepResult
from streams.codec import decode_value, encode_value
from tests.collectors.netflow.exports import block_of

SUMS = ("octets", "packets", "octets_reverse", "packets_reverse")

FiveTuple = tuple[str, str, int, int, int]

PATIENT = FlowDecodeConfig(held_seconds=1 << 33, template_expiry_seconds=0)
"""Recorded files lie years apart: data waits for its template, and templates hold, however long."""


class Run:
    """One life of the decoder: its state, what came out, what was counted.

    counts are by name, rules what the counting left out; totals are sums of what was exported,
    counted of what is billed of it; pieces are start, end and octets (both directions) of those.
    """

    def __init__(self, config: FlowDecodeConfig = PATIENT) -> None:
        self.config = config
        self.state = MemoryState()
        self.counts: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.pieces: list[tuple[int, int, int]] = []
        self.flows: list[Decoded] = []

    def take(self, block: DatagramBlock, *, watermark_at: int = 0) -> Decoded:
        """Decode one block and commit its changes."""
        decoded = decode(self.state, block, watermark_at=watermark_at, config=self.config)
        counting = Counting(self.state, self.config)
        counted = counting.count(decoded.flows, decoded.origins)
        changes = [*decoded.changes, *counting.changes(watermark_at)]
        self.state.apply(StepResult(changes=changes))
        self.rules.update(counting.counters)
        for name in SUMS:
            self.counted[name] += int(getattr(counted, name).sum())
        spans = (counted.start_at, counted.end_at, counted.octets + counted.octets_reverse)
        self.pieces += zip(*(column.tolist() for column in spans), strict=True)
        for (_, name), count in decoded.counts.items():
            self.counts[name] += count
        self.totals["flows"] += len(decoded.flows)
        for name in SUMS:
            values = getattr(decoded.flows, name)
            self.totals[name] += int(values.sum())
            self.totals[f"{name}_scaled"] += int(decoded.flows.scaled(values).sum())
        self.flows.append(decoded)
        return decoded

    def restart(self) -> None:
        """Lose everything but the state as it is stored."""
        stored = {
            name: {key: encode_value(value) for key, value in values.items()}
            for name, values in self.state.collections.items()
        }
        self.state = MemoryState()
        for name, values in stored.items():
            kind = COLLECTIONS[name]
            self.state.collections[name] = {
                key: decode_value(body, kind) for key, body in values.items()
            }

    @property
    def held(self) -> int:
        """Return how many data sets wait for their template."""
        return len(self.state.collections.get(HELD, {}))

    def result(self) -> dict[str, int]:
        """Return the totals that must not depend on order, batching or restarts."""
        counted = {k: self.counts[k] for k in ("data_records", "option_records", "templates")}
        billed = {f"{name}_counted": count for name, count in self.counted.items()}
        return {**self.totals, **counted, **billed, "held": self.held}

    def tuples(self) -> dict[FiveTuple, Counter[str]]:
        """Return octets, packets and records by source, destination, ports and protocol."""
        found: dict[FiveTuple, Counter[str]] = {}
        for decoded in self.flows:
            for key, octets, packets in _records(decoded):
                found.setdefault(key, Counter()).update(octets=octets, packets=packets, records=1)
        return found


def _records(decoded: Decoded) -> Iterator[tuple[FiveTuple, int, int]]:
    """Yield each flow's 5-tuple, octets and packets."""
    flows = decoded.flows
    for i in range(len(flows)):
        ends = (
            format_address(struct.pack(">QQ", int(high[i]), int(low[i])))
            for high, low in (
                (flows.source_high, flows.source_low),
                (flows.destination_high, flows.destination_low),
            )
        )
        source, destination = ends
        ports = (int(flows.source_port[i]), int(flows.destination_port[i]))
        key = (source, destination, *ports, int(flows.protocol[i]))
        yield key, int(flows.octets[i]), int(flows.packets[i])


def run_of(datagrams: Iterable[Datagram], config: FlowDecodeConfig = PATIENT) -> Run:
    """Return a run that took all datagrams as one block."""
    run = Run(config)
    run.take(block_of(datagrams))
    return run


def run_singly(datagrams: Sequence[Datagram], *, restart: bool) -> Run:
    """Return a run that took one datagram a block, with or without a restart after each."""
    run = Run()
    for datagram in datagrams:
        run.take(block_of([datagram]))
        if restart:
            run.restart()
    return run
