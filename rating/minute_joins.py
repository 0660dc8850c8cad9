"""Minutes that wait until what they are joined with is known, and what comes late for them.

A minute is joined when the watermark has passed its end by the delay; rows that come later are
joined at once. What a row is joined with (bindings, translations) may come late too: joined pages
are kept until the lateness bound, so that it moves their octets by difference.

Within one batch, a minute that is due is joined before anything that is late for it, so that what
is late does not depend on how the topics are cut into batches.
"""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Iterator, Sequence

import polars as pl

from rating.attribution import PageKind, add_up, late_through, pages_of
from rating.knots import MINUTE_MS
from rating.pages import Pages
from rating.plausible import without_excess
from rating.ports import StateView
from rating.session_config import AttributionConfig


class MinuteJoin(abc.ABC):
    """One step that joins minutes, in the making; a subclass says with what."""

    def __init__(
        self, view: StateView, config: AttributionConfig, watermark_at: int, kind: PageKind
    ) -> None:
        """Read the pages of `view`."""
        self.view = view
        self.watermark_at = watermark_at
        self.bound_ms = config.lateness_bound_seconds * 1000
        self.page_octets_limit = config.octets_per_minute_limit
        self.delay_ms = config.attribution_delay_seconds * 1000
        self.kind = kind
        self.pages = Pages(view, kind)
        self.fresh: dict[int, pl.DataFrame] = {}
        self.counters: Counter[str] = Counter()

    @abc.abstractmethod
    def send(self, page: pl.DataFrame, minute: int) -> pl.DataFrame:
        """Send the rows of a page whose minute is due; return those to keep as joined."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What the counters' names begin with."""

    def take_rows(self, rows: pl.DataFrame) -> None:
        """Take rows of FlowMinute; they are joined, or kept waiting, later in the step."""
        if not rows.is_empty():
            self.fresh = pages_of(rows, self.bound_ms, self.kind)

    def join_due(self, before_minute: int | None) -> None:
        """Join every minute that is due, or of those only the ones before a minute."""
        for minute in sorted({*self.fresh, *self.pages.waiting_minutes()}):
            is_due = (minute + 1) * MINUTE_MS + self.delay_ms <= self.watermark_at
            if is_due and (before_minute is None or minute < before_minute):
                self._join(minute)

    def _join(self, minute: int) -> None:
        parts = self.pages.waiting(minute)
        fresh = self.fresh.pop(minute, None)
        if fresh is not None:
            parts.append(fresh)
        rows = pl.concat(parts, rechunk=True)
        del parts
        self.counters[f"{self.name}_rows"] += rows.height
        if self.pages.is_joined(minute):
            self.counters[f"{self.name}_late_rows"] += rows.height
        limited = self.kind.limited or self.kind.key
        page = self.plausible(rows, limited, self.page_octets_limit)
        is_apart = self.is_sent_apart(page)
        if not is_apart:
            page = add_up(page, self.kind)
        is_kept = (minute + 1) * MINUTE_MS >= self.horizon_at
        if is_apart and is_kept and page.height == rows.height:
            self._send_as_told(page, minute, fresh)
            return
        del rows
        self.pages.drop_waiting(minute)
        sent = self.send(page, minute)
        if sent.height and is_kept:
            self.pages.add_joined(minute, sent.select(self.kind.schema.names()))

    def _send_as_told(self, page: pl.DataFrame, minute: int, fresh: pl.DataFrame | None) -> None:
        """Send rows that waited, and fresh ones, and keep those that waited as they are stored."""
        sent = self.send(page, minute)
        if sent.height < page.height:
            self.pages.drop_waiting(minute)
            fresh = sent.select(self.kind.schema.names())
        else:
            self.pages.join_waiting(minute)
        if fresh is not None and fresh.height:
            self.pages.add_joined(minute, fresh)

    def is_sent_apart(self, rows: pl.DataFrame) -> bool:
        """Return whether rows of one key may be sent, and kept, without being added up before."""
        return False

    def plausible(self, rows: pl.DataFrame, key: Sequence[str], limit: int) -> pl.DataFrame:
        """Return the rows whose sums by key are within a limit; the others are never sent."""
        rows, refused = without_excess(rows, key, self.kind.sums, limit)
        self.counters[f"{self.name}_refused_rows"] += refused
        return rows

    def keep_waiting(self) -> None:
        """Keep the rows whose minute is not due."""
        for minute, page in self.fresh.items():
            self.pages.add_waiting(minute, page)
        self.fresh = {}

    def expire(self) -> None:
        """Forget joined minutes behind the lateness bound."""
        for minute in self.pages.joined_minutes():
            if (minute + 1) * MINUTE_MS < self.horizon_at:
                self.pages.drop(minute)

    @property
    def horizon_at(self) -> int:
        """The instant behind which nothing is corrected any more (ms)."""
        return self.watermark_at - self.bound_ms

    def by_lateness(self, rows: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the rows of one lateness at a time, with the first minute that they reach back to.

        Before each, the minutes that it is late for are joined without it.
        """
        if rows.height == 0:
            return
        late = late_through(self.bound_ms).alias("late")
        groups = rows.with_columns(late).partition_by("late", as_dict=True, include_key=False)
        for (minute,), group in sorted(groups.items(), key=lambda item: item[0]):
            self.join_due(minute)
            yield minute, group

    def concerned(
        self, changed: pl.DataFrame, since_minute: int
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield joined minutes with the changes that touch them, from since_minute on.

        Whatever older minutes a lagging watermark keeps: how far back a change reaches is decided
        by its own receipt, never by the batch. changed has touched_from_at and touched_until_at.
        """
        if not changed.height:
            return
        first_at = int(changed["touched_from_at"].to_numpy().min())
        last_at = int(changed["touched_until_at"].to_numpy().max())
        for minute in self.pages.joined_minutes():
            start_at, end_at = minute * MINUTE_MS, (minute + 1) * MINUTE_MS
            if minute < since_minute or end_at <= first_at or start_at >= last_at:
                continue
            touching = changed.filter(
                (pl.col("touched_from_at") < end_at) & (pl.col("touched_until_at") > start_at)
            )
            if touching.height:
                yield minute, touching

    def caused(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return page rows as late, and as newly received, as the change at their cause_at."""
        late = (pl.col("cause_at") - self.bound_ms) // MINUTE_MS
        return rows.with_columns(
            pl.max_horizontal("late_through_minute", late).alias("late_through_minute"),
            pl.max_horizontal("received_at", "cause_at").alias("received_at"),
        ).drop("cause_at")
