"""Columns added up by key, exactly: rows of equal keys become one.

Keys are numbers with little between the least and the greatest of a batch (minutes, classes, own
addresses), so that most often a table tells which there are and nothing need be sorted: a third of
what a group-by over several columns takes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
Columns = dict[str, NDArray[Any]]

ROOM_MAX = 1 << 62
"""Numbers of rows stay below it."""
_TABLE_ROWS = 16
"""A table of what there is may have so many places for each row."""
FLOATS_EXACT = 1 << 53
_FLOATS_SURE = 1 << 52
"""A float sum below it has met no whole number that a float does not hold."""
_INT32_MAX = (1 << 31) - 1
_LOW_BITS = 30
"""Of a sum that a float does not hold, the parts above and below so many bits are added apart."""


class Groups:
    """Rows by the group that they are in: all with equal keys.

    number: int64 [n], the group of each row, from 0; count: how many groups there are.
    """

    def __init__(self, number: Int64s, count: int) -> None:
        """Take over numbers below count."""
        self.number = number
        self.count = count

    @classmethod
    def of(cls, columns: Iterable[NDArray[Any]]) -> Groups:
        """Return rows grouped by columns: integers of one length, at least 1."""
        return cls.of_numbers(*combined(columns))

    @classmethod
    def of_numbers(cls, key: Int64s, room: int) -> Groups:
        """Return rows grouped by a number below room, at most ROOM_MAX."""
        return cls(*(_narrowed(key, room) if _is_narrow(key, room) else _sorted(key)))

    def parted(self, is_second: Bools) -> Groups:
        """Return twice as many groups: of each the rows that are not second, then those that are.

        Some of them may have no row.
        """
        return Groups(2 * self.number + is_second, 2 * self.count)

    def some_row(self) -> Int64s:
        """Return a row of each group."""
        row = np.zeros(self.count, np.int64)
        row[self.number] = np.arange(len(self.number))
        return row

    def rows_in(self, chosen: Bools) -> int:
        """Return how many rows the chosen groups have."""
        if not chosen.any():
            return 0
        return int(np.bincount(self.number, minlength=self.count)[chosen].sum())

    def sum(self, column: Int64s) -> tuple[Int64s, NDArray[np.float64]]:
        """Return the sum of each group, and the same as floats, which cannot wrap."""
        weigh = functools.partial(np.bincount, self.number, minlength=self.count)
        rough: NDArray[np.float64] = weigh(weights=column).astype(float)
        if float(rough.sum()) < _FLOATS_SURE:
            return rough.astype(np.int64), rough
        high = weigh(weights=column >> _LOW_BITS).astype(np.int64)
        low = weigh(weights=column & ((1 << _LOW_BITS) - 1))
        return (high << _LOW_BITS) + low.astype(np.int64), rough


def add_up(
    keys: Mapping[str, NDArray[Any]], values: Mapping[str, Int64s], limit: int
) -> tuple[Columns, int]:
    """Return one row of keys and sums per key, in no order, and how many rows were refused.

    All columns are of one length, at least 1; keys are integers, values are not negative and below
    2^60. Refused are the rows of a key of which some sum passes the limit (at most 2^60), which
    cannot be true and might not fit 64 bits. Keys whose sums are all 0 are left out.
    """
    groups = Groups.of(keys.values())
    sums, rough = {}, np.zeros(groups.count)
    for name, column in values.items():
        sums[name], size = groups.sum(column)
        np.maximum(rough, size, out=rough)
    kept = (rough > 0) & (rough <= limit)
    row = groups.some_row()
    if not kept.all():
        row, sums = row[kept], {name: column[kept] for name, column in sums.items()}
    rows = {**{name: column[row] for name, column in keys.items()}, **sums}
    return rows, groups.rows_in(rough > limit)


def combined(columns: Iterable[NDArray[Any]]) -> tuple[Int64s, int]:
    """Return a number below so many for each row, equal where all columns are; few are left out.

    columns are integers of one length, at least 1.
    """
    key: Int64s = np.zeros(0, np.int64)
    room = 1
    for column in columns:
        offset = column - column.min()
        span = int(offset.max()) + 1
        if span > ROOM_MAX:
            offset, span = _sorted(offset)
        if not len(key):
            key, room = offset.astype(np.int64), span
            continue
        if span == 1:
            continue
        if not _is_narrow(key, room * span):
            key, room = _narrowed(key, room)
        if not _is_narrow(key, room * span):
            offset, span = _narrowed(offset, span)
        if room * span > ROOM_MAX:
            key, room = _sorted(key)
        if room * span > ROOM_MAX:
            offset, span = _sorted(offset)
        key = key * span + offset.astype(np.int64)
        room *= span
    return key, room


def _is_narrow(key: NDArray[Any], room: int) -> bool:
    return room <= _TABLE_ROWS * len(key)


def _narrowed(key: NDArray[Any], room: int) -> tuple[NDArray[Any], int]:
    """Return keys below room as numbers without gaps, where a table of all is not too large."""
    if not _is_narrow(key, room):
        return key, room
    is_there = np.zeros(room, np.bool_)
    is_there[key] = True
    there = np.flatnonzero(is_there)
    number = np.empty(room, np.int64 if room > _INT32_MAX else np.int32)
    number[there] = np.arange(len(there))
    return number[key].astype(np.int64), len(there)


def _sorted(key: NDArray[Any]) -> tuple[Int64s, int]:
    found, number = np.unique(key, return_inverse=True)
    return number, len(found)
