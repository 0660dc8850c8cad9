"""Cells at work: accounting octets are split by flows, and weighted counters follow the split."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rating.bands import NO_BAND, band_at
from rating.engine import Movement, Pricing, amount_counted
from rating.periods import CELL_MINUTES, MINUTE_MS
from rating.plans import VOLUME_METER
from rating.plausible import SUM_MAX
from rating.ports import Delete, Put
from rating.rate_state import CellState, WaitingCell, cell_key, timer_key, timers_through
from rating.rate_work import Span, Workspace
from rating.records import UNCLASSIFIED
from rating.split import ClassOctets, add_octets, add_parts, split_through

_NOTHING = CellState()


class CellGroup(msgspec.Struct):
    """What a step brings to one cell; parts as `split.add_parts` takes them."""

    span: Span
    subscriber_id: str
    cell: int
    day_on: str
    oldest_received_at: int
    newest_received_at: int
    parts: dict[tuple[int, bool, str], tuple[int, int]]

    def add(
        self, part: tuple[int, bool, str], octets_up: int, octets_down: int, received_at: int
    ) -> None:
        """Add octets to one part."""
        up, down = self.parts.get(part, (0, 0))
        self.parts[part] = (up + octets_up, down + octets_down)
        if received_at < self.oldest_received_at:
            self.oldest_received_at = received_at
        elif received_at > self.newest_received_at:
            self.newest_received_at = received_at

    @property
    def minute(self) -> int:
        """The first minute of the cell that its segment rates."""
        return max(self.cell * CELL_MINUTES, self.span.segment.start_at // MINUTE_MS)

    @property
    def band(self) -> str:
        """The time band that the cell lies in, "" for none."""
        terms = self.span.terms
        return band_at(terms.week, terms.timezone, self.cell) if terms.week else NO_BAND


def update_cells(work: Workspace, groups: Sequence[CellGroup]) -> None:
    """Add a batch to the cells of accounting plans, and post what that changes in their split."""
    names = [
        cell_key(g.span.account.rating_key, g.cell, g.span.segment.number, g.subscriber_id)
        for g in groups
    ]
    held = work.view.get_many("cells", names)
    for name, group in zip(names, groups, strict=True):
        before = work.cells.get(name) or held.get(name) or _NOTHING
        layers, refused = add_parts(before.layers, group.parts, SUM_MAX)
        if refused:
            work.counters["rate_refused_movements"] += refused
        after = CellState(layers, before.is_released)
        if group.span.terms.weighted:
            if not _is_rated(after):
                after = _wait_for_flows(work, name, group, after)
        elif not _has_flows(after):
            work.cells[name] = after  # Nothing is split, and nothing waits for it.
            continue
        _change_cell(work, name, group, before, after)


def release_waiting(work: Workspace) -> None:
    """Rate as unclassified the cells whose wait for flows is over."""
    due = list(work.view.scan("waiting", high=timers_through(work.watermark_at)))
    if not due:
        return
    work.load({waiting.rating_key for _, waiting in due})
    names = {
        key: cell_key(w.rating_key, w.cell, w.segment_number, w.subscriber_id) for key, w in due
    }
    held = work.view.get_many("cells", names.values())
    for key, waiting in due:
        work.changes.append(Delete("waiting", key))
        cell = work.cells.get(names[key]) or held.get(names[key]) or _NOTHING
        account = work.account(waiting.rating_key)
        opened = account.open_period(waiting.period_start_at)
        if opened is None or not cell.layers or _is_rated(cell):
            continue
        span = work.span(account, account.segments(opened.period)[waiting.segment_number])
        at = waiting.received_at
        group = CellGroup(span, waiting.subscriber_id, waiting.cell, waiting.day_on, at, at, {})
        after = CellState(cell.layers, is_released=True)
        _change_cell(work, names[key], group, cell, after)
        work.counters["rate_cells_released"] += 1


def _is_rated(cell: CellState) -> bool:
    """Return whether weighted meters may count the cell: flows have come, or their time is up."""
    return cell.is_released or _has_flows(cell)


def _has_flows(cell: CellState) -> bool:
    return any(layer.flows for layer in cell.layers)


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
        period_start_at=group.span.terms.period_start_at,
        segment_number=group.span.segment.number,
        day_on=group.day_on,
        received_at=group.newest_received_at,
    )
    work.changes.append(Put("waiting", timer_key(due_at, name), waiting))
    return cell


def _change_cell(
    work: Workspace, name: str, group: CellGroup, before: CellState, after: CellState
) -> None:
    """Keep a cell's new state, and post the difference that it makes to counters and classes."""
    work.cells[name] = after
    weighted, has_flows = group.span.terms.weighted, _has_flows(after)
    if not weighted and not has_flows:
        return
    was, now = split_through(before.layers), split_through(after.layers)
    band = group.band
    for pricing in weighted:
        changes = _contributions(now if _is_rated(after) else [], pricing, band)
        former = _contributions(was if _is_rated(before) else [], pricing, band)
        for post_at, amount in former.items():
            changes[post_at] = changes.get(post_at, 0) - amount
        origin = (group.subscriber_id, "accounting", "", group.minute)
        for post_at in sorted(changes):
            if changes[post_at]:
                movement = Movement(
                    group.day_on, "", post_at, changes[post_at], group.newest_received_at
                )
                work.move(group.span, pricing, movement, origin)
    if has_flows:
        _reclassify(work, group, was[-1][1] if was else {}, now[-1][1])


def _contributions(
    splits: Sequence[tuple[int, ClassOctets]], pricing: Pricing, band: str
) -> dict[int, int]:
    """Return what each posting adds to a weighted counter, in units of 1 / denominator."""
    contributions, before = {}, 0
    for post_at, split in splits:
        total = sum(
            [
                amount_counted(pricing, (name, band), up, down, 0)
                for name, (up, down) in split.items()
            ]
        )
        contributions[post_at] = total - before
        before = total
    return contributions


def _reclassify(work: Workspace, group: CellGroup, was: ClassOctets, now: ClassOctets) -> None:
    """Emit the rows, summing to zero, that move a cell's octets between classes.

    A split conserves its octets: what the two differ by in all has just arrived, and is in rows of
    volume already, as unclassified.
    """
    changes = add_octets(now, was, -1)
    up = sum([octets[0] for octets in changes.values()])
    down = sum([octets[1] for octets in changes.values()])
    changes = add_octets(changes, {UNCLASSIFIED: (up, down)}, -1)
    moved = sorted([(name, *octets) for name, octets in changes.items() if octets != (0, 0)])
    if not moved:
        return
    work.counters["rate_reclassified_cells"] += 1
    origin = (group.subscriber_id, "accounting", "", group.minute)
    for octets in moved:
        cause = (octets[1] + octets[2], group.newest_received_at, False)
        work.add_rated(group.span, origin, cause, VOLUME_METER, octets)
