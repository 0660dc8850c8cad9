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
UInt8s = NDArray[np.uint8]
UInt64s = NDArray[np.uint64]

_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))
_FOLD = np.uint64(32)
_ROOM_MAX = 1 << 63
_NEWEST = "received_at"
_SAMPLED_BELOW = np.uint64(1 << 58)
_WORDS_MAX = 256
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


def in_words(column: pl.Series) -> pl.Series:
    """Return a column of few categories as text: a look per row, where a cast takes twenty."""
    if len(column) and is_one(column):
        return column.head(1).cast(pl.String).new_from_index(0, len(column))
    found = few_words(column)
    if found is None:
        return column.cast(pl.String)
    words, number = found
    return words.gather(number)


def few_words(column: pl.Series) -> tuple[pl.Series, UInt8s] | None:
    """Return the texts of a column of categories, and which of them each row has.

    None where their numbers lie too far apart to be told by an octet.
    """
    number = column.to_physical().to_numpy()
    if not len(number):
        return None
    least = number.min()
    if number.max() - least >= _WORDS_MAX:
        return None
    code = (number - least).astype(np.uint8)
    there = np.flatnonzero(np.bincount(code))
    some_row = [int(np.argmax(code == one)) for one in there]
    code_of = np.zeros(_WORDS_MAX, np.uint8)
    code_of[there] = np.arange(len(there))
    return column.gather(some_row).cast(pl.String), code_of[code]


def share_of_keys(frame: pl.DataFrame, key: Sequence[str], by: Sequence[str]) -> float:
    """Return about how many keys there are for each row: those of a 64th of all places are counted.

    by are columns of the key, of UInt64; the answer depends on the rows only.
    """
    mix = mixed(*(frame[name].to_numpy() for name in by))
    sample = frame.select(key)[np.flatnonzero(mix < _SAMPLED_BELOW)]
    return sample.n_unique() / sample.height if sample.height else 1.0


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
        place, order = _ordered(place)
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


def _ordered(place: UInt64s) -> tuple[UInt64s, Int64s]:
    """Return places in order, and of which row each is.

    Where both fit into 64 bits they are sorted together: half of what it takes to sort by them.
    """
    bits = len(place).bit_length()
    if int(place.max()) >> (64 - bits):
        order = np.argsort(place)
        return place[order], order
    both = (place << np.uint64(bits)) | np.arange(len(place), dtype=np.uint64)
    both.sort()
    row = both & np.uint64((1 << bits) - 1)
    return both >> np.uint64(bits), row.view(np.int64)


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
