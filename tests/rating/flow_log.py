"""Flow minutes and bindings written short, and what the attribute stage made of them."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from rating.addresses import pack_address, parse_prefix
from rating.attribute_step import COLLECTIONS, step
from rating.ports import Batch, MemoryState, Put, StepResult
from rating.records import DirectoryEntry, FlowMinute, SessionBinding, frame_of
from rating.rows import FlowHour
from rating.session_config import AttributionConfig
from tests.rating.accounting_log import PEOPLE, at, minute


def flow(clock: str, source: str, down: int, *, arrives: str = "", **more: Any) -> FlowMinute:
    """Return what an address got in a minute; it arrives ten seconds after the minute's end."""
    which = minute(clock)
    more.setdefault("traffic_class", "unclassified")
    more.setdefault("octets_up", 0)
    more.setdefault("port_block", 0)
    more.setdefault("exporter", "edge")
    more.setdefault("octets_exported", down)
    more.setdefault("rate_known", True)
    return FlowMinute(
        address=pack_address(source),
        minute=which,
        octets_down=down,
        packets_up=0,
        packets_down=1 if down else 0,
        received_at=at(arrives) if arrives else (which + 1) * 60_000 + 10_000,
        **more,
    )


def binding(
    who: str, prefix: str, since: str, until: str | None = None, *, arrives: str = "", **more: Any
) -> SessionBinding:
    """Return a binding; it arrives when it begins, or when it ends."""
    parsed = parse_prefix(prefix)
    more.setdefault("binding_id", f"{who}/{prefix}")
    more.setdefault("revision", 1 if until is None else 2)
    more.setdefault("port_block", 0)
    return SessionBinding(
        address=parsed.address,
        prefix_length=parsed.length,
        subscriber_id=who,
        session_id=f"session of {who}" if who else "",
        valid_from_at=at(since),
        valid_until_at=None if until is None else at(until),
        received_at=at(arrives or until or since),
        **more,
    )


class Attribution:
    """The attribute stage with its state, which passes through the state codec at every step."""

    def __init__(
        self,
        config: AttributionConfig | None = None,
        directory: Iterable[DirectoryEntry] = PEOPLE,
    ) -> None:
        """Start with a directory."""
        self.config = config or AttributionConfig()
        self.state = MemoryState()
        self.watermark_at = 0
        self.rows: list[dict[str, Any]] = []
        self.usage: dict[tuple[Any, ...], int] = defaultdict(int)
        self.hours: dict[tuple[str, int, str], tuple[int, int, int]]
        self.hours = defaultdict(lambda: (0, 0, 0))
        self.unattributed: Counter[tuple[str, int]] = Counter()
        self.counters: Counter[str] = Counter()
        self.feed(directory=directory)

    def feed(
        self,
        flows: Sequence[FlowMinute] = (),
        bindings: Sequence[SessionBinding] = (),
        *,
        watermark: str | int | None = None,
        directory: Iterable[DirectoryEntry] = (),
    ) -> StepResult:
        """Run one step; without a watermark it stays where it was."""
        if watermark is not None:
            reached = at(watermark) if isinstance(watermark, str) else watermark
            self.watermark_at = max(self.watermark_at, reached)
        frames = {
            "flow.minutes": [frame_of(FlowMinute, list(flows))],
            "session.bindings": [frame_of(SessionBinding, list(bindings))],
            "directory": [frame_of(DirectoryEntry, list(directory))],
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
            for row in output.frame.iter_rows(named=True):
                self.rows.append(row)
                key = (row["rating_key"], row["subscriber_id"], row["session_id"])
                self.usage[*key, row["traffic_class"], row["minute"]] += row["octets_down"]
        for told in result.rows:
            if isinstance(told, FlowHour):
                key = (told.subscriber_id, told.hour, told.exporter)
                sums = (told.octets, told.octets_exported, told.octets_rate_unknown)
                before = self.hours[key]
                self.hours[key] = (before[0] + sums[0], before[1] + sums[1], before[2] + sums[2])
                continue
            octets = told.octets_up + told.octets_down
            self.unattributed[told.detail, told.minute] += octets
        self.counters.update(result.counters)
        return result

    def minutes(self) -> dict[tuple[Any, ...], int]:
        """Return (rating key, subscriber, session, class, minute) -> octets down, if not zero."""
        return {key: octets for key, octets in self.usage.items() if octets}

    def by_key(self) -> dict[str, int]:
        """Return rating key -> octets down, if not zero."""
        sums: Counter[str] = Counter()
        for key, octets in self.usage.items():
            sums[key[0]] += octets
        return {key: octets for key, octets in sums.items() if octets}


def _through_codec(collection: str, value: Any) -> Any:
    kind: Any = COLLECTIONS[collection]
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind)
