"""The stage translate: minutes of outside addresses and events of NATs in, inside addresses out.

A border router sees subscribers behind their NAT: public address and port. Who held the port at
the time is told by the NAT itself (`rating.translations`). What it told becomes `flow.minutes` of
the inside address, which stage attribute gives to whom a RADIUS session or a static prefix says.
What nobody told of goes on as it is, an address of the pool that is nobody's, and is reported.

When a minute is joined, and what is late for it, say `rating.minute_joins`: an event that comes
late moves octets by difference.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from rating import pages, translations
from rating.address_columns import packed
from rating.attribution import ADDRESS, COUNTERS, HOLDER_KEY, PageKind
from rating.minute_joins import MinuteJoin
from rating.nat_pools import WHOLE
from rating.plausible import SUM_MAX
from rating.ports import Batch, Output, StateView, StepResult
from rating.records import FlowMinute, NatEvent, schema_of
from rating.session_config import AttributionConfig
from rating.translations import TranslationTable, holders

SUMS = (*COUNTERS, "octets_exported")
_KEY = (*HOLDER_KEY, "traffic_class", "exporter", "rate_known", "late_through_minute")
TRANSLATED = PageKind(
    _KEY,
    SUMS,
    pl.Schema(
        {
            "hi": pl.UInt64(),
            "lo": pl.UInt64(),
            "port_block": pl.Int64(),
            "user_name": pl.String(),
            "traffic_class": pl.String(),
            "exporter": pl.String(),
            "rate_known": pl.Boolean(),
            "late_through_minute": pl.Int64(),
            **{name: pl.Int64() for name in SUMS},
            "received_at": pl.Int64(),
        }
    ),
)
"""The pages of the stage translate: flow minutes with everything that they carry."""

COLLECTIONS: dict[str, Any] = {**pages.COLLECTIONS, **translations.COLLECTIONS}
DAY_MS = 86_400_000
_INSIDE = ("inside_hi", "inside_lo")


def step(
    view: StateView, batch: Batch, *, watermark_at: int, config: AttributionConfig
) -> StepResult:
    """Return what a batch of `nat.minutes` and `nat.events` changes; see the module's docstring."""
    worker = _Worker(view, config, watermark_at)
    worker.take_rows(batch.frame("nat.minutes", schema_of(FlowMinute)))
    worker.take_events(batch.frame("nat.events", schema_of(NatEvent)))
    worker.join_due(None)
    worker.keep_waiting()
    worker.expire()
    return worker.result()


