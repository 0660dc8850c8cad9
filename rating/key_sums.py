"""Columns added up by key, exactly, where keys are many columns: rows of equal keys become one.

The key's columns are packed into 64 bits, which are sorted, or mixed where they need more: then
rows with equal bits are compared column by column, so that two keys that mix alike are never one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]

_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))
_FOLD = np.uint64(32)
_ROOM_MAX = 1 << 63
_NEWEST = "received_at"
_FEW_ROWS = 1_000
"""Fewer are grouped by polars: what is done here costs a millisecond whatever there is."""


def mixed(*columns: UInt64s) -> UInt64s:
    """Return 64 bits per row that depend on all columns; different rows may have the same."""
    mix = columns[0] * _ODD[0]
    for column in columns[1:]:
        mix ^= mix >> _FOLD
        mix += column
        mix *= _ODD[1]
    mix ^= mix >> _FOLD
    mix *= _ODD[0]
    mix ^= mix >> _FOLD
    return mix


def add_up(frame: pl.DataFrame, key: Sequence[str], sums: Sequence[str]) -> pl.DataFrame:
    """Return the key, the sums (int64) and the latest received_at of each key, in any order.

    Columns of the key are integers, text or categories, without nulls.
    """
    if frame.height >= _FEW_ROWS:
        added = _add_up(frame, key, sums)
        if added is not None:
            return added
    made = (*(pl.col(name).sum() for name in sums), pl.col(_NEWEST).max())
    return frame.group_by(key).agg(made).select(*key, *sums, _NEWEST)


def _add_up(frame: pl.DataFrame, key: Sequence[str], sums: Sequence[str]) -> pl.DataFrame | None:
    """Do what `add_up` says; None where two keys mix alike."""
    numbers = {name: _numbers(frame[name]) for name in key}
    parts = [column for column in numbers.values() if column is not None]
    place, is_exact = _places(parts) if parts else (np.zeros(frame.height, np.uint64), True)
    order = None
    if not (place[1:] >= place[:-1]).all():
        order = np.argsort(place)
        place = place[order]
    is_first = np.ones(frame.height, np.bool_)
    np.not_equal(place[1:], place[:-1], out=is_first[1:])
    if not is_exact:
        is_again = ~is_first[1:]
        for part in parts:
            ordered = part if order is None else part[order]
            if ((ordered[1:] != ordered[:-1]) & is_again).any():
                return None
    first = np.flatnonzero(is_first)
    some_row = first if order is None else order[first]
    keys = [
        frame[name].gather(some_row)
        if numbers[name] is not None
        else frame[name].new_from_index(0, len(first))
        for name in key
    ]
    added = [_summed(frame[name], order, first) for name in sums]
    newest = frame[_NEWEST]
    if is_one(newest):
        newest = newest.new_from_index(0, len(first))
    else:
        received = newest.to_numpy() if order is None else newest.to_numpy()[order]
        newest = pl.Series(_NEWEST, np.maximum.reduceat(received, first))
    return pl.DataFrame([*keys, *added, newest])


def _places(parts: Sequence[UInt64s]) -> tuple[UInt64s, bool]:
    """Return what orders rows by their parts, and whether equal means equal parts."""
    spans = [(part.min(), int(part.max()) - int(part.min()) + 1) for part in parts]
    if math.prod(span for _, span in spans) > _ROOM_MAX:
        return mixed(*parts), False
    place = np.zeros(len(parts[0]), np.uint64)
    for part, (least, span) in zip(parts, spans, strict=True):
        place *= np.uint64(span)
        place += part - least
    return place, True


def _summed(column: pl.Series, order: Int64s | None, first: Int64s) -> pl.Series:
    """Return the sum of each run of ordered values; what a running sum wraps it wraps back."""
    values = column.to_numpy()
    if not values.any():
        return pl.Series(column.name, np.zeros(len(first), np.int64))
    running = np.cumsum(values if order is None else values[order])
    sums = running[np.append(first[1:], len(values)) - 1]
    sums[1:] -= sums[:-1].copy()
    return pl.Series(column.name, sums)


def is_one(column: pl.Series) -> bool:
    """Return whether all values of a column are equal; it has some, and no nulls."""
    if isinstance(column.dtype, pl.Categorical):
        column = column.to_physical()
    return bool(column[0] == column[-1] and (column == column[0]).all())


def _numbers(column: pl.Series) -> UInt64s | None:
    """Return a column as numbers, equal where its values are; None where all are."""
    if is_one(column):
        return None
    if column.dtype == pl.String:
        column = column.cast(pl.Categorical(pl.Categories.random()))
    if isinstance(column.dtype, pl.Categorical):
        column = column.to_physical()
    return column.to_numpy().astype(np.uint64, copy=False)
