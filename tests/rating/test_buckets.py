"""The walk over buckets alone: what each minute draws on, and what ends."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rating.buckets import Bucket, Row, Walk, charge_row, expired_of, merged, remaining, walk
from rating.money import ZERO

MONTH = 1_000


def bucket(bucket_id: str, amount: int, first: int = 0, until: int = 10**6, **more: Any) -> Bucket:
    return Bucket(bucket_id, more.pop("unit", "octets"), amount, 100, first, until, **more)


def row(minute: int, amount: int, denominator: int = 1, meter_id: str = "data") -> Row:
    names = ("octets", "2024-01-01", "", "sub", "accounting")
    numbers = (0, denominator, amount, 0)
    return Row(minute, minute, meter_id, *names, *numbers)  # type: ignore[arg-type]


def walked(buckets: list[Bucket], rows: list[Row], until: int = 0, price: int = 1) -> Walk:
    return walk(
        buckets,
        rows,
        until,
        period_end=lambda minute: (minute // MONTH + 1) * MONTH,
        charge_of=lambda row, left: (
            Fraction(left * price, row.denominator) if row.unit != "money" else Fraction(row.charge)
        ),
    )


def test_a_third_of_an_octet_is_not_lost_between_meters_of_other_weights() -> None:
    done = walked([bucket("a", 1)], [row(1, 1, 3), row(2, 1, 2), row(3, 5, 3, "other")])
    assert done.parts == [(("a", 1),), (("a", 1),), ()], "a third, a half, and a sixth is no third"
    assert remaining(done.standing[0]) == Fraction(1, 6)


def test_a_correction_below_zero_draws_on_nothing() -> None:
    done = walked([bucket("a", 5)], [row(1, -3), row(2, 4)])
    assert done.parts == [(), (("a", 4),)]


def test_money_pays_what_quota_leaves_and_the_balance_the_rest() -> None:
    lots = [bucket("quota", 4), bucket("money", 5, unit="money")]
    done = walked(lots, [row(1, 6), row(2, 2), charge_row(3, "", Fraction(9), 0)])
    left = {b.bucket_id: remaining(b) for b in done.standing}
    assert left == {"quota": 0, "money": 0}
    assert done.parts == [(("quota", 4),), (), ()]


def test_a_bucket_rolls_over_period_by_period_though_nothing_happens() -> None:
    monthly = bucket("a", 10, 0, MONTH, renews=True, rollover_max=4)
    done = walked([monthly], [row(5, 3)], until=3 * MONTH + 1)
    assert [(b.amount, int(remaining(b)), rolled) for b, rolled in done.ended] == [
        (10, 7, 4),
        (14, 14, 4),
        (14, 14, 4),
    ]
    assert [expired_of(b, rolled) for b, rolled in done.ended] == [3, 10, 10]
    assert [(b.amount, b.until_minute, b.number) for b in done.standing] == [(14, 4 * MONTH, 4)]


def by_id(ended: list[tuple[Bucket, int]]) -> dict[str, tuple[Bucket, int]]:
    return {bucket.bucket_id: (bucket, rolled) for bucket, rolled in ended}


buckets_drawn = st.lists(
    st.builds(
        lambda amount, priority, first, length, unit: (amount, priority, first, length, unit),
        st.integers(1, 40),
        st.integers(0, 2),
        st.integers(0, 20),
        st.integers(1, 30),
        st.sampled_from(["octets", "octets", "money", "seconds"]),
    ),
    max_size=6,
)
rows_drawn = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), max_size=20)


@given(buckets_drawn, rows_drawn, st.integers(0, 50), st.randoms(use_true_random=False))
def test_one_walk_is_two_walks_and_nothing_is_made_or_lost(
    drawn: list[Any], used: list[Any], cut: int, chance: random.Random
) -> None:
    lots = [
        Bucket(f"b{number}", unit, amount, priority, first, first + length)
        for number, (amount, priority, first, length, unit) in enumerate(drawn)
    ]
    rows = merged([], [row(minute, amount) for minute, amount in used])
    whole = walked(lots, rows, 60)
    early = [one for one in rows if one.minute < cut]
    first = walked(lots, early, cut)
    second = walked(first.standing, rows[len(early) :], 60)
    assert whole.parts == first.parts + second.parts
    assert whole.standing == second.standing
    assert by_id(whole.ended) == by_id(first.ended + second.ended)
    shuffled = list(used)
    chance.shuffle(shuffled)
    assert merged([], [row(minute, amount) for minute, amount in shuffled]) == rows
    ends = [*whole.standing, *(b for b, _ in whole.ended)]
    octets = sum((b.amount - remaining(b) for b in ends if b.unit == "octets"), ZERO)
    assert octets == sum(amount for parts in whole.parts for _, amount in parts)
    for one, parts in zip(rows, whole.parts, strict=True):
        valid = [b for b in lots if b.from_minute <= one.minute < b.until_minute]
        assert {name for name, _ in parts} <= {b.bucket_id for b in valid if b.unit == "octets"}
        if sum(amount for _, amount in parts) < one.amount:
            done_by = {b.bucket_id: b for b in ends}
            after = [done_by[b.bucket_id] for b in valid if b.unit == "octets"]
            assert all(not remaining(b) for b in after), "nothing is charged while quota is left"
