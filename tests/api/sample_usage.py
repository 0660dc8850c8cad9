"""The warehouse's answers of the sample: usage that breathes with the day."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from api.ports import (
    EvidenceFilter,
    EvidenceRow,
    FlowQuality,
    RatedRow,
    UsageFilter,
    UsagePoint,
    UsageTotal,
)

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
GB = 10**9
PERIOD_START = 1_793_469_600_000
"""2026-10-31T18:00:00Z: November in Dhaka."""
PERIOD_END = 1_796_061_600_000
PREVIOUS_START = 1_790_791_200_000

CLASSES = {
    "cdn": 0.44,
    "international": 0.27,
    "bdix": 0.19,
    "zero_rated": 0.07,
    "unclassified": 0.03,
}


class SampleUsage:
    """The warehouse's answers, made of a daily rhythm: busy evenings, quiet before dawn."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        """Keep each subscriber's share of the whole."""
        self.weights = weights

    def _weight(self, which: UsageFilter) -> float:
        ids = self.weights if which.subscriber_ids is None else which.subscriber_ids
        return sum(self.weights.get(subscriber, 0.0) for subscriber in ids)

    @staticmethod
    def _rhythm(at: int) -> float:
        local = (at + 6 * HOUR) % DAY / DAY
        evening = math.exp(-(((local - 0.88 + 0.5) % 1 - 0.5) ** 2) / 0.018)
        ripple = 0.12 * math.sin(at / MINUTE / 3.1) + 0.08 * math.sin(at / MINUTE / 7.7)
        return 0.35 + evening + 0.25 * math.sin(2 * math.pi * (local - 0.3)) ** 2 + ripple

    def _octets(self, start: int, end: int, weight: float) -> int:
        width = max(MINUTE, (end - start) // 12)
        steps = range(start, end, width)
        mean = sum(self._rhythm(at) for at in steps) / max(1, len(steps))
        return int(mean * weight * (end - start) / 1000 * 5_600_000)

    def series(
        self, which: UsageFilter, step: str, timezone: str, by_class: bool
    ) -> list[UsagePoint]:
        """Return points that follow the rhythm."""
        width = {"minute": MINUTE, "hour": HOUR, "day": DAY}[step]
        shift = 6 * HOUR if step == "day" else 0
        first = (which.from_at + shift) // width * width - shift
        points = []
        for start in range(first, which.until_at, width):
            octets = self._octets(start, min(start + width, which.until_at), self._weight(which))
            shares = CLASSES if by_class else {"": 1.0}
            for number, (name, share) in enumerate(shares.items()):
                wobble = 1 + 0.15 * math.sin(start / width + number)
                down = int(octets * share * 0.87 * wobble)
                points.append(UsagePoint(start, name, down // 7, down))
        return points

    def by_class(self, which: UsageFilter) -> list[UsageTotal]:
        """Return the classes' shares of the range."""
        octets = self._octets(which.from_at, which.until_at, self._weight(which))
        return [
            UsageTotal(name, int(octets * share * 0.13), int(octets * share * 0.87))
            for name, share in CLASSES.items()
        ]

    def top_subscribers(self, which: UsageFilter, limit: int) -> list[UsageTotal]:
        """Return the heaviest subscribers."""
        ids = list(self.weights if which.subscriber_ids is None else which.subscriber_ids)
        ids.sort(key=lambda subscriber: -self.weights.get(subscriber, 0))
        totals = []
        for subscriber in ids[:limit]:
            octets = self._octets(which.from_at, which.until_at, self.weights[subscriber])
            totals.append(UsageTotal(subscriber, int(octets * 0.14), int(octets * 0.86)))
        return totals

    def flow_quality(self, which: UsageFilter, step: str, timezone: str) -> list[FlowQuality]:
        """Return steps of which one in two hundred octets may be missing; none of quiet people."""
        width = {"hour": HOUR, "day": DAY, "range": which.until_at - which.from_at}[step]
        ids = ["sub_0001a"] if which.rating_keys else (which.subscriber_ids or ())
        weight = sum(self.weights.get(subscriber, 0.0) for subscriber in ids)
        found = []
        for start in range(which.from_at, which.until_at, width):
            octets = self._octets(start, min(start + width, which.until_at), weight)
            if octets:
                found.append(FlowQuality(start, octets, octets // 100, 0, octets // 199, 0))
        return found

    def evidence(self, which: EvidenceFilter, level: str) -> list[EvidenceRow]:
        """Return pieces of the asked range."""
        width = {"day": DAY, "session": 5 * HOUR, "minute": MINUTE}[level]
        until = min(which.until_at, which.from_at + (40 * width if level == "minute" else 10**13))
        pieces = []
        for start in range(which.from_at, until, width):
            end = min(start + width, which.until_at)
            octets = self._octets(start, end, 0.0025)
            day = 1 + (start - PREVIOUS_START) // DAY
            key = {
                "day": f"2026-10-{day:02d}" if day <= 31 else f"2026-11-{day - 31:02d}",
                "session": f"nas-dhanmondi-1/81a0{start // HOUR % 4096:03x}/1",
                "minute": str(start),
            }[level]
            rows = max(1, (end - start) // MINUTE)
            pieces.append(
                EvidenceRow(key, start, end, octets // 8, octets - octets // 8, octets, rows)
            )
        return pieces

    def rated_rows(self, which: EvidenceFilter, limit: int) -> list[RatedRow]:
        """Return a class's row and the meter's, for each minute of the range."""
        rows = []
        for at in range(which.from_at, which.until_at, MINUTE)[:limit]:
            octets = self._octets(at, at + MINUTE, 0.0025)
            one = RatedRow(
                at, "sub_0001a", which.session_id or "", "accounting", "cdn", "volume",
                octets // 8, octets - octets // 8, 0, "0", False, at + MINUTE + 1_204, 3, 81_204,
            )  # fmt: skip
            counted: dict[str, Any] = {
                "traffic_class": "",
                "meter_id": which.meter_id,
                "quantity": octets,
            }
            rows += [one, dataclasses.replace(one, octets_up=0, octets_down=0, **counted)]
        return rows
