"""Buckets at work in the stage rate: who pays for which minute, in whatever order usage comes."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rating.curves import Flat, Graduated, Payg, Tier
from rating.events import BalanceDebited, BucketGranted, TopUp
from rating.plans import Plan
from rating.records import AccountEvent, Usage
from rating.rows import (
    AccountEventResult,
    Balance,
    BalanceBucket,
    DesiredService,
    UsageCounter,
    UsageDay,
)
from tests.rating.rate_scene import GB, HOUR, Scene, at, event, meter, plan, started, usage

PAYG = plan(meter(Payg(Fraction(10), GB)), kind="prepaid")
KEY = "sub-1"


def quota(
    bucket_id: str, gigabytes: Fraction | int, until: str = "", **fields: Any
) -> BucketGranted:
    until_at = at(until) if until else None
    return BucketGranted(
        bucket_id, "octets", int(gigabytes * GB), "BDT", valid_until_at=until_at, **fields
    )


def money(bucket_id: str, minor: int, until: str = "", **fields: Any) -> BucketGranted:
    until_at = at(until) if until else None
    return BucketGranted(bucket_id, "money", minor, "BDT", valid_until_at=until_at, **fields)


def scene(*more: AccountEvent, sold: Plan = PAYG) -> Scene:
    first = [started(sold), event("pay", TopUp(10_000, "BDT"), "01-01")]
    return Scene().feed(*first, *more, through="01-01")


def balance(told: Scene) -> Any:
    [row] = told.of(Balance)
    return Fraction(row.amount_exact)


def buckets(told: Scene) -> dict[str, tuple[int, int, int]]:
    """(amount, spent, expired) by bucket; GB for quota of octets."""
    return {row.bucket_id: (row.amount, row.spent, row.expired) for row in told.of(BalanceBucket)}


def spent(told: Scene) -> dict[str, float]:
    return {row.bucket_id: row.spent / GB for row in told.of(BalanceBucket)}


def answers(told: Scene) -> dict[str, str]:
    return {row.event_id: row.reason for row in told.of(AccountEventResult) if row.reason}


def test_quota_covers_usage_before_its_price_does() -> None:
    told = scene(event("g", quota("week", 2), "01-01"))
    told.feed(usage("01-01 10:00", GB), through="01-01 10:05")
    assert (balance(told), spent(told)) == (100, {"week": 1.0})
    told.feed(usage("01-01 11:00", 3 * GB), through="01-01 11:05")
    assert (balance(told), spent(told)) == (80, {"week": 2.0})
    [counter] = told.of(UsageCounter)
    assert counter.quantity == 2 * GB, "what the curve has priced"
    covered = told.rated.filter(told.rated["meter_id"] == "bucket|week")
    assert (covered["quantity"].sum(), covered["charge"].sum()) == (2 * GB, 0)


@pytest.mark.parametrize(
    ("first", "second", "drawn"),
    [
        (quota("a", 2, priority=2), quota("b", 2, priority=1), {"a": 1.0, "b": 2.0}),
        (quota("a", 2, "01-20"), quota("b", 2, "01-10"), {"a": 1.0, "b": 2.0}),
        (quota("a", 2), quota("b", 2, "01-10"), {"a": 1.0, "b": 2.0}),
        (quota("a", 2, "01-10"), quota("b", 2, "01-10"), {"a": 2.0, "b": 1.0}),
        (quota("a", 2, meter_id="other"), quota("b", 2), {"a": 0.0, "b": 2.0}),
        (quota("a", 2, "01-04"), quota("b", 2), {"a": 0.0, "b": 2.0}),
    ],
    ids=["priority", "soonest end", "an end before none", "id", "another meter's", "ended"],
)
def test_who_is_drawn_on_first(
    first: BucketGranted, second: BucketGranted, drawn: dict[str, float]
) -> None:
    told = scene(event("g1", first, "01-01"), event("g2", second, "01-01"))
    told.feed(usage("01-05", 3 * GB), through="01-05 01:00")
    assert spent(told) == drawn


def test_usage_that_comes_late_draws_first_when_it_was_first() -> None:
    """The evening's octets came first and drew on the day pack; the morning's take it back."""
    told = scene(
        event("g1", quota("day", 1, "01-02"), "01-01"), event("g2", quota("week", 1), "01-01 12:00")
    )
    told.feed(usage("01-01 20:00", GB), through="01-01 20:05")
    assert spent(told) == {"day": 1.0, "week": 0.0}
    told.feed(usage("01-01 19:00", GB, received="01-01 20:30"), through="01-01 20:30")
    assert (spent(told), balance(told)) == ({"day": 1.0, "week": 1.0}, 100)
    told.feed(usage("01-01 11:00", GB, received="01-01 20:40"), through="01-01 20:40")
    assert balance(told) == 90, "beyond the lateness bound it finds what the checkpoint left"


def test_what_ends_unused_is_a_fact_once_nothing_can_draw_on_it_any_more() -> None:
    told = scene(event("g", quota("day", 5, "01-02"), "01-01"))
    told.feed(usage("01-01 10:00", GB), through="01-02 01:00")
    assert buckets(told) == {"day": (5 * GB, GB, 0)}
    told.feed(usage("01-01 23:59", GB, received="01-02 01:30"), through="01-02 01:30")
    told.feed(through="01-02 02:01")
    assert buckets(told) == {"day": (5 * GB, 2 * GB, 3 * GB)}
    assert told.state.collections["wallets"] == {}
    assert not told.state.get("keys", KEY).has_wallet, "one sum again, as cheap as before"


def test_money_that_ends_leaves_the_balance() -> None:
    told = scene(event("bonus", money("bonus", 3_000, "01-03"), "01-01"))
    assert balance(told) == 130
    told.feed(usage("01-02 10:00", GB), through="01-02 10:05")
    assert (balance(told), buckets(told)) == (120, {"bonus": (3_000, 1_000, 0)})
    told.feed(through="01-03 02:01")
    assert (balance(told), buckets(told)) == (100, {"bonus": (3_000, 1_000, 2_000)})


def test_money_that_ended_or_has_not_begun_is_not_spent() -> None:
    told = scene(
        event("old", money("old", 3_000, "01-03"), "01-01"),
        event("new", money("new", 4_000), "01-05", received="01-01"),
    )
    told.feed(through="01-03 00:30")
    told.feed(event("d", BalanceDebited(10_001, "BDT"), "01-03 00:31"), through="01-03 00:31")
    assert answers(told) == {"d": "balance too low: 100.01 BDT wanted, 100.00 free"}
    told.feed(event("e", BalanceDebited(14_000, "BDT"), "01-05 00:05"), through="01-05 00:05")
    assert balance(told) == 0


def test_a_debit_draws_on_money_that_ends_soonest() -> None:
    told = scene(event("bonus", money("bonus", 3_000, "01-03"), "01-01"))
    told.feed(event("d", BalanceDebited(5_000, "BDT"), "01-02"), through="01-02 00:01")
    told.feed(through="01-03 03:00")
    assert (balance(told), buckets(told)) == (80, {"bonus": (3_000, 3_000, 0)})


def test_a_booster_is_paid_with_its_bucket_or_not_at_all() -> None:
    told = scene(event("a", quota("a", 5, price_minor=6_000), "01-01"))
    assert balance(told) == 40
    told.feed(event("b", quota("b", 5, price_minor=6_000), "01-01 10:00"), through="01-01 10:00")
    assert answers(told) == {"b": "balance too low: 60.00 BDT wanted, 40.00 free"}
    told.feed(event("b", quota("b", 5, price_minor=6_000), "01-01 10:00"), through="01-01 10:01")
    assert (balance(told), sorted(buckets(told))) == (40, ["a"])


def test_a_fixed_fee_draws_on_money_too() -> None:
    sold = plan(meter(Flat(Fraction(25))), kind="prepaid")
    told = scene(
        event("bonus", money("bonus", 3_000, "02-03"), "01-30", received="01-02"), sold=sold
    )
    assert balance(told) == 105
    told.feed(through="02-04")
    assert (balance(told), buckets(told)) == (75, {"bonus": (3_000, 2_500, 500)})


def test_octets_roll_over_once_up_to_their_limit() -> None:
    rolling = quota("pack", 5, ends_with_period=True, rollover_max=2 * GB)
    told = scene(event("g", rolling, "01-10"))
    told.feed(usage("01-20", GB), through="01-20 01:00")
    told.feed(usage("02-10", GB), through="02-10 01:00")
    told.feed(through="03-05")
    assert buckets(told) == {
        "pack": (5 * GB, GB, 2 * GB),
        "pack#2": (2 * GB, GB, GB),
    }
    assert balance(told) == 100


def test_a_quota_that_renews_begins_again_each_period() -> None:
    monthly = quota("pack", 5, ends_with_period=True, renews=True, rollover_max=2 * GB)
    told = scene(event("g", monthly, "01-10"))
    for month in ("01-20", "02-20", "03-20"):
        told.feed(usage(month, 4 * GB), through=f"{month} 01:00")
    told.feed(through="04-05")
    assert buckets(told) == {
        "pack": (5 * GB, 4 * GB, 0),
        "pack#2": (6 * GB, 4 * GB, 0),
        "pack#3": (7 * GB, 4 * GB, GB),
        "pack#4": (7 * GB, 0, 0),
    }


def test_quota_keeps_a_subscriber_online_whose_money_is_used_up() -> None:
    told = Scene().feed(started(PAYG), through="01-01")
    assert told.of(DesiredService)[0].target == "blocked"
    told.feed(event("g", quota("day", 1, "01-02"), "01-01 10:00"), through="01-01 10:00")
    assert told.of(DesiredService)[0].target == "active"
    told.feed(through="01-02 00:00")
    assert told.of(DesiredService)[0].target == "blocked"


def test_days_sum_to_what_the_balance_paid() -> None:
    told = scene(event("g", quota("day", 1, "01-03"), "01-01"))
    for day in ("01-01 10:00", "01-02 10:00", "01-03 10:00"):
        told.feed(usage(day, GB * 3 // 4), through=f"{day[:6]}10:10")
    told.feed(through="01-05")
    assert [(row.day_on, row.amount_minor) for row in told.of(UsageDay)] == [
        ("2024-01-02", 500),
        ("2024-01-03", 750),
    ]
    assert balance(told) == Fraction("87.5")


def test_seconds_are_covered_by_seconds() -> None:
    sold = plan(meter(Payg(Fraction(1), 60), "time", unit="seconds"), kind="prepaid")
    told = scene(
        event("g", BucketGranted("hour", "seconds", 90, "BDT"), "01-01"),
        event("o", quota("octets", 1), "01-01"),
        sold=sold,
    )
    told.feed(usage("01-01 10:00", GB, seconds=60), usage("01-01 10:01", GB, seconds=60))
    assert balance(told) == Fraction("99.5")


@pytest.mark.parametrize(
    ("granted", "why"),
    [
        (quota("a", 1), "bucket_id: 'a' is held already"),
        (quota("b", 1, "01-01"), "valid_until_at: expected after the effective time"),
        (BucketGranted("b", "money", 1, "USD"), "currency: expected BDT, got USD"),
    ],
)
def test_a_bucket_that_is_refused(granted: BucketGranted, why: str) -> None:
    told = scene(event("g", quota("a", 1), "01-01"))
    told.feed(event("h", granted, "01-02"))
    assert answers(told) == {"h": why}


CURVE = Graduated((Tier(2 * GB, Fraction(3), unit=GB), Tier(None, Fraction(7), Fraction(1), GB)))
SOLD = plan(
    meter(CURVE, "data", class_weights={"cdn": (1, 3)}),
    meter(Payg(Fraction(1), 60), "time", unit="seconds"),
    meter(CURVE, "down", unit="octets_down", scope="day"),
    kind="prepaid",
)
BLIND = plan(meter(CURVE), meter(Payg(Fraction(2), GB), "up", unit="octets_up"), kind="prepaid")
EVENTS: list[AccountEvent] = [
    item
    for key, sold in (("weighted", SOLD), ("blind", BLIND))
    for item in (
        started(sold, key=key),
        event(f"pay-{key}", TopUp(90_000, "BDT"), "01-02", key=key),
        event(f"day-{key}", quota("day", 2, "01-05"), "01-04", key=key),
        event(f"low-{key}", quota("low", 3, priority=200, meter_id="data"), "01-04", key=key),
        event(f"bonus-{key}", money("bonus", 700, "01-06"), "01-04 06:00", key=key),
        event(f"left-{key}", money("left", 400, ends_with_period=True), "01-04", key=key),
        event(f"debit-{key}", BalanceDebited(333, "BDT"), "01-05 03:00", key=key),
    )
]

DELAYS_MS = {"blind": [60_000, 20 * 60_000, 5 * HOUR, 30 * HOUR], "weighted": [60_000, HOUR]}
"""A cell's octets have no minute of their own: late, they find what the checkpoint left."""


