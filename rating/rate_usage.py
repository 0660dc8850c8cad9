"""Usage at work: measured rows become rows of volume, movements of counters and split cells.

Columns first: every row finds its span, and polars sums what belongs together. One pass over those
sums then finds the posting of each and hands it to its counters and its cell.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import polars as pl

from rating.engine import Movement
from rating.periods import CELL_MINUTES, day_end_at, local_day
from rating.plans import octets_counted, weight_of
from rating.plausible import SUM_MAX, without_excess
from rating.rate_cells import CellGroup, update_cells
from rating.rate_spans import place_rows, volume_rows
from rating.rate_work import Origin, Span, Terms, Workspace, span_meter_key

_OCTETS = ("octets_up", "octets_down")

_MOVED_BY = ("subscriber_id", "source", "session_id", "traffic_class", "received_at")
"""What two rows of one span and cell share if nothing tells them apart."""

CounterKey = tuple[int, str, str, int, str, str]
"""(span_id, subscriber_id, day_on, post_at, session_id, traffic_class); the last two only where
the terms tell sessions or classes apart."""


@dataclasses.dataclass(slots=True)
class Measured:
    """What moves the counters of one `CounterKey`; minute and received_at are the newest."""

    octets_up: int = 0
    octets_down: int = 0
    seconds: int = 0
    minute: int = 0
    received_at: int = 0


def rate_usage(work: Workspace, usage: pl.DataFrame) -> list[pl.DataFrame]:
    """Rate a batch's usage; return its volume rows (charges are collected in the workspace)."""
    if not usage.height:
        return []
    work.counters["rate_usage_rows"] += usage.height
    usage, refused = without_excess(usage, ["rating_key"], _OCTETS, SUM_MAX)
    work.counters["rate_refused_rows"] += refused
    if not usage.height:
        return []
    spans, frame = place_rows(work, usage)
    work.load_meters(span_meter_key(span, p) for span in spans for p in span.terms.pricings)
    measured, cells = _sum_up(work, frame, spans)
    _move_counters(work, measured, spans)
    update_cells(work, [cells[key] for key in sorted(cells)])
    return [volume_rows(frame)]


def _sum_up(
    work: Workspace, frame: pl.DataFrame, spans: Sequence[Span]
) -> tuple[dict[CounterKey, Measured], dict[tuple[int, str, int], CellGroup]]:
    """Return what moves counters, and what each cell (span_id, subscriber_id, cell) is brought."""
    groups = (
        frame.lazy()
        .filter(
            (pl.col("source") == pl.col("charged_source"))
            | (pl.col("charged_source") == "accounting")
        )
        .group_by("span_id", *_MOVED_BY, (pl.col("minute") // CELL_MINUTES).alias("cell"))
        .agg(
            pl.col("octets_up", "octets_down", "seconds").sum(),
            pl.col("minute").max(),
        )
        .collect()
    )
    measured: dict[CounterKey, Measured] = {}
    cells: dict[tuple[int, str, int], CellGroup] = {}
    for row in groups.iter_rows():
        span_id, subscriber_id, source, session_id, traffic_class, received_at, cell = row[:7]
        octets_up, octets_down, seconds, minute = row[7:]
        span = spans[span_id]
        terms = span.terms
        day_on, day_ends_at = _day_of_cell(terms.timezone, cell)
        post_at = _post_at(work, terms, day_ends_at, received_at)
        if source == terms.source:
            session = session_id if terms.by_session else ""
            counted_class = traffic_class if terms.by_class else ""
            key = (span_id, subscriber_id, day_on, post_at, session, counted_class)
            sums = measured.get(key)
            if sums is None:
                sums = measured[key] = Measured()
            sums.octets_up += octets_up
            sums.octets_down += octets_down
            sums.seconds += seconds
            sums.minute = max(sums.minute, minute)
            sums.received_at = max(sums.received_at, received_at)
        if terms.source == "accounting":
            name = (span_id, subscriber_id, cell)
            group = cells.get(name)
            if group is None:
                group = cells[name] = CellGroup(span, subscriber_id, cell, day_on, received_at)
            is_flow = source != "accounting"
            group.add((post_at, is_flow, traffic_class if is_flow else ""), octets_up, octets_down)
            group.oldest_received_at = min(group.oldest_received_at, received_at)
            group.newest_received_at = max(group.newest_received_at, received_at)
    return measured, cells


def _post_at(work: Workspace, terms: Terms, day_ends_at: int, received_at: int) -> int:
    """Return the posting that usage of a day is in time for."""
    day_close_at = day_ends_at + work.config.lateness_bound_ms
    if received_at < day_close_at:
        return day_close_at
    grid = work.config.late_posting_interval_ms
    next_late = (received_at // grid + 1) * grid
    return min(next_late, terms.close_at) if received_at < terms.close_at else next_late


@functools.lru_cache(maxsize=65_536)
def _day_of_cell(timezone: str, cell: int) -> tuple[str, int]:
    """Return the local day of a cell, as text and by its end."""
    day = local_day(timezone, cell * CELL_MINUTES)
    return day.isoformat(), day_end_at(timezone, day)


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
