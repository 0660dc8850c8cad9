"""Ranges of ports that may have one in common, found by joins instead of comparing all with all.

A range of length at most 2^n touches at most two aligned chunks of 2^n ports. Two ranges that have
a port in common share a chunk of the greater one's level, so a join per pair of levels finds them.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
_STRIDE = 1 << 17
"""Above any port: ranges of two keys never meet on one axis."""


def pairs(left: pl.DataFrame, right: pl.DataFrame, key: str) -> pl.DataFrame:
    """Return (left, right): the `row`s of ranges of one key that may overlap, each pair once.

    Both have row, the key's column, first and last (inclusive).
    """
    found = [pl.DataFrame(schema={"left": pl.UInt32, "right": pl.UInt32})]
    by_level = [_by_level(frame, key) for frame in (left, right)]
    for level, mine in by_level[0].items():
        for other, theirs in by_level[1].items():
            shift = max(level, other)
            on = [key, "chunk"]
            both = _chunked(mine, shift).join(_chunked(theirs, shift), on=on, suffix="_right")
            found.append(both.select(left="row", right="row_right"))
    return pl.concat(found).unique()


def overlaps(of: Int64s, first: Int64s, last: Int64s) -> Int64s:
    """Return for each range how many of its key (a number) overlap it, itself included, int64 [n].

    `pairs` finds a small multiple of these.
    """
    begins, ends = of * _STRIDE + first, of * _STRIDE + last
    started = np.searchsorted(np.sort(begins), ends, side="right")
    return started - np.searchsorted(np.sort(ends), begins, side="left")


def _by_level(frame: pl.DataFrame, key: str) -> dict[int, pl.DataFrame]:
    """Return the ranges by the least n such that 2^n ports hold one."""
    length = (frame["last"] - frame["first"] + 1).to_numpy()
    levels = np.ceil(np.log2(np.maximum(length, 1))).astype(np.int64)
    placed = frame.select("row", key, "first", "last").with_columns(level=pl.Series(levels))
    parts = placed.partition_by("level", as_dict=True, include_key=False)
    return {int(level): part for (level,), part in parts.items()}


def _chunked(frame: pl.DataFrame, level: int) -> pl.DataFrame:
    """Return the ranges with each chunk that they touch."""
    size = 1 << level
    first, last = pl.col("first") // size, pl.col("last") // size
    ends = frame.with_columns(chunk=first).drop("first", "last")
    across = frame.filter(first != last).with_columns(chunk=last).drop("first", "last")
    return pl.concat([ends, across])


def covers(these: str, those: str) -> pl.Expr:
    """Match rows whose range (columns with suffix `these`) has all ports of the other.

    Ports `step` apart cover a single port of theirs, or exactly the same ports.
    """
    first, last, step = (pl.col(f"{name}{these}") for name in ("first", "last", "step"))
    first_b, last_b, step_b = (pl.col(f"{name}{those}") for name in ("first", "last", "step"))
    spans = (first <= first_b) & (last >= last_b)
    falls_in = ((first_b - first) % step == 0) & ((first_b == last_b) | (step == step_b))
    return spans & ((step == 1) | falls_in)


def touches(these: str, those: str) -> pl.Expr:
    """Match rows whose two ranges have a port in common.

    Of two different steps above 1 it says yes wherever they overlap.
    """
    first, last, step = (pl.col(f"{name}{these}") for name in ("first", "last", "step"))
    first_b, last_b, step_b = (pl.col(f"{name}{those}") for name in ("first", "last", "step"))
    low, high = pl.max_horizontal(first, first_b), pl.min_horizontal(last, last_b)
    coarse, fine = pl.max_horizontal(step, step_b), pl.min_horizontal(step, step_b)
    origin = pl.when(step >= step_b).then(first).otherwise(first_b)
    meets = origin + (low - origin + coarse - 1) // coarse * coarse <= high
    aligned = (first - first_b) % fine == 0
    return (low <= high) & (((fine > 1) & (fine != coarse)) | (aligned & meets))