@st.composite
def used(draw: st.DrawFn) -> Usage:
    key = draw(st.sampled_from(sorted(DELAYS_MS)))
    source = draw(st.sampled_from(["accounting", "accounting", "flows"]))
    down = draw(st.integers(-(10**8), 2 * GB))
    day, hour = draw(st.sampled_from(["01-04", "01-05"])), draw(st.sampled_from([5, 6, 23]))
    row = usage(
        f"{day} {hour:02d}:{draw(st.integers(0, 3)):02d}",
        down,
        up=down // 7,
        key=key,
        source=source,
        traffic_class="cdn" if source == "flows" else "unclassified",
        seconds=60 if source == "accounting" else 0,
        session=draw(st.sampled_from(["s1", "s2"])),
    )
    delay = draw(st.sampled_from(DELAYS_MS[key]))
    return dataclasses.replace(row, received_at=row.minute * 60_000 + delay)


STEPS_AT = ["01-04 05:30", "01-04 08:10", "01-05 01:00", "01-05 07:45", "01-06 02:30", "01-20"]
END = "03-20"


def tell(story: Sequence[Usage], chance: random.Random) -> Scene:
    """Hand usage over at random steps, none after the watermark has passed when it was received."""
    ends = [at(text) for text in sorted(chance.sample(STEPS_AT, chance.randint(0, 5)))]
    ends += [at(END)]
    deliveries: list[list[Usage | AccountEvent]] = [[] for _ in ends]
    deliveries[0] += EVENTS
    for row in story:
        latest = next(step for step, end in enumerate(ends) if row.received_at <= end)
        deliveries[chance.randint(0, latest)].append(row)
    told = Scene()
    for records, end in zip(deliveries, ends, strict=True):
        usages = [record for record in records if isinstance(record, Usage)]
        chance.shuffle(usages)
        half = chance.randint(0, len(usages))
        told.feed(*(r for r in records if isinstance(r, AccountEvent)), *usages[:half])
        told.feed(*usages[half:], through=end)
    return told


def result(told: Scene) -> dict[str, Any]:
    return {
        "balances": [(row.rating_key, row.amount_exact) for row in told.of(Balance)],
        "buckets": told.of(BalanceBucket),
        "counters": [
            (row.rating_key, row.meter_id, row.period_start_at, row.quantity, row.amount_exact)
            for row in told.of(UsageCounter)
        ],
        "days": told.of(UsageDay),
    }


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(st.lists(used(), max_size=14), st.integers(0, 2**32))
def test_neither_order_nor_batches_change_who_paid(story: list[Usage], seed: int) -> None:
    told = [result(tell(story, random.Random(seed + number))) for number in range(3)]
    assert told[0] == told[1]
    assert told[0] == told[2]
