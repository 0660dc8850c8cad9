"""A scene for the rate stage: an ISP's events and usage in words, and what came out.

Instants are given as local text of UTC days: ``at("01-10 14:30")`` is in January 2024.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import polars as pl

from rating.config import RateConfig
from rating.curves import AllowanceOverage, Curve
from rating.events import Payload, SubscriptionStarted, account_event
from rating.periods import Calendar
from rating.plans import Meter, Plan
from rating.ports import Batch, MemoryState, Put
from rating.rate_state import COLLECTIONS
from rating.rate_step import step
from rating.records import AccountEvent, RatedUsage, Usage, empty_frame, frame_of
from rating.rows import KEYS, UsageCharge, UsageDay

GB = 10**9
HOUR = 3_600_000
KEY = "sub-1"
CONFIG = RateConfig(cell_retention_seconds=86_400)


def at(text: str) -> int:
    """The instant in ms of ``MM-DD HH:MM`` (time optional) in 2024 UTC."""
    day, _, time = text.partition(" ")
    moment = datetime.datetime.fromisoformat(f"2024-{day}T{time or '00:00'}+00:00")
    return int(moment.timestamp() * 1000)


def usage(
    when: str,
    octets: int = 0,
    *,
    up: int = 0,
    key: str = KEY,
    subscriber: str = "",
    source: str = "accounting",
    traffic_class: str = "unclassified",
    seconds: int = 0,
    received: str = "",
    session: str = "s1",
) -> Usage:
    """Octets down (and up) in one minute, received a minute later unless said."""
    minute_at = at(when)
    return Usage(
        rating_key=key,
        subscriber_id=subscriber or key,
        source=source,
        session_id=session,
        traffic_class=traffic_class,
        minute=minute_at // 60_000,
        octets_up=up,
        octets_down=octets,
        packets_up=0,
        packets_down=0,
        seconds=seconds,
        received_at=at(received) if received else minute_at + 60_000,
    )


def plan(*meters: Meter, plan_id: str = "home", **fields: Any) -> Plan:
    """A plan in BDT, by default 50 GB included and 5.00 per GB above."""
    curve = AllowanceOverage(50 * GB, Fraction(5), GB)
    return Plan(
        plan_id, 1, plan_id.title(), "BDT", meters=meters or (Meter("data", curve),), **fields
    )


def meter(curve: Curve, meter_id: str = "data", **fields: Any) -> Meter:
    """A meter."""
    return Meter(meter_id, curve, **fields)


def event(
    event_id: str, payload: Payload, effective: str, *, key: str = KEY, received: str = ""
) -> AccountEvent:
    """An account event, received a minute before it takes effect unless said."""
    received_at = at(received) if received else at(effective) - 60_000
    return account_event(
        event_id, key, payload, effective_at=at(effective), received_at=received_at
    )


def started(
    sold: Plan, effective: str = "01-01", *, key: str = KEY, calendar: Calendar | None = None
) -> AccountEvent:
    """The start of a subscription."""
    payload = SubscriptionStarted(sold, calendar or Calendar())
    return event(f"start-{key}", payload, effective, key=key)


class Scene:
    """The rate stage with its state; keeps what it answered.

    Every value goes through the codec of the real store, so a state that cannot be stored fails.
    """

    def __init__(self, config: RateConfig = CONFIG) -> None:
        self.config = config
        self.state = MemoryState()
        self.rows: dict[type, dict[tuple[Any, ...], Any]] = {}
        self.rated = empty_frame(RatedUsage)
        self.counters: dict[str, int] = {}
        self.watermark_at = 0

    def feed(
        self,
        *records: Usage | AccountEvent,
        through: str | int | None = None,
    ) -> Scene:
        """One step with these records; `through` moves the watermark."""
        if through is not None:
            self.watermark_at = at(through) if isinstance(through, str) else through
        used = [record for record in records if isinstance(record, Usage)]
        events = [record for record in records if isinstance(record, AccountEvent)]
        batch = Batch(
            {
                "usage.measured": [frame_of(Usage, used)],
                "account.events": [frame_of(AccountEvent, events)],
            }
        )
        result = step(self.state, batch, watermark_at=self.watermark_at, config=self.config)
        changes = []
        for change in result.changes:
            if isinstance(change, Put):
                stored = msgspec.msgpack.encode(change.value)
                kind = COLLECTIONS[change.collection]
                value: Any = msgspec.msgpack.decode(stored, type=kind)
                assert value == change.value
                change = msgspec.structs.replace(change, value=value)
            changes.append(change)
        self.state.apply(dataclasses.replace(result, changes=changes))
        for row in result.rows:
            key = tuple(getattr(row, name) for name in KEYS[type(row)])
            self.rows.setdefault(type(row), {})[key] = row
        for output in result.outputs:
            self.rated = pl.concat([self.rated, output.frame])
        for name, count in result.counters.items():
            self.counters[name] = self.counters.get(name, 0) + count
        return self

    def of(self, kind: type) -> list[Any]:
        """The rows of one class, by key."""
        held = self.rows.get(kind, {})
        return [held[key] for key in sorted(held)]

    def charges(self) -> Fraction:
        """The sum of all charges on the wire."""
        charges: list[Decimal] = self.rated["charge"].to_list()
        return sum(map(Fraction, charges), Fraction(0))

    def octets(self, traffic_class: str) -> int:
        """The octets rated in a class."""
        rows = self.rated.filter(pl.col("traffic_class") == traffic_class)
        return int(rows["octets_up"].sum()) + int(rows["octets_down"].sum())


def newest_charges(rows: Sequence[UsageCharge]) -> dict[tuple[str, int, int, str], UsageCharge]:
    """The newest revision of each line."""
    lines: dict[tuple[str, int, int, str], UsageCharge] = {}
    for row in sorted(rows, key=lambda row: row.revision):
        lines[row.rating_key, row.period_start_at, row.segment_number, row.meter_id] = row
    return lines


def day_sums(rows: Sequence[UsageDay]) -> dict[tuple[str, int, int, str], int]:
    """The sum of day postings of each line, in minor units."""
    sums: dict[tuple[str, int, int, str], int] = {}
    for row in rows:
        key = (row.rating_key, row.period_start_at, row.segment_number, row.meter_id)
        sums[key] = sums.get(key, 0) + row.amount_minor
    return sums
