"""Columns added up by key, exactly, where keys are many columns: rows of equal keys become one.

The key's columns are mixed into 64 bits, which are sorted; rows with equal bits are compared column
by column, so that two keys that mix alike are never taken for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]

_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))
_FOLD = np.uint64(32)
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
    mix = mixed(*parts) if parts else np.zeros(frame.height, np.uint64)
    order = np.argsort(mix)
    ordered = mix[order]
    is_first = np.ones(frame.height, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    again = np.flatnonzero(~is_first)
    row, former = order[again], order[again - 1]
    if any((part[row] != part[former]).any() for part in parts):
        return None
    some_row = order[is_first]
    last = np.append(np.flatnonzero(is_first)[1:], frame.height) - 1
    keys = [
        frame[name].gather(some_row)
        if numbers[name] is not None
        else frame[name].new_from_index(0, len(some_row))
        for name in key
    ]
    added = [pl.Series(name, _sums(frame[name].to_numpy(), order, last)) for name in sums]
    newest = np.maximum.reduceat(frame[_NEWEST].to_numpy()[order], np.flatnonzero(is_first))
    return pl.DataFrame([*keys, *added, pl.Series(_NEWEST, newest)])


def _sums(values: Int64s, order: Int64s, last: Int64s) -> Int64s:
    """Return the sum of each run of ordered values; what a running sum wraps it wraps back."""
    if not values.any():
        return np.zeros(len(last), np.int64)
    running = np.cumsum(values[order])[last]
    running[1:] -= running[:-1].copy()
    return running


def _numbers(column: pl.Series) -> UInt64s | None:
    """Return a column as numbers, equal where its values are; None where all are."""
    if isinstance(column.dtype, pl.Categorical):
        column = column.to_physical()
    if column[0] == column[-1] and (column == column[0]).all():
        return None
    if column.dtype == pl.String:
        column = column.cast(pl.Categorical(pl.Categories.random())).to_physical()
    return column.to_numpy().astype(np.uint64, copy=False)
