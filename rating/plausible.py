"""Sums of octets that 64 bits can hold: what cannot be true is left out before it is added up.

Flow exports come by UDP from anyone, and columns of int64 wrap without a word. Every stage that
adds octets up in columns asks here first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

SUM_MAX = 1 << 61
"""Most octets of one key in one step: two such sums, and their negatives, still fit an int64."""

INT64_MAX = (1 << 63) - 1
"""Most that a keyed state, a column or a BIGINT holds."""


def without_excess(
    frame: pl.DataFrame, keys: Sequence[str], columns: Sequence[str], limit: int
) -> tuple[pl.DataFrame, int]:
    """Return the frame without the rows of keys whose columns sum up to more than the limit.

    Sums are of absolute values, one by column, as floats, which cannot wrap. The second value is
    how many rows were left out. Without keys all rows are of one.
    """
    if not frame.height:
        return frame, 0
    if max(np.abs(frame[name].to_numpy().astype(float)).sum() for name in columns) <= limit:
        return frame, 0
    if not keys:
        return frame.clear(), frame.height
    sizes = pl.col(*columns).cast(pl.Float64).abs().sum()
    excess = pl.any_horizontal(pl.col(*columns) > limit)
    excessive = frame.group_by(keys).agg(sizes).filter(excess).select(keys)
    kept = frame.join(excessive, on=list(keys), how="anti", nulls_equal=True)
    return kept, frame.height - kept.height
