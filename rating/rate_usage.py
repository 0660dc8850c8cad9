"""Usage at work: measured rows become rows of volume, movements of counters and split cells.

Columns first: every row finds its span, and of many rows polars sums what belongs together. One
pass then finds the posting of each and hands it to its counters and its cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from rating.engine import Movement
from rating.periods import CELL_MINUTES, day_of_cell
from rating.plans import octets_counted, weight_of
from rating.plausible import SUM_MAX, without_excess
from rating.rate_cells import CellGroup, update_cells
from rating.rate_spans import Placed, place_rows, volume_rows
from rating.rate_work import Origin, Span, Terms, Workspace

_OCTETS = ("octets_up", "octets_down")

_TOLD_APART_BY = ("subscriber_id", "source", "session_id", "traffic_class", "received_at")
"""What makes a difference between two rows of one span and cell."""

_SUMMED = ("octets_up", "octets_down", "seconds")

_TALL_ROWS = 2_000
"""From here on polars sums up rows sooner than a loop does."""

_SUMS = (pl.col(_SUMMED).sum(), pl.col("minute").max().alias("newest"))

CounterKey = tuple[int, str, str, int, str, str]
"""(span_id, subscriber_id, day_on, post_at, session_id, traffic_class); the last two only where
the terms tell sessions or classes apart."""


class Measured(NamedTuple):
    """What moves the counters of one `CounterKey`; minute and received_at are the newest."""

    octets_up: int
    octets_down: int
    seconds: int
    minute: int
    received_at: int

    def plus(self, other: Measured) -> Measured:
        """Return both in one."""
        return Measured(
            self.octets_up + other.octets_up,
            self.octets_down + other.octets_down,
            self.seconds + other.seconds,
            max(self.minute, other.minute),
            max(self.received_at, other.received_at),
        )


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
) -> tuple[dict[CounterKey, Measured], dict[tuple[int, str, int], CellGroup]]:
    """Return what moves counters, and what each cell (span_id, subscriber_id, cell) is brought."""
    measured: dict[CounterKey, Measured] = {}
    cells: dict[tuple[int, str, int], CellGroup] = {}
    lateness_ms = work.config.lateness_bound_ms
    for row in _rows(placed):
        span_id, subscriber_id, source, session_id, traffic_class, received_at, *sums = row
        cell, octets_up, octets_down, seconds, minute = sums
        if span_id < 0:
            continue
        span = placed.spans[span_id]
        terms = span.terms
        day_on, day_ends_at = day_of_cell(terms.timezone, cell)
        post_at = day_ends_at + lateness_ms
        if received_at >= post_at:
            post_at = _late_post_at(work, terms, received_at)
        if source == terms.source:
            session = session_id if terms.by_session else ""
            counted_class = traffic_class if terms.by_class else ""
            key = (span_id, subscriber_id, day_on, post_at, session, counted_class)
            brought = Measured(octets_up, octets_down, seconds, minute, received_at)
            before = measured.get(key)
            measured[key] = before.plus(brought) if before else brought
        if terms.source == "accounting":
            name = (span_id, subscriber_id, cell)
            group = cells.get(name)
            if group is None:
                group = CellGroup(span, subscriber_id, cell, day_on, received_at, received_at, {})
                cells[name] = group
            if source == "accounting":
                part = (post_at, False, "")
            else:
                part = (post_at, True, traffic_class)
            group.add(part, octets_up, octets_down, received_at)
    return measured, cells


def _rows(placed: Placed) -> Iterable[tuple[Any, ...]]:
    """Yield (span_id, those of `_TOLD_APART_BY`, cell, those of `_SUMMED`, newest minute)."""
    usage, span_ids = placed.usage, placed.span_ids
    if usage.height >= _TALL_ROWS:
        by = (pl.Series("span_id", span_ids), *_TOLD_APART_BY, pl.col("minute") // CELL_MINUTES)
        return usage.group_by(*by).agg(_SUMS).rows()
    minutes = usage["minute"]
    columns = [usage[name].to_list() for name in (*_TOLD_APART_BY, *_SUMMED)]
    cells = (minutes // CELL_MINUTES).to_list()
    return zip(span_ids.tolist(), *columns[:5], cells, *columns[5:], minutes.to_list(), strict=True)


def _late_post_at(work: Workspace, terms: Terms, received_at: int) -> int:
    """Return the posting of what came too late for its day's: the period's at the latest."""
    grid = work.config.late_posting_interval_ms
    next_late = (received_at // grid + 1) * grid
    return min(next_late, terms.close_at) if received_at < terms.close_at else next_late


def _move_counters(
    work: Workspace, measured: Mapping[CounterKey, Measured], spans: Sequence[Span]
) -> None:
    """Move every counter that charges its rows directly: all but weighted ones of accounting."""
    for key in sorted(measured):
        span_id, subscriber_id, day_on, post_at, session_id, traffic_class = key
        sums, span = measured[key], spans[span_id]
        origin = Origin(subscriber_id, span.terms.source, session_id, sums.minute)
        for pricing in span.terms.direct:
            meter = pricing.meter
            if meter.unit == "seconds":
                amount = sums.seconds
            else:
                weight = weight_of(meter, traffic_class, pricing.denominator)
                amount = weight * octets_counted(meter, sums.octets_up, sums.octets_down)
            if amount:
                movement = Movement(day_on, session_id, post_at, amount, sums.received_at)
                work.move(span, pricing, movement, origin)
        work.open_segment(span)
