"""Topics grow while a NAT's translations are known: each lies where its minutes will come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rating.addresses import pack_address
from rating.ports import MemoryState
from rating.records import FlowMinute, NatEvent, frame_of
from rating.session_config import AttributionConfig
from rating.translate_step import COLLECTIONS
from streams.codec import decode_value, encode_value
from streams.rekeying import Growth, Row, collections_of, rekeyed
from streams.topics import TOPICS, block_partition, route
from tests.rating.translation_log import Translation, freed, seen, told

OUTSIDES = [f"198.51.{number}.7" for number in range(24)]
CONFIG = AttributionConfig(lateness_bound_seconds=600)


def inside(number: int) -> str:
    return f"100.64.0.{number + 1}"


class Partitions:
    """The stage on several partitions, fed as the runner routes rows."""

    def __init__(self, stages: list[Translation]) -> None:
        self.stages = stages

    def feed(self, flows: list[FlowMinute], events: list[NatEvent], watermark: str) -> None:
        count = len(self.stages)
        minutes, said = frame_of(FlowMinute, flows), frame_of(NatEvent, events)
        for partition, frame in route(TOPICS["nat.minutes"], minutes, count):
            rows = [FlowMinute(**row) for row in frame.iter_rows(named=True)]
            self.stages[partition].feed(rows)
        for partition, frame in route(TOPICS["nat.events"], said, count):
            self.stages[partition].feed(
                [], [NatEvent(**row) for row in frame.iter_rows(named=True)]
            )
        for stage in self.stages:
            stage.feed(watermark=watermark)

    def grown(self, after: int) -> Partitions:
        """Return the stage on more partitions, with the state moved."""

        def read(collection: str) -> Iterator[Row]:
            rows = [
                (partition, key, encode_value(value))
                for partition, stage in enumerate(self.stages)
                for key, value in stage.state.collections.get(collection, {}).items()
            ]
            yield from sorted(rows, key=lambda row: row[1])

        new = [Translation(CONFIG) for _ in range(after)]
        for stage in new:
            stage.watermark_at = self.stages[0].watermark_at
            stage.state = MemoryState()
        for partition, collection, key, value in rekeyed(
            "translate", Growth(len(self.stages), after), read
        ):
            held = new[partition].state.collections.setdefault(collection, {})
            held[key] = decode_value(value, COLLECTIONS[collection])
        return Partitions(new)

    def totals(self) -> dict[str, int]:
        sums: dict[str, int] = {}
        for stage in self.stages:
            for address, octets in stage.totals().items():
                sums[address] = sums.get(address, 0) + octets
        return sums


def lived(grow_to: int | None) -> tuple[dict[str, int], Partitions]:
    """Return what came of it, grown in the middle of waiting, joined and past minutes or not."""
    events, first, second = [], [], []
    for number, outside in enumerate(OUTSIDES):
        where: dict[str, Any] = {"address": pack_address(outside)}
        events += [
            told(inside(number), 1024, 1535, "09:00:00", **where),
            freed(inside(number), 1024, 1535, "09:10:00", **where),
            told(inside(number), 1024, 1535, "10:00:00", **where),
        ]
        first += [seen("10:05", 1024, 512, 1, outside=outside),
                  seen("10:09", 1024, 512, 10, outside=outside)]  # fmt: skip
        second.append(seen("10:09", 1024, 512, 100, outside=outside))
    stages = Partitions([Translation(CONFIG) for _ in range(2)])
    stages.feed([], events[0::3] + events[1::3], "09:11:00")
    stages.feed(first, events[2::3], "10:07:00")
    before = stages.totals()
    if grow_to:
        stages = stages.grown(grow_to)
    # A release that comes late takes back what was joined before the growth.
    late = freed(inside(0), 1024, 1535, "10:04:00", arrives="10:09:30",
                 address=pack_address(OUTSIDES[0]))  # fmt: skip
    stages.feed(second, [late], "10:20:00")
    after = stages.totals()
    if grow_to:
        for address, octets in before.items():
            after[address] = after.get(address, 0) + octets
    return {address: octets for address, octets in after.items() if octets}, stages


def test_a_growth_changes_no_octet() -> None:
    wanted, _ = lived(None)
    assert len(wanted) == len(OUTSIDES)
    for partitions in (3, 6):
        found, grown = lived(partitions)
        assert found == wanted
        for partition, stage in enumerate(grown.stages):
            for collection in ("translations", "translations_past"):
                for key in stage.state.collections.get(collection, {}):
                    address = bytes.fromhex(key[:32])
                    assert block_partition(address, partitions) == partition


def test_every_collection_of_the_stage_moves() -> None:
    assert collections_of("translate") == set(COLLECTIONS)
