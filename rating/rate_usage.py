"""Usage at work: measured rows become rows of volume, movements of counters and split cells.

Columns first: polars finds the segment, local day and posting of every row and sums what belongs
together; Python then handles one group per counter and one per cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl

from rating.engine import Movement, Pricing
from rating.money import wire_decimal
from rating.periods import (
    CELL_MINUTES,
    MINUTE_MS,
    Period,
    day_end_at,
    local_day,
    next_period,
    period_at,
)
from rating.plans import VOLUME_METER, weight_of
from rating.plausible import SUM_MAX, without_excess
from rating.ports import Delete, Put
from rating.rate_state import CellState, WaitingCell, cell_key, meter_key, timer_key, timers_through
from rating.rate_work import Account, Origin, Terms, Workspace
from rating.records import UNATTRIBUTED_PREFIX, UNCLASSIFIED, RatedUsage, schema_of
from rating.segments import Segment
from rating.split import (
    ClassOctets,
    Layer,
    add_layer,
    add_octets,
    final_split,
    octets_held,
    split_through,
)

_NO_SPAN = -1
_EXPIRED = -2

_OCTETS = ("octets_up", "octets_down")

_RATED_SCHEMA = schema_of(RatedUsage)


class Span(NamedTuple):
    """A segment that usage of this step falls into, with what rates it."""

    account: Account
    segment: Segment
    terms: Terms


class CellGroup(NamedTuple):
    """What a step brings to one cell for one posting."""

    span: Span
    subscriber_id: str
    cell: int
    day_on: str
    layer: Layer
    oldest_received_at: int
    newest_received_at: int


def rate_usage(work: Workspace, usage: pl.DataFrame) -> list[pl.DataFrame]:
    """Rate a batch's usage; return its volume rows (charges are collected in the workspace)."""
    if not usage.height:
        return []
    work.counters["rate_usage_rows"] += usage.height
    usage, refused = without_excess(usage, ["rating_key"], _OCTETS, SUM_MAX)
    work.counters["rate_refused_rows"] += refused
    spans, starts = _find_spans(work, usage)
    frame = _with_spans(work, usage, spans, starts)
    _count_rows(work, frame)
    _load_counters(work, spans)
    _move_counters(work, frame, spans)
    _update_cells(work, frame, spans)
    return [_volume_rows(frame)]


def release_waiting(work: Workspace) -> None:
    """Rate as unclassified the cells whose wait for flows is over."""
    due = list(work.view.scan("waiting", high=timers_through(work.watermark_at)))
    work.load({waiting.rating_key for _, waiting in due})
    names = {
        key: cell_key(w.rating_key, w.cell, w.segment_number, w.subscriber_id) for key, w in due
    }
    held = work.view.get_many("cells", names.values())
    for key, waiting in due:
        work.changes.append(Delete("waiting", key))
        cell = work.cells.get(names[key]) or held.get(names[key]) or CellState()
        opened = work.account(waiting.rating_key).open_period(waiting.period_start_at)
        if opened is None or not cell.layers or _is_rated(cell):
            continue
        group = _waiting_group(work, waiting, opened.period, cell)
        _change_cell(work, names[key], group, cell, CellState(cell.layers, is_released=True))
        work.counters["rate_cells_released"] += 1


def _waiting_group(
    work: Workspace, waiting: WaitingCell, period: Period, cell: CellState
) -> CellGroup:
    """Return a waiting cell as a group that brings nothing new."""
    account = work.account(waiting.rating_key)
    segment = account.segments(period)[waiting.segment_number]
    return CellGroup(
        Span(account, segment, work.terms(account, segment)),
        waiting.subscriber_id,
        waiting.cell,
        waiting.day_on,
        Layer(cell.layers[0].post_at, 0, 0, {}),
        waiting.received_at,
        waiting.received_at,
    )