class _Worker(MinuteJoin):
    """One step in the making."""

    name = "translate"

    def __init__(self, view: StateView, config: AttributionConfig, watermark_at: int) -> None:
        super().__init__(view, config, watermark_at, TRANSLATED)
        self.past_ms = config.nat_history_days * DAY_MS
        self.table = TranslationTable(
            view, config.nat_binding_retention_seconds * 1000, config.nat_overlaps_per_address_limit
        )
        self.sent: list[pl.DataFrame] = []

    def send(self, page: pl.DataFrame, minute: int) -> pl.DataFrame:
        """Send the rows of a page whose minute is due, under their inside address if it is told."""
        cells = _cells(page)
        found = holders(cells, minute, self.table.rows_of(cells["key"].unique()))
        owned = page.join(found.drop("key"), on=ADDRESS, how="left")
        unknown = owned.filter((pl.col("inside_hi") == 0) & (pl.col("inside_lo") == 0))
        self.counters["translate_uncovered_rows"] += unknown.height
        octets = unknown.select(pl.col("octets_up").abs() + pl.col("octets_down").abs())
        self.counters["translate_uncovered_octets"] += int(octets.to_series().sum())
        self.counters["translate_ambiguous_rows"] += owned.filter(
            pl.col("is_ambiguous") & (pl.col("port_block") != WHOLE)
        ).height
        self._send(owned, minute)
        return page

    def take_events(self, rows: pl.DataFrame) -> None:
        """Take rows of `nat.events`, those of one lateness at a time.

        An event is taken to be no older than the bound: further back nothing is corrected.
        """
        earliest = pl.col("received_at") - self.bound_ms
        rows = rows.with_columns(pl.max_horizontal("event_at", earliest).alias("event_at"))
        for since_minute, group in self.by_lateness(rows):
            self.counters["translate_events"] += group.height
            changed, before = self.table.take(group)
            self.counters["translate_events_new"] += changed.height
            for minute, touching in self.concerned(changed, since_minute):
                self._move(minute, before, touching)

    def _move(
        self, minute: int, before: dict[str, translations.Rows], changed: pl.DataFrame
    ) -> None:
        """Send the difference that changed translations make to one joined minute."""
        causes = changed.group_by("key").agg(pl.col("received_at").max().alias("cause_at"))
        page = self.pages.joined(minute)
        cells = _cells(page).join(causes, on="key")
        rows = page.join(cells.select(*ADDRESS, "cause_at"), on=ADDRESS)
        rows = self.plausible(rows, (), SUM_MAX)
        if rows.height == 0:
            return
        cells = cells.select(*ADDRESS, "key")
        keys = cells["key"].unique()
        old = holders(cells, minute, {key: before[key] for key in keys})
        new = holders(cells, minute, self.table.rows_of(keys))
        moved = old.join(new, on=ADDRESS, suffix="_new").filter(
            pl.any_horizontal(*(pl.col(n) != pl.col(f"{n}_new") for n in _INSIDE))
        )
        rows = self.caused(rows)
        taken = moved.select(*ADDRESS, *_INSIDE)
        given = moved.select(*ADDRESS, *(pl.col(f"{name}_new").alias(name) for name in _INSIDE))
        minus = rows.join(taken, on=ADDRESS).with_columns(*(-pl.col(name) for name in SUMS))
        both = pl.concat([minus, rows.join(given, on=ADDRESS)])
        self.counters["translate_moved_rows"] += both.height
        self._send(both, minute)

    def _send(self, owned: pl.DataFrame, minute: int) -> None:
        """Send page rows with their inside address (0: keep the outside one) as flow minutes."""
        if not owned.height:
            return
        is_told = (pl.col("inside_hi") != 0) | (pl.col("inside_lo") != 0)
        told = owned.select(
            pl.when(is_told).then(pl.col("inside_hi")).otherwise(pl.col("hi")).alias("hi"),
            pl.when(is_told).then(pl.col("inside_lo")).otherwise(pl.col("lo")).alias("lo"),
            pl.when(is_told).then(0).otherwise(pl.col("port_block")).alias("port_block"),
            *TRANSLATED.schema.names()[3:],
        )
        added = told.group_by(TRANSLATED.key).agg(
            *(pl.col(name).sum() for name in SUMS), pl.col("received_at").max()
        )
        added = added.filter(pl.any_horizontal(*(pl.col(name) != 0 for name in SUMS)))
        address = packed(added["hi"].to_numpy(), added["lo"].to_numpy())
        rows = added.with_columns(address=address, minute=pl.lit(minute, pl.Int64))
        self.sent.append(rows.select(schema_of(FlowMinute).names()))

    def result(self) -> StepResult:
        """Return what the step wants committed."""
        self.counters["translate_rows_forgotten"] += self.table.forgotten
        sent = [frame for frame in self.sent if frame.height]
        forget_before_at = self.horizon_at - self.bound_ms
        past_before_at = self.watermark_at - self.past_ms
        return StepResult(
            changes=[
                *self.pages.changes(),
                *self.table.changes(forget_before_at, past_before_at),
            ],
            outputs=[Output("flow.minutes", pl.concat(sent))] if sent else [],
            counters={name: count for name, count in self.counters.items() if count},
        )


def _cells(page: pl.DataFrame) -> pl.DataFrame:
    """Return the cells of a page, each once, with the key of their address."""
    cells = page.select(ADDRESS).unique()
    pairs = cells.select("hi", "lo").unique()
    keys = [f"{hi:016x}{lo:016x}" for hi, lo in pairs.iter_rows()]
    keyed = pairs.with_columns(pl.Series("key", keys, dtype=pl.String))
    return cells.join(keyed, on=["hi", "lo"], how="left")
