"""Rated usage for tests: seeded rows, and a topic over them that behaves like the engine's."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from rating.records import RatedUsage, frame_of, schema_of

MINUTE = 29_000_000
"""2025-02-20T05:20Z: where test time begins, in minutes."""


def rated(**given: Any) -> RatedUsage:
    """Return one volume row of subscriber s1 with whatever is given replaced."""
    row: dict[str, Any] = {
        "rating_key": given.get("subscriber_id", "s1"),
        "subscriber_id": "s1",
        "source": "accounting",
        "session_id": "session-1",
        "traffic_class": "unclassified",
        "minute": MINUTE,
        "octets_up": 0,
        "octets_down": 0,
        "packets_up": 0,
        "packets_down": 0,
        "seconds": 0,
        "meter_id": "volume",
        "quantity": 0,
        "charge": Decimal(0),
        "currency": "EUR",
        "balance_effect": Decimal(0),
        "plan_id": "plan-1",
        "plan_version": 1,
        "period_start_at": MINUTE // 1440 * 1440 * 60_000,
        "is_late": False,
    }
    row |= given
    row.setdefault("received_at", (row["minute"] + 1) * 60_000 + 5_000)
    return RatedUsage(**row)


def rated_rows(rows: Sequence[RatedUsage]) -> pl.DataFrame:
    """Return rows as the frame that the topic carries."""
    return frame_of(RatedUsage, rows)


def random_frame(seed: int, rows: int) -> pl.DataFrame:
    """Return rows of 50 subscribers in two months, four classes and one meter, by a seed."""
    chance = np.random.default_rng(seed)
    subscribers = [f"s{number}" for number in chance.integers(0, 50, rows)]
    is_charge = chance.random(rows) < 0.2
    minutes = MINUTE + chance.integers(0, 20_000, rows)
    octets = np.where(is_charge, 0, chance.integers(-1000, 10_000_000, rows))
    billionths = np.where(is_charge, chance.integers(0, 10**6, rows), 0)
    classes = np.array(["local", "cdn", "world", ""])[chance.integers(0, 4, rows)]
    columns = {
        "rating_key": subscribers,
        "subscriber_id": subscribers,
        "source": ["accounting"] * rows,
        "session_id": [f"session-{name}" for name in subscribers],
        "traffic_class": classes.tolist(),
        "minute": minutes,
        "octets_up": octets // 7,
        "octets_down": octets,
        "packets_up": [1] * rows,
        "packets_down": [2] * rows,
        "seconds": [60] * rows,
        "meter_id": np.where(is_charge, "data", "volume").tolist(),
        "quantity": np.where(is_charge, chance.integers(0, 1000, rows), 0),
        "charge": [Decimal(value).scaleb(-9) for value in billionths.tolist()],
        "currency": ["EUR"] * rows,
        "balance_effect": [Decimal(0)] * rows,
        "plan_id": ["plan-1"] * rows,
        "plan_version": [1] * rows,
        "period_start_at": [0] * rows,
        "is_late": [False] * rows,
        "received_at": (minutes + 1) * 60_000,
    }
    return pl.DataFrame(columns, schema=schema_of(RatedUsage))


class MemoryTopic:
    """A topic in memory: records at any ascending positions, read as the port says."""

    def __init__(self, records: Sequence[tuple[int, pl.DataFrame]]) -> None:
        self.records = list(records)

    def read(self, after_position: int, limit_rows: int) -> list[tuple[int, pl.DataFrame]]:
        """Return whole records behind a position."""
        found: list[tuple[int, pl.DataFrame]] = []
        rows = 0
        for position, frame in self.records:
            if position <= after_position:
                continue
            if found and rows + frame.height > limit_rows:
                break
            found.append((position, frame))
            rows += frame.height
        return found

    def cursor(self, position: int) -> int:
        """Return what Kafka's offset would be."""
        return position * 10