def _find_spans(
    work: Workspace, usage: pl.DataFrame
) -> tuple[list[Span], list[tuple[str, int, int]]]:
    """Return the spans of a batch, and (rating_key, first minute, span id) of each stretch."""
    reach = usage.group_by("rating_key").agg(
        pl.col("minute").min().alias("first"), pl.col("minute").max().alias("last")
    )
    reach = reach.filter(~pl.col("rating_key").str.starts_with(UNATTRIBUTED_PREFIX))
    work.load(reach["rating_key"])
    spans: list[Span] = []
    starts: list[tuple[str, int, int]] = []
    for rating_key, first, last in reach.sort("rating_key").iter_rows():
        account = work.accounts[rating_key]
        if account.state.calendar is None or not account.cuts:
            continue
        first = max(first, account.cuts[0][0] // MINUTE_MS)
        if first > last:
            continue
        period = period_at(account.state.calendar, first)
        while period.start_at <= last * MINUTE_MS:
            is_expired = period.end_at <= _oldest_end_at(work) and not account.open_period(
                period.start_at
            )
            for segment in account.segments(period):
                span_id = _EXPIRED if is_expired else len(spans)
                starts.append((rating_key, segment.start_at // MINUTE_MS, span_id))
                starts.append((rating_key, segment.end_at // MINUTE_MS, _NO_SPAN))
                if not is_expired:
                    spans.append(Span(account, segment, work.terms(account, segment)))
            period = next_period(account.state.calendar, period)
    return spans, starts


def _oldest_end_at(work: Workspace) -> int:
    retention_ms = work.config.closed_period_retention_days * 86_400_000
    return work.watermark_at - work.config.lateness_bound_ms - retention_ms


def _with_spans(
    work: Workspace,
    usage: pl.DataFrame,
    spans: Sequence[Span],
    starts: Iterable[tuple[str, int, int]],
) -> pl.DataFrame:
    """Return the rows with their span's facts, local day and the posting they are in time for."""
    begins = pl.DataFrame(
        list(starts),
        schema={"rating_key": pl.String, "minute": pl.Int64, "span_id": pl.Int32},
        orient="row",
    )
    # Where one stretch ends and the next begins at once, the beginning stands.
    begins = begins.unique(["rating_key", "minute"], keep="last", maintain_order=True)
    frame = usage.sort("minute").join_asof(
        begins.sort("minute"), on="minute", by="rating_key", check_sortedness=False
    )
    frame = frame.with_columns(
        pl.col("span_id").fill_null(_NO_SPAN), (pl.col("minute") // CELL_MINUTES).alias("cell")
    )
    frame = frame.join(_span_frame(work, spans), on="span_id", how="left")
    days = _day_frame(work, frame.select("timezone", "cell").drop_nulls().unique())
    frame = frame.join(days, on=["timezone", "cell"], how="left")
    grid = work.config.late_posting_interval_ms
    next_late = (pl.col("received_at") // grid + 1) * grid
    close_at = pl.col("close_at")
    return frame.with_columns(
        pl.when(pl.col("received_at") < pl.col("day_close_at"))
        .then(pl.col("day_close_at"))
        .when(pl.col("received_at") < close_at)
        .then(pl.min_horizontal(next_late, close_at))
        .otherwise(next_late)
        .alias("post_at"),
        (pl.col("received_at") >= close_at).fill_null(False).alias("is_late"),
    )


def _span_frame(work: Workspace, spans: Sequence[Span]) -> pl.DataFrame:
    rows = []
    for span_id, span in enumerate(spans):
        assert span.account.state.calendar is not None
        rows.append(
            (
                span_id,
                span.terms.source,
                span.terms.plan.plan_id,
                span.terms.plan.version,
                span.terms.plan.currency,
                span.segment.period.start_at,
                work.close_at(span.segment.period),
                span.account.state.calendar.timezone,
                bool(span.terms.weighted) and span.terms.source == "flows",
                span.terms.by_session,
            )
        )
    return pl.DataFrame(
        rows,
        schema={
            "span_id": pl.Int32,
            "charged_source": pl.String,
            "plan_id": pl.String,
            "plan_version": pl.Int64,
            "currency": pl.String,
            "period_start_at": pl.Int64,
            "close_at": pl.Int64,
            "timezone": pl.String,
            "by_class": pl.Boolean,
            "by_session": pl.Boolean,
        },
        orient="row",
    )


def _day_frame(work: Workspace, cells: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for timezone, cell in cells.iter_rows():
        day = local_day(timezone, cell * CELL_MINUTES)
        close_at = day_end_at(timezone, day) + work.config.lateness_bound_ms
        rows.append((timezone, cell, day.isoformat(), close_at))
    return pl.DataFrame(
        rows,
        schema={
            "timezone": pl.String,
            "cell": pl.Int64,
            "day_on": pl.String,
            "day_close_at": pl.Int64,
        },
        orient="row",
    )


def _count_rows(work: Workspace, frame: pl.DataFrame) -> None:
    is_unattributed = pl.col("rating_key").str.starts_with(UNATTRIBUTED_PREFIX)
    counts = frame.select(
        rate_unattributed_rows=is_unattributed.sum(),
        rate_unsubscribed_rows=((pl.col("span_id") == _NO_SPAN) & ~is_unattributed).sum(),
        rate_expired_rows=(pl.col("span_id") == _EXPIRED).sum(),
        rate_late_rows=pl.col("is_late").sum(),
    )
    for name, count in counts.row(0, named=True).items():
        work.counters[name] += count


def _volume_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that carry octets: the charged source's, and what no plan rates once.

    Without a plan a session's octets are its accounting's, as by default with one; flows count
    where there is no session to account for them: static prefixes, and what matched nobody.
    Accounting octets come as unclassified here; `_reclassify` moves them between classes.
    """
    zero = pl.lit(wire_decimal(0), dtype=_RATED_SCHEMA["charge"])
    is_charged = pl.col("source") == pl.col("charged_source")
    is_counted = (pl.col("source") == "accounting") | (pl.col("session_id") == "")
    is_unrated = pl.col("charged_source").is_null() & is_counted
    return frame.filter(is_charged | is_unrated).select(
        *("rating_key", "subscriber_id", "source", "session_id"),
        pl.when(is_charged & (pl.col("source") == "accounting"))
        .then(pl.lit(UNCLASSIFIED))
        .otherwise(pl.col("traffic_class"))
        .alias("traffic_class"),
        *("minute", "octets_up", "octets_down", "packets_up", "packets_down", "seconds"),
        pl.lit(VOLUME_METER).alias("meter_id"),
        (pl.col("octets_up") + pl.col("octets_down")).alias("quantity"),
        zero.alias("charge"),
        pl.col("currency").fill_null(""),
        zero.alias("balance_effect"),
        pl.col("plan_id").fill_null(""),
        pl.col("plan_version").fill_null(0),
        pl.col("period_start_at").fill_null(0),
        *("is_late", "received_at"),
    )


def _load_counters(work: Workspace, spans: Sequence[Span]) -> None:
    work.load_meters(
        meter_key(
            span.account.rating_key,
            span.segment.period.start_at,
            span.segment.number,
            pricing.meter.meter_id,
        )
        for span in spans
        for pricing in span.terms.pricings
    )


def _move_counters(work: Workspace, frame: pl.DataFrame, spans: Sequence[Span]) -> None:
    """Move every counter that charges its rows directly: all but weighted ones of accounting."""
    keys = ["span_id", "subscriber_id", "source", "day_on", "post_at", "session", "class"]
    groups = (
        frame.filter(pl.col("source") == pl.col("charged_source"))
        .with_columns(
            pl.when("by_session").then("session_id").otherwise(pl.lit("")).alias("session"),
            pl.when("by_class").then("traffic_class").otherwise(pl.lit("")).alias("class"),
        )
        .group_by(keys)
        .agg(
            pl.col("octets_up").sum(),
            pl.col("octets_down").sum(),
            pl.col("seconds").sum(),
            pl.col("minute").max(),
            pl.col("received_at").max(),
        )
        .sort(keys)
    )
    for row in groups.iter_rows():
        span_id, subscriber_id, source, day_on, post_at, session_id, traffic_class = row[:7]
        octets_up, octets_down, seconds, minute, received_at = row[7:]
        span = spans[span_id]
        origin = Origin(subscriber_id, source, session_id, minute)
        for pricing in span.terms.pricings:
            meter = pricing.meter
            if pricing in span.terms.weighted and source == "accounting":
                continue
            if meter.unit == "seconds":
                amount = seconds
            else:
                weight = weight_of(meter, traffic_class, pricing.denominator)
                amount = weight * _octets(meter.unit, octets_up, octets_down)
            if amount:
                movement = Movement(day_on, session_id, post_at, amount, received_at)
                work.move(span.account, span.segment, pricing, movement, origin)
        work.open_segment(span.account, span.segment)


def _octets(unit: str, octets_up: int, octets_down: int) -> int:
    if unit == "octets_up":
        return octets_up
    return octets_down if unit == "octets_down" else octets_up + octets_down


def _update_cells(work: Workspace, frame: pl.DataFrame, spans: Sequence[Span]) -> None:
    """Add a batch to the cells of accounting plans, and post what that changes in their split."""
    by_cell: dict[str, list[CellGroup]] = {}
    for group in _cell_groups(frame, spans):
        segment, account = group.span.segment, group.span.account
        name = cell_key(account.rating_key, group.cell, segment.number, group.subscriber_id)
        by_cell.setdefault(name, []).append(group)
    held = work.view.get_many("cells", by_cell)
    for name, groups in by_cell.items():
        before = work.cells.get(name) or held.get(name) or CellState()
        layers = before.layers
        for group in groups:
            grown = add_layer(layers, group.layer)
            if octets_held(grown) > SUM_MAX:
                work.counters["rate_refused_movements"] += 1
                continue
            layers = grown
        group = groups[0]._replace(
            oldest_received_at=min(g.oldest_received_at for g in groups),
            newest_received_at=max(g.newest_received_at for g in groups),
        )
        after = CellState(layers, before.is_released)
        if group.span.terms.weighted and not _is_rated(after):
            after = _wait_for_flows(work, name, group, after)
        _change_cell(work, name, group, before, after)
        if any(layer.flows for layer in layers):
            _reclassify(work, group, before, after)


def _cell_groups(frame: pl.DataFrame, spans: Sequence[Span]) -> Iterable[CellGroup]:
    keys = ["span_id", "subscriber_id", "cell", "day_on", "post_at"]
    groups = (
        frame.filter(pl.col("charged_source") == "accounting")
        .group_by([*keys, "source", "traffic_class"])
        .agg(
            pl.col("octets_up").sum(),
            pl.col("octets_down").sum(),
            pl.col("received_at").min().alias("oldest"),
            pl.col("received_at").max().alias("newest"),
        )
        .sort([*keys, "source", "traffic_class"])
    )
    for row in groups.iter_rows():
        span_id, subscriber_id, cell, day_on, post_at, source, traffic_class = row[:7]
        up, down, oldest, newest = row[7:]
        if source == "accounting":
            layer = Layer(post_at, up, down, {})
        else:
            layer = Layer(post_at, 0, 0, {traffic_class: (up, down)})
        yield CellGroup(spans[span_id], subscriber_id, cell, day_on, layer, oldest, newest)


def _is_rated(cell: CellState) -> bool:
    """Return whether weighted meters may count the cell: flows have come, or their time is up."""
    return cell.is_released or any(layer.flows for layer in cell.layers)


def _wait_for_flows(work: Workspace, name: str, group: CellGroup, cell: CellState) -> CellState:
    """Return the cell, released if the wait is over already; else put it on the waiting list.

    No wait outlasts a posting: what was received in time for it is posted, classified or not.
    """
    wait_until = group.oldest_received_at + work.config.class_split_wait_seconds * 1000
    due_at = min(wait_until, *(layer.post_at for layer in cell.layers))
    if due_at <= work.watermark_at:
        return CellState(cell.layers, is_released=True)
    waiting = WaitingCell(
        rating_key=group.span.account.rating_key,
        subscriber_id=group.subscriber_id,
        cell=group.cell,
        period_start_at=group.span.segment.period.start_at,
        segment_number=group.span.segment.number,
        day_on=group.day_on,
        received_at=group.newest_received_at,
    )
    work.changes.append(Put("waiting", timer_key(due_at, name), waiting))
    return cell


def _change_cell(
    work: Workspace, name: str, group: CellGroup, before: CellState, after: CellState
) -> None:
    """Keep a cell's new state and move the weighted counters by the difference it makes."""
    work.cells[name] = after
    span = group.span
    if not span.terms.weighted:
        return
    splits_before = split_through(before.layers) if _is_rated(before) else []
    splits_after = split_through(after.layers) if _is_rated(after) else []
    minute = max(group.cell * CELL_MINUTES, span.segment.start_at // MINUTE_MS)
    origin = Origin(group.subscriber_id, "accounting", "", minute)
    for pricing in span.terms.weighted:
        changes = _contributions(splits_after, pricing)
        for post_at, amount in _contributions(splits_before, pricing).items():
            changes[post_at] = changes.get(post_at, 0) - amount
        for post_at in sorted(changes):
            if changes[post_at]:
                movement = Movement(
                    group.day_on, "", post_at, changes[post_at], group.newest_received_at
                )
                work.move(span.account, span.segment, pricing, movement, origin)


def _contributions(splits: Sequence[tuple[int, ClassOctets]], pricing: Pricing) -> dict[int, int]:
    """Return what each posting adds to a weighted counter, in units of 1 / denominator."""
    contributions, before = {}, 0
    for post_at, split in splits:
        total = sum(
            weight_of(pricing.meter, name, pricing.denominator)
            * _octets(pricing.meter.unit, up, down)
            for name, (up, down) in split.items()
        )
        contributions[post_at] = total - before
        before = total
    return contributions


def _reclassify(work: Workspace, group: CellGroup, before: CellState, after: CellState) -> None:
    """Emit the rows, summing to zero, that move a cell's octets between classes."""
    wanted, was = final_split(after.layers), final_split(before.layers)
    fresh = tuple(
        sum(getattr(layer, field) for layer in after.layers)
        - sum(getattr(layer, field) for layer in before.layers)
        for field in ("octets_up", "octets_down")
    )
    changes = add_octets(add_octets(wanted, was, -1), {UNCLASSIFIED: (fresh[0], fresh[1])}, -1)
    moved = {name: octets for name, octets in changes.items() if octets != (0, 0)}
    if moved:
        work.counters["rate_reclassified_cells"] += 1
    for name in sorted(moved):
        work.rated.append(_class_row(group, name, *moved[name]))


def _class_row(group: CellGroup, traffic_class: str, up: int, down: int) -> RatedUsage:
    span = group.span
    return RatedUsage(
        rating_key=span.account.rating_key,
        subscriber_id=group.subscriber_id,
        source="accounting",
        session_id="",
        traffic_class=traffic_class,
        minute=max(group.cell * CELL_MINUTES, span.segment.start_at // MINUTE_MS),
        octets_up=up,
        octets_down=down,
        packets_up=0,
        packets_down=0,
        seconds=0,
        meter_id=VOLUME_METER,
        quantity=up + down,
        charge=wire_decimal(0),
        currency=span.terms.plan.currency,
        balance_effect=wire_decimal(0),
        plan_id=span.terms.plan.plan_id,
        plan_version=span.terms.plan.version,
        period_start_at=span.segment.period.start_at,
        is_late=False,
        received_at=group.newest_received_at,
    )
