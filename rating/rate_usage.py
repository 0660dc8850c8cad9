"""Usage at work: measured rows become rows of volume, movements of counters and split cells.

Columns first: every row finds its span, and of many rows polars sums what belongs together. One
pass then finds the posting of each and hands it to its counters and its cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rating.bands import NO_BAND, band_at
from rating.buckets import place_of
from rating.engine import Movement, amount_counted, counts_sessions
from rating.periods import CELL_MINUTES, day_of_cell
from rating.plausible import SUM_MAX, without_excess
from rating.rate_cells import CellGroup, update_cells
from rating.rate_spans import Placed, place_rows, volume_rows
from rating.rate_work import Span, Terms, Workspace
from rating.segments import began_in

_OCTETS = ("octets_up", "octets_down")

_TOLD_APART_BY = ("subscriber_id", "source", "session_id", "traffic_class")
"""What makes a difference between two rows of one span and cell, besides received_at."""

_OF_SUMS = ("octets_up", "octets_down", "seconds", "minute", "received_at")

_TALL_ROWS = 2_000
"""From here on polars sums up rows sooner than a loop does."""

CounterKey = tuple[int, str, str, int, str, str, str, tuple[int, int]]
"""(span_id, subscriber_id, day_on, post_at, session_id, traffic_class, band, minutes); session,
class and band only where the terms tell them apart. Where there is a wallet sessions are told apart
too, and minutes are the place in its walk and the minute of use."""

_ANY_MINUTE = (0, 0)


Sums = list[int]
"""Octets up, octets down and seconds; the newest minute, and the newest received_at."""


def rate_usage(work: Workspace, usage: pl.DataFrame) -> list[pl.DataFrame]:
    """Rate a batch's usage; return its volume rows (charges are collected in the workspace)."""
    if not usage.height:
        return []
    work.counters["rate_usage_rows"] += usage.height
    usage, refused = without_excess(usage, ["rating_key"], _OCTETS, SUM_MAX)
    work.counters["rate_refused_rows"] += refused
    if not usage.height:
        return []
    placed = place_rows(work, usage)
    work.load_meters(
        span.meters_prefix + meter_id for span in placed.spans for meter_id in span.terms.by_meter
    )
    measured, cells = _sum_up(work, placed)
    _move_counters(work, measured, placed.spans)
    update_cells(work, [cells[key] for key in sorted(cells)])
    return [volume_rows(placed)]


def _sum_up(
    work: Workspace, placed: Placed
) -> tuple[dict[CounterKey, Sums], dict[tuple[int, str, int], CellGroup]]:
    """Return what moves counters, and what each cell (span_id, subscriber_id, cell) is brought."""
    measured: dict[CounterKey, Sums] = {}
    cells: dict[tuple[int, str, int], CellGroup] = {}
    lateness_ms = work.config.lateness_bound_ms
    for span_id, subscriber_id, source, session_id, traffic_class, cell, *sums in _rows(placed):
        if span_id < 0:
            continue
        span = placed.spans[span_id]
        terms = span.terms
        received_at = sums[4]
        day_on, day_ends_at = day_of_cell(terms.timezone, cell)
        post_at = day_ends_at + lateness_ms
        if received_at >= post_at:
            post_at = _late_post_at(work, terms, received_at)
        if terms.source == "accounting":
            is_flow = source != "accounting"
            part = (post_at, is_flow, traffic_class if is_flow else "")
            name = (span_id, subscriber_id, cell)
            group = cells.get(name)
            if group is None:
                parts = {part: (sums[0], sums[1])}
                cells[name] = CellGroup(
                    span, subscriber_id, cell, day_on, received_at, received_at, parts
                )
            else:
                group.add(part, sums[0], sums[1], received_at)
        if source == terms.source:
            has_wallet = span.account.state.has_wallet
            session = session_id if terms.by_session or has_wallet else ""
            counted_class = traffic_class if terms.by_class else ""
            band = band_at(terms.week, terms.timezone, cell) if terms.week else NO_BAND
            minutes = _ANY_MINUTE
            if has_wallet:
                minutes = (place_of(sums[3], received_at, lateness_ms), sums[3])
            key = (span_id, subscriber_id, day_on, post_at, session, counted_class, band, minutes)
            before = measured.get(key)
            measured[key] = _plus(before, sums) if before else sums
    return measured, cells


def _plus(left: Sums, right: Sums) -> Sums:
    return [
        *(left[0] + right[0], left[1] + right[1], left[2] + right[2]),
        *(max(left[3], right[3]), max(left[4], right[4])),
    ]


def _rows(placed: Placed) -> Iterable[tuple[Any, ...]]:
    """Yield (span_id, those of `_TOLD_APART_BY`, cell, *`Sums`)."""
    usage, span_ids = placed.usage, placed.span_ids
    if usage.height < _TALL_ROWS:
        return _single_rows(usage, span_ids)
    has_wallet = np.array([s.account.state.has_wallet for s in placed.spans] + [False, False])
    apart = has_wallet[span_ids]
    if not apart.any():
        return _summed_rows(usage, span_ids)
    return itertools.chain(
        _summed_rows(usage.filter(pl.Series(~apart)), span_ids[~apart]),
        _single_rows(usage.filter(pl.Series(apart)), span_ids[apart]),
    )


def _single_rows(usage: pl.DataFrame, span_ids: NDArray[np.int64]) -> Iterable[tuple[Any, ...]]:
    """Return what `_rows` yields, minute by minute."""
    columns = [usage[name].to_list() for name in (*_TOLD_APART_BY, *_OF_SUMS)]
    cells = (usage["minute"] // CELL_MINUTES).to_list()
    return zip(span_ids.tolist(), *columns[:4], cells, *columns[4:], strict=True)


def _summed_rows(usage: pl.DataFrame, span_ids: NDArray[np.int64]) -> list[tuple[Any, ...]]:
    """Return what `_rows` yields of many rows, those together that nothing tells apart."""
    by = (pl.Series("span_id", span_ids), *_TOLD_APART_BY, "received_at")
    cell = (pl.col("minute") // CELL_MINUTES).alias("cell")
    sums = usage.group_by(*by, cell).agg(
        pl.col("octets_up", "octets_down", "seconds").sum(), pl.col("minute").max()
    )
    return sums.select("span_id", *_TOLD_APART_BY, "cell", *_OF_SUMS).rows()


def _late_post_at(work: Workspace, terms: Terms, received_at: int) -> int:
    """Return the posting of what came too late for its day's: the period's at the latest."""
    grid = work.config.late_posting_interval_ms
    next_late = (received_at // grid + 1) * grid
    return min(next_late, terms.close_at) if received_at < terms.close_at else next_late


def _move_counters(
    work: Workspace, measured: Mapping[CounterKey, Sums], spans: Sequence[Span]
) -> None:
    """Move every counter that charges its rows directly: all but weighted ones of accounting."""
    for key in sorted(measured):
        span_id, subscriber_id, day_on, post_at, session_id, traffic_class, band, _ = key
        octets_up, octets_down, seconds, minute, received_at = measured[key]
        span = spans[span_id]
        origin = (subscriber_id, span.terms.source, session_id, minute)
        has_moved = False
        for pricing in span.terms.direct:
            if counts_sessions(pricing) and not began_in(session_id, span.segment):
                continue
            kind = (traffic_class, band)
            amount = amount_counted(pricing, kind, octets_up, octets_down, seconds)
            if amount:
                movement = Movement(day_on, session_id, post_at, amount, received_at)
                work.move(span, pricing, movement, origin)
                has_moved = True
        if not has_moved:
            work.open_segment(span)
