"""Events of a NAT and flow minutes seen outside of it, written short, through stage translate."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from rating.addresses import format_address, pack_address
from rating.nat_pools import cell_of
from rating.ports import Batch, MemoryState, Put, StepResult
from rating.records import FlowMinute, NatEvent, frame_of
from rating.session_config import AttributionConfig
from rating.translate_step import COLLECTIONS, step
from tests.rating.accounting_log import at
from tests.rating.flow_log import flow

OUTSIDE = "198.51.100.7"
NOWHERE = bytes(16)


def told(
    inside: str, first: int, last: int, clock: str, *, arrives: str = "", **more: Any
) -> NatEvent:
    """Return an event of OUTSIDE's ports; it arrives when it happens; inside "" is of others."""
    more.setdefault("address", pack_address(OUTSIDE))
    more.setdefault("port_step", 1)
    more.setdefault("protocol", 0)
    more.setdefault("is_release", False)
    return NatEvent(
        first_port=first,
        last_port=last,
        inside_address=pack_address(inside) if inside else NOWHERE,
        event_at=at(clock),
        exporter="nat",
        received_at=at(arrives or clock),
        **more,
    )


def freed(inside: str, first: int, last: int, clock: str, **more: Any) -> NatEvent:
    """Return the event that takes ports back."""
    return told(inside, first, last, clock, is_release=True, **more)


def seen(clock: str, first: int, size: int, down: int, **more: Any) -> FlowMinute:
    """Return what a cell of ports of OUTSIDE got in a minute."""
    cell = cell_of(first, size, more.pop("protocol", 0))
    return flow(clock, more.pop("outside", OUTSIDE), down, port_block=cell, **more)


class Translation:
    """The stage translate with its state, which passes through the state codec at every step."""

    def __init__(self, config: AttributionConfig | None = None) -> None:
        """Start with no event known."""
        self.config = config or AttributionConfig()
        self.state = MemoryState()
        self.watermark_at = 0
        self.rows: list[dict[str, Any]] = []
        self.counters: Counter[str] = Counter()

    def feed(
        self,
        flows: Sequence[FlowMinute] = (),
        events: Sequence[NatEvent] = (),
        *,
        watermark: str | int | None = None,
    ) -> StepResult:
        """Run one step; without a watermark it stays where it was."""
        if watermark is not None:
            reached = at(watermark) if isinstance(watermark, str) else watermark
            self.watermark_at = max(self.watermark_at, reached)
        frames = {
            "nat.minutes": [frame_of(FlowMinute, list(flows))],
            "nat.events": [frame_of(NatEvent, list(events))],
        }
        batch = Batch(frames=frames)
        result = step(self.state, batch, watermark_at=self.watermark_at, config=self.config)
        changes = [
            msgspec.structs.replace(change, value=_through_codec(change.collection, change.value))
            if isinstance(change, Put)
            else change
            for change in result.changes
        ]
        self.state.apply(dataclasses.replace(result, changes=changes))
        for output in result.outputs:
            assert output.topic == "flow.minutes"
            self.rows += output.frame.iter_rows(named=True)
        self.counters.update(result.counters)
        return result

    def totals(self) -> dict[str, int]:
        """Return address -> octets down, if not zero."""
        sums: Counter[str] = Counter()
        for row in self.rows:
            sums[format_address(row["address"])] += row["octets_down"]
        return {address: octets for address, octets in sums.items() if octets}


def _through_codec(collection: str, value: Any) -> Any:
    kind: Any = COLLECTIONS[collection]
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind)
