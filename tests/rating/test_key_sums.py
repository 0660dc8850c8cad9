"""Columns added up by key: the same sums as one row at a time, whatever the key is made of."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import polars as pl
import pytest

from rating import key_sums

NAMES = ["", "cdn", "international", "local", "ü"]


def frame_of(chance: random.Random, rows: int, wide: bool) -> pl.DataFrame:
    """Return rows of few keys; wide ones do not fit 64 bits together."""
    high = (1 << 64) - 1 if wide else 7
    addresses = [chance.randint(0, high) for _ in range(7)]
    made = [
        (
            chance.choice(addresses),
            chance.choice(addresses),
            chance.choice(NAMES),
            chance.choice(NAMES),
            "always",
            chance.randint(-3, 3),
            chance.randint(-(1 << 60), 1 << 60),
            chance.randint(0, 9),
            0,
            chance.randint(0, 1 << 41),
        )
        for _ in range(rows)
    ]
    schema = {
        "hi": pl.UInt64,
        "lo": pl.UInt64,
        "name": pl.String,
        "class": pl.Categorical,
        "one": pl.String,
        "late": pl.Int64,
        **dict.fromkeys(("octets", "packets", "nothing", "received_at"), pl.Int64),
    }
    return pl.DataFrame(made, schema=schema, orient="row")


KEY = ("hi", "lo", "name", "class", "one", "late")
SUMS = ("octets", "packets", "nothing")


def expected(frame: pl.DataFrame, key: tuple[str, ...]) -> dict[Any, tuple[int, ...]]:
    sums: dict[Any, tuple[int, ...]] = {}
    for row in frame.iter_rows(named=True):
        which = tuple(row[name] for name in key)
        before = sums.get(which, (0, 0, 0, 0))
        added = (before[i] + row[name] for i, name in enumerate(SUMS))
        sums[which] = (*added, max(before[3], row["received_at"]))
    # A sum beyond 64 bits wraps; the stages refuse such rows before.
    return {
        which: tuple((one + (1 << 63)) % (1 << 64) - (1 << 63) for one in values)
        for which, values in sums.items()
    }


def found(frame: pl.DataFrame, key: tuple[str, ...]) -> dict[Any, tuple[int, ...]]:
    added = key_sums.add_up(frame, key, SUMS)
    assert added.columns == [*key, *SUMS, "received_at"]
    assert added.select(key).schema == frame.select(key).schema
    rows = {row[: len(key)]: row[len(key) :] for row in added.iter_rows()}
    assert len(rows) == added.height
    return rows


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 400, key_sums._FEW_ROWS + 500])
@pytest.mark.parametrize("key", [KEY, ("hi", "class"), ("late",), ("one",), ("name", "one")])
@pytest.mark.parametrize("few_rows", [0, key_sums._FEW_ROWS])
def test_sums_are_those_of_one_row_at_a_time(
    wide: bool, rows: int, key: tuple[str, ...], few_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sums, "_FEW_ROWS", few_rows)
    frame = frame_of(random.Random(rows), rows, wide)
    assert found(frame, key) == expected(frame, key)
    # In order of the key, and in several pieces, it is no other frame.
    assert found(frame.sort(key), key) == expected(frame, key)
    halves = pl.concat([frame[: rows // 2], frame[rows // 2 :]], rechunk=False)
    assert found(halves, key) == expected(frame, key)


def test_keys_that_mix_alike_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_sums, "mixed", lambda *columns: columns[0] & np.uint64(1))
    frame = frame_of(random.Random(5), 2_000, wide=True)
    assert found(frame, KEY) == expected(frame, KEY)


def test_without_rows_there_is_no_key() -> None:
    assert key_sums.add_up(frame_of(random.Random(1), 0, wide=False), KEY, SUMS).height == 0


@pytest.mark.parametrize("few", [1, 3, 255, 300])
def test_categories_in_words_are_what_a_cast_says(few: int) -> None:
    chance = random.Random(few)
    text = pl.Series([f"class {chance.randrange(few)}" for _ in range(2_000)])
    column = text.cast(pl.Categorical(pl.Categories.random()))
    assert key_sums.in_words(column).equals(text)
    assert key_sums.in_words(column.clear()).equals(text.clear())
    found = key_sums.few_words(column)
    assert (found is None) == (few == 300)
    if found is not None:
        assert found[0].gather(found[1]).equals(text)


@pytest.mark.parametrize("high", [1, 1 << 40, (1 << 64) - 1])
def test_places_are_sorted_with_their_rows(high: int) -> None:
    chance = np.random.default_rng(3)
    place = chance.integers(0, high, 3_000, np.uint64, endpoint=True)
    ordered, row = key_sums._ordered(place)
    assert (ordered == np.sort(place)).all()
    assert (place[row] == ordered).all()
    assert sorted(row.tolist()) == list(range(3_000))


def test_the_share_of_keys_is_about_that_of_all_rows() -> None:
    for keys, share in ((10**9, 1.0), (20_000, 0.2)):
        chance = np.random.default_rng(keys)
        frame = pl.DataFrame({"hi": chance.integers(0, keys, 100_000, np.uint64)})
        assert key_sums.share_of_keys(frame, ("hi",), ("hi",)) == pytest.approx(share, abs=0.05)
    assert key_sums.share_of_keys(frame.clear(), ("hi",), ("hi",)) == 1
