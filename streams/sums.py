"""Columns added up by key, exactly: rows of equal keys become one.

Keys are numbers with little between the least and the greatest of a batch (minutes, classes, own
addresses), so that most often a table tells which there are and nothing need be sorted: a third of
what a group-by over several columns takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Columns = dict[str, NDArray[Any]]

_ROOM_MAX = 1 << 62
_TABLE_ROWS = 16
"""A table of what there is may have so many places for each row."""
_FLOATS_EXACT = 1 << 53
_LOW_BITS = 30
"""Of a sum that a float does not hold, the parts above and below so many bits are added apart."""


def add_up(
    keys: Mapping[str, NDArray[Any]], values: Mapping[str, Int64s], limit: int
) -> tuple[Columns, int]:
    """Return one row of keys and sums per key, in no order, and how many rows were refused.

    All columns are of one length, at least 1; keys are integers, values are not negative and below
    2^60. Refused are the rows of a key of which some sum passes the limit (at most 2^60), which
    cannot be true and might not fit 64 bits. Keys whose sums are all 0 are left out.
    """
    row, count = _numbered(keys.values())
    sums, rough = {}, np.zeros(count)
    for name, column in values.items():
        sums[name], size = _sum(row, count, column)
        np.maximum(rough, size, out=rough)
    kept = (rough > 0) & (rough <= limit)
    refused = 0
    if (rough > limit).any():
        refused = int(np.bincount(row, minlength=count)[rough > limit].sum())
    some_row = np.zeros(count, np.int64)
    some_row[row] = np.arange(len(row))
    if not kept.all():
        some_row, sums = some_row[kept], {name: column[kept] for name, column in sums.items()}
    return {**{name: column[some_row] for name, column in keys.items()}, **sums}, refused


def _sum(row: Int64s, count: int, column: Int64s) -> tuple[Int64s, NDArray[np.float64]]:
    """Return the sum of each number of a row, and the same as floats, which cannot wrap."""
    rough: NDArray[np.float64] = np.bincount(row, weights=column, minlength=count).astype(float)
    if float(column.sum(dtype=np.float64)) < _FLOATS_EXACT:
        return rough.astype(np.int64), rough
    high = np.bincount(row, weights=column >> _LOW_BITS, minlength=count).astype(np.int64)
    low = np.bincount(row, weights=column & ((1 << _LOW_BITS) - 1), minlength=count)
    return (high << _LOW_BITS) + low.astype(np.int64), rough


def _numbered(columns: Iterable[NDArray[Any]]) -> tuple[Int64s, int]:
    """Return a number from 0 for each row, equal where all columns are, and how many there are."""
    key: Int64s = np.zeros(0, np.int64)
    room = 1
    for column in columns:
        offset = column - column.min()
        span = int(offset.max()) + 1
        if span == 1:
            key = key if len(key) else np.zeros(len(column), np.int64)
            continue
        if span > _TABLE_ROWS:
            offset, span = _narrowed(offset, span)
        if len(key) and room * span > _ROOM_MAX:
            key, room = _sorted(key)
        if room * span > _ROOM_MAX:
            offset, span = _sorted(offset)
        here = offset.astype(np.int64)
        key, room = _narrowed(key * span + here if len(key) else here, room * span)
    return (key, room) if _is_narrow(key, room) else _sorted(key)


def _is_narrow(key: NDArray[Any], room: int) -> bool:
    return room <= _TABLE_ROWS * len(key)


def _narrowed(key: NDArray[Any], room: int) -> tuple[NDArray[Any], int]:
    """Return keys below room as numbers without gaps, where a table of all is not too large."""
    if not _is_narrow(key, room):
        return key, room
    is_there = np.zeros(room, np.bool_)
    is_there[key] = True
    number = np.cumsum(is_there) - 1
    return number[key], int(number[-1]) + 1


def _sorted(key: NDArray[Any]) -> tuple[Int64s, int]:
    found, number = np.unique(key, return_inverse=True)
    return number, len(found)
