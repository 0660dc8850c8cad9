"""Rows of equal keys become one, to the last octet, however far apart the keys are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.sums import add_up

UNLIMITED = 1 << 60


def as_dict(
    columns: dict[str, NDArray[Any]], keys: tuple[str, ...], values: tuple[str, ...]
) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Return the rows of add_up; none may be there twice."""
    rows = list(zip(*(columns[name].tolist() for name in (*keys, *values)), strict=True))
    found = {row[: len(keys)]: row[len(keys) :] for row in rows}
    assert len(found) == len(rows)
    return found


KEYS = st.one_of(st.integers(0, 3), st.integers(0, 1 << 20), st.integers(0, (1 << 64) - 1))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(KEYS, st.integers(0, 2), KEYS, st.integers(0, 1 << 59), st.integers(0, 3)),
        min_size=1,
        max_size=60,
    )
)
def test_the_sums_are_those_of_plain_addition(rows: list[tuple[int, ...]]) -> None:
    a, b, c, v, w = (list(column) for column in zip(*rows, strict=True))
    keys: dict[str, NDArray[Any]] = {
        "a": np.array(a, np.uint64),
        "b": np.array(b, np.uint8),
        "c": np.array(c, np.uint64),
    }
    values = {"v": np.array(v, np.int64), "w": np.array(w, np.int64)}
    oracle: dict[tuple[int, ...], Counter[str]] = {}
    for row in rows:
        oracle.setdefault(row[:3], Counter()).update(v=row[3], w=row[4], rows=1)
    columns, refused = add_up(keys, values, UNLIMITED)
    above = {key for key, sums in oracle.items() if max(sums["v"], sums["w"]) > UNLIMITED}
    assert as_dict(columns, ("a", "b", "c"), ("v", "w")) == {
        key: (sums["v"], sums["w"])
        for key, sums in oracle.items()
        if key not in above and (sums["v"] or sums["w"])
    }
    assert refused == sum(oracle[key]["rows"] for key in above)
    for name, column in columns.items():
        assert column.dtype == (keys | values)[name].dtype


def test_many_rows_of_wide_and_narrow_keys_with_large_values() -> None:
    random = np.random.default_rng(5)
    count = 20_000
    wide = random.integers(0, 40, count).astype(np.uint64) * np.uint64(0x0123_4567_89AB_CDE0)
    keys = {"wide": wide, "narrow": random.integers(7, 9, count)}
    values = {"v": random.integers(0, 1 << 45, count)}
    columns, refused = add_up(keys, values, UNLIMITED)
    oracle: Counter[tuple[int, int]] = Counter()
    for high, low, value in zip(
        wide.tolist(), keys["narrow"].tolist(), values["v"].tolist(), strict=True
    ):
        oracle[high, low] += value
    assert refused == 0
    assert as_dict(columns, ("wide", "narrow"), ("v",)) == {k: (v,) for k, v in oracle.items()}


def test_a_sum_that_no_float_holds_is_exact() -> None:
    ones = np.ones(3, np.int64)
    values = {"v": np.array([(1 << 55) + 1, 1, 1], np.int64)}
    columns, _ = add_up({"k": ones}, values, UNLIMITED)
    assert columns["v"].tolist() == [(1 << 55) + 3]


def test_rows_above_the_limit_are_refused_with_all_of_their_key() -> None:
    keys = {"k": np.array([1, 1, 2, 3])}
    values = {"v": np.array([6, 5, 10, 0], np.int64), "w": np.array([0, 0, 1, 0], np.int64)}
    columns, refused = add_up(keys, values, 10)
    assert as_dict(columns, ("k",), ("v", "w")) == {(2,): (10, 1)}
    assert refused == 2
