"""The same usage in any order, cut into any batches, gives the same money.

A story is a month and a half of usage and account events. It is told several times: each record
is handed over at some step before the watermark passes its `received_at` (that is all a watermark
promises), usage never before the events that its minute falls under, and events are repeated.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import polars as pl
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rating.bands import Band
from rating.config import RateConfig
from rating.curves import AllowanceOverage, Graduated, Increments, Payg, Tier
from rating.events import PlanChanged, PoolJoined, TopUp
from rating.periods import Calendar
from rating.plans import Adjustment
from rating.records import AccountEvent, Usage
from rating.rows import (
    AccountEventResult,
    Balance,
    DesiredService,
    PeriodClosing,
    UsageCharge,
    UsageCounter,
    UsageDay,
)
from tests.rating.rate_scene import (
    GB,
    HOUR,
    Scene,
    at,
    day_sums,
    event,
    meter,
    newest_charges,
    plan,
    started,
)

WEIGHTS = {"cdn": (0, 1), "local": (1, 3)}
CALENDAR = Calendar("Asia/Dhaka", "monthly", 3)
CURVE = Graduated(
    (
        Tier(2 * GB, Fraction("0.5"), Fraction(3), GB),
        Tier(5 * GB, Fraction("1.37"), Fraction(1), GB),
        Tier(None, Fraction("0.11"), unit=GB, increment=10**8),
    )
)
TIME = meter(Payg(Fraction("0.07"), 60), "time", unit="seconds")
ONLY_BANDS: dict[str, Any] = {"default_band_weight": (0, 1)}
LOGINS = Graduated((Tier(2, Fraction(0)), Tier(None, Fraction("0.7"))))
CALLS = Increments(90, 7, Fraction("0.11"), 60, Fraction("0.05"))
PLANS = {
    "blind": plan(meter(CURVE), TIME),
    "weighted": plan(meter(CURVE, class_weights=WEIGHTS), TIME),
    "prepaid": plan(meter(CURVE), kind="prepaid"),
    "daily": plan(meter(CURVE, scope="day", class_weights=WEIGHTS)),
    "banded": plan(
        meter(CURVE, class_weights=WEIGHTS, band_weights={"late": (1, 2), "noon": (0, 1)}),
        meter(Payg(Fraction(2), GB), "late", band_weights={"late": (1, 1)}, **ONLY_BANDS),
        meter(Payg(Fraction(1)), "minutes", unit="seconds", band_weights={"late": (3, 4)}),
        bands=(Band("late", "22:30", "05:00"), Band("noon", "12:00", "13:15", ("mon", "wed"))),
    ),
    "sessions": plan(
        meter(LOGINS, "logins", unit="sessions"),
        meter(CALLS, "calls", unit="seconds", scope="session"),
    ),
    "adjusted": plan(
        meter(CURVE),
        TIME,
        adjustments=(
            Adjustment("least", "minimum", Fraction("4.445"), meters=("data",)),
            Adjustment("most", "cap", Fraction("7.77")),
            Adjustment("partner", "markup", percent=Fraction("12.5"), meters=("time", "most")),
        ),
    ),
}
CHANGES = {
    "blind": plan(meter(Payg(Fraction("0.9"), GB)), plan_id="other", proration="second"),
    "weighted": plan(meter(CURVE, class_weights={"cdn": (1, 2)}), plan_id="other"),
    "prepaid": plan(meter(AllowanceOverage(GB, Fraction(2), GB)), kind="prepaid", plan_id="other"),
    "daily": plan(meter(Payg(Fraction(1), GB)), measured_by="flows", plan_id="other"),
    "banded": plan(meter(CURVE, class_weights=WEIGHTS), plan_id="other"),
    "sessions": plan(meter(LOGINS, "logins", unit="sessions"), plan_id="other"),
    "adjusted": plan(
        meter(Payg(Fraction("0.9"), GB)),
        plan_id="other",
        adjustments=(Adjustment("less", "discount", percent=Fraction(33)),),
    ),
}
EVENTS: list[AccountEvent] = [
    *(started(sold, "01-05", key=key, calendar=CALENDAR) for key, sold in PLANS.items()),
    event("pay-1", TopUp(2000, "BDT"), "01-06", key="prepaid"),
    event("pay-2", TopUp(2000, "BDT"), "01-20", key="prepaid"),
    *(event(f"pc-{key}", PlanChanged(to), "01-18 07:05", key=key) for key, to in CHANGES.items()),
    event("join", PoolJoined("new"), "01-25", key="weighted", received="01-21"),
]
"""In the order in which the API accepted them, per key."""

CONFIG = RateConfig(cell_retention_seconds=60 * 86_400)
"""Cells are kept long enough for the latest flows of a story."""

DELAYS_MS = [60_000, 5 * 60_000, HOUR, 5 * HOUR, 60 * HOUR, 20 * 24 * HOUR]
STEPS_AT = ["01-05", "01-08", "01-15 13:00", "01-21 01:30", "02-03 05:00", "02-05", "02-25"]
END = "03-20"

rows = st.builds(
    lambda key, day, cell, minute, source, name, down, up, delay: Usage(
        rating_key=key,
        subscriber_id=f"{key}-{down % 2}",
        source=source,
        # Sessions that began long before, on the day and quarter of the row, and an unknown one.
        session_id=("nas/a/28400000", f"nas/b/{at(f'01-{day:02d}') // 60_000 + cell * 15}", "s")[
            up % 3
        ]
        if source == "accounting"
        else "",
        traffic_class=name if source == "flows" else "unclassified",
        minute=at(f"01-{day:02d}") // 60_000 + cell * 15 + minute,
        octets_up=up,
        octets_down=down,
        packets_up=0,
        packets_down=0,
        seconds=60 if source == "accounting" else 0,
        received_at=at(f"01-{day:02d}") + (cell * 15 + minute) * 60_000 + delay,
    ),
    key=st.sampled_from(sorted(PLANS)),
    day=st.sampled_from([5, 7, 18, 31]),
    cell=st.sampled_from([0, 28, 72, 95]),
    minute=st.integers(0, 14),
    source=st.sampled_from(["accounting", "accounting", "flows"]),
    name=st.sampled_from(["cdn", "local", "unclassified"]),
    down=st.integers(-(10**8), 3 * GB),
    up=st.integers(0, 10**9),
    delay=st.sampled_from(DELAYS_MS),
)


def tell(story: Sequence[Usage], chance: random.Random) -> Scene:
    """Hand the story over in random batches, as late or early as watermarks allow."""
    ends = [at(text) for text in sorted(chance.sample(STEPS_AT, chance.randint(0, 5)))]
    ends += [at(END)]
    deliveries: list[list[Usage | AccountEvent]] = [[] for _ in ends]
    event_steps: list[tuple[AccountEvent, int]] = []
    for told in EVENTS:
        earliest = max((s for e, s in event_steps if e.rating_key == told.rating_key), default=0)
        step = chance.randint(earliest, max(earliest, deadline(ends, told.received_at)))
        event_steps.append((told, step))
        deliveries[step].append(told)
        if chance.random() < 0.3:
            deliveries[chance.randint(step, len(ends) - 1)].append(told)
    for used in story:
        earliest = max(
            (
                step
                for told, step in event_steps
                if told.rating_key == used.rating_key and told.effective_at <= used.minute * 60_000
            ),
            default=0,
        )
        last = max(earliest, deadline(ends, used.received_at))
        deliveries[chance.randint(earliest, last)].append(used)
    scene = Scene(CONFIG)
    for end, delivery in zip(ends, deliveries, strict=True):
        kept_order = {id(record): position for position, record in enumerate(EVENTS)}
        used_rows = [record for record in delivery if isinstance(record, Usage)]
        events = [record for record in delivery if isinstance(record, AccountEvent)]
        chance.shuffle(used_rows)
        events.sort(key=lambda record: kept_order[id(record)])
        if chance.random() < 0.5:
            cut = chance.randint(0, len(used_rows))
            scene.feed(*events, *used_rows[:cut])
            events, used_rows = [], used_rows[cut:]
        scene.feed(*events, *used_rows, through=end)
    return scene.feed(through=END)


def deadline(ends: list[int], received_at: int) -> int:
    """The last step that may bring a record: the first whose watermark reaches its receipt."""
    return next(step for step, end in enumerate(ends) if end >= received_at)


def outcome(scene: Scene) -> dict[str, Any]:
    """What must not depend on the telling: everything but the instants of what was known when."""
    by_line = ["rating_key", "plan_id", "period_start_at", "meter_id"]
    is_volume = pl.col("meter_id") == "volume"
    volume = scene.rated.filter(is_volume).group_by(*by_line, "subscriber_id", "traffic_class")
    sums = volume.agg(pl.col("octets_up", "octets_down", "seconds", "quantity").sum())
    charges = (
        scene.rated.filter(~is_volume)
        .group_by(by_line)
        .agg(pl.col("quantity", "balance_effect", "charge").sum())
    )
    late = scene.rated.filter(is_volume & pl.col("is_late")).group_by(by_line)
    moved = pl.any_horizontal(pl.col("octets_up", "octets_down", "seconds", "quantity") != 0)
    paid = pl.any_horizontal(pl.col("quantity", "balance_effect", "charge") != 0)
    return {
        "sums": sorted(sums.filter(moved).rows()),
        "late": sorted(late.agg(pl.col("octets_up", "octets_down").sum()).rows()),
        "charges": sorted(charges.filter(paid).rows()),
        "counters": [dataclasses.replace(row, updated_at=0) for row in scene.of(UsageCounter)],
        "days": scene.of(UsageDay),
        "lines": scene.of(UsageCharge),
        "closings": scene.of(PeriodClosing),
        "balances": [(row.rating_key, row.amount_exact) for row in scene.of(Balance)],
        "services": [(row.rating_key, row.target, row.reason) for row in scene.of(DesiredService)],
        "answered": [row.event_id for row in scene.of(AccountEventResult)],
    }


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking a month takes minutes
)
@given(st.lists(rows, max_size=14), st.integers(0, 2**32))
def test_the_telling_does_not_change_the_story(story: list[Usage], seed: int) -> None:
    chance = random.Random(seed)
    first, second = tell(story, chance), tell(story, chance)
    told, retold = outcome(first), outcome(second)
    for part in told:
        assert told[part] == retold[part], part
    assert "rate_usage_after_posting" not in first.counters
    sums, lines = day_sums(first.of(UsageDay)), newest_charges(first.of(UsageCharge))
    assert {key: sums.get(key, 0) for key in lines} == {
        key: line.amount_minor for key, line in lines.items()
    }
    measured = sum(used.octets_up + used.octets_down for used in story if is_charged(used))
    volume = first.rated.filter(pl.col("meter_id") == "volume")
    assert int(volume["octets_up"].sum()) + int(volume["octets_down"].sum()) == measured


def is_charged(used: Usage) -> bool:
    """Whether a row carries volume: the charged source's, and all before the subscription."""
    minute_at = used.minute * 60_000
    if minute_at < at("01-05"):
        return True
    by_flows = used.rating_key == "daily" and minute_at >= at("01-18 07:05")
    return used.source == ("flows" if by_flows else "accounting")
