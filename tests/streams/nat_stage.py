"""The stage decode with NAT pools, and what it sends by topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.metrics import COUNTERS
from rating.addresses import format_address
from rating.nat_pools import NatPool, cell_parts, encode_pool
from rating.ports import Batch, Block, MemoryState
from rating.records import DirectoryEntry, frame_of
from streams.decode import step
from tests.collectors.netflow import exports as x

NOW = x.EXPORTED_AT * 1000
NAT = "192.0.2.1"


def pool_entry(pool: NatPool, since: int = 0, until: int | None = None) -> DirectoryEntry:
    """Return the directory row of a pool."""
    match = encode_pool(pool)
    return DirectoryEntry(f"nat_pool:{match}", 1, "nat_pool", match, "", 0, since, until)


def own_prefix(prefix: str) -> DirectoryEntry:
    """Return the directory row of an own prefix."""
    return DirectoryEntry(f"own:{prefix}", 1, "own_prefix", prefix, "", 0, 0, None)


class Decode:
    """The step with its state and the rows that it sent."""

    def __init__(self, *entries: DirectoryEntry, config: FlowDecodeConfig | None = None) -> None:
        """Start with a directory."""
        self.config = config or FlowDecodeConfig()
        self.state = MemoryState()
        self.sent: dict[str, list[pl.DataFrame]] = {}
        self.counters: Counter[str] = Counter()
        self._entries: Sequence[DirectoryEntry] = entries
        self._number = 0

    def take(self, *payloads: bytes, received_at: int = NOW, source: str = NAT) -> None:
        """Decode datagrams of one exporter."""
        self._number += 1
        datagrams = [Datagram(received_at, x.mapped(source), 50_000, 2055, p) for p in payloads]
        block = Block(self._number, "data", received_at, encode_datagrams(datagrams))
        frames = {"directory": [frame_of(DirectoryEntry, list(self._entries))]}
        self._entries = ()
        result = step(self.state, Batch(frames, [block]), watermark_at=0, config=self.config)
        self.state.apply(result)
        assert set(result.counters) <= set(COUNTERS)
        self.counters.update(result.counters)
        for output in result.outputs:
            self.sent.setdefault(output.topic, []).append(output.frame)

    def events(self) -> list[dict[str, Any]]:
        """Return the rows of nat.events, addresses as text."""
        rows = []
        for frame in self.sent.get("nat.events", []):
            for row in frame.iter_rows(named=True):
                for name in ("address", "inside_address"):
                    row[name] = format_address(row[name])
                rows.append(row)
        return rows

    def inside(self) -> dict[str, tuple[int, int]]:
        """Return own address -> octets up and down of flow.minutes."""
        return {key[0]: value for key, value in self._totals("flow.minutes").items()}

    def outside(self) -> dict[tuple[str, int, int, int], tuple[int, int]]:
        """Return (address, first, last port, protocol) -> octets up and down of nat.minutes."""
        return self._totals("nat.minutes")

    def _totals(self, topic: str) -> dict[tuple[str, int, int, int], tuple[int, int]]:
        totals: dict[tuple[str, int, int, int], tuple[int, int]] = {}
        for frame in self.sent.get(topic, []):
            parts = [part.tolist() for part in cell_parts(frame["port_block"].to_numpy())]
            for row, *cell in zip(frame.iter_rows(named=True), *parts, strict=True):
                key = (format_address(row["address"]), *cell)
                up, down = totals.get(key, (0, 0))
                totals[key] = (up + row["octets_up"], down + row["octets_down"])
        return totals
