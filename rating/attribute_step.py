"""The attribute stage: flow minutes and session bindings in, usage per subscriber out.

When a minute is joined, and what is late for it, say `rating.minute_joins`; a binding that comes
late moves octets by difference: minus from whom they were, plus to whom they are. The directory
must know a fact before usage of its time is taken; its rows of a batch are taken first.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import polars as pl

from rating import binding_table, directory, flow_hours, key_sums, pages
from rating.addresses import format_prefix
from rating.attribution import (
    ATTRIBUTED,
    COUNTERS,
    PROVENANCE,
    USAGE_KEY,
    Evidence,
    owners_of,
    statics_of,
    touched_by,
    usage_of,
)
from rating.binding_index import BindingIndex
from rating.binding_table import BindingTable, Indexed
from rating.flow_hours import FlowHours
from rating.knots import MINUTE_MS
from rating.minute_joins import MinuteJoin
from rating.plausible import SUM_MAX
from rating.ports import Batch, Output, StateView, StepResult
from rating.records import (
    UNATTRIBUTED_PREFIX,
    DirectoryEntry,
    FlowMinute,
    SessionBinding,
    Usage,
    empty_frame,
    schema_of,
)
from rating.rows import UnattributedMinute
from rating.session_config import FLOW_USER, AttributionConfig

SOURCE = "flows"
USAGE_OCTETS_MAX = 1 << 53
"""Most octets of a subscriber, or of nobody, that one step joins in a minute and class: 9 PB."""
COLLECTIONS: dict[str, Any] = {
    **pages.COLLECTIONS,
    **binding_table.COLLECTIONS,
    **directory.COLLECTIONS,
    **flow_hours.COLLECTIONS,
}
_APART_ROWS_MIN = 10_000
_APART_SHARE = 2 / 3
"""Rows of a minute that are so many, and of which so many have keys of their own, are not added up
by key before they are sent: that takes longer than all that is done with them."""
_KINDS = frozenset({directory.STATIC_PREFIX, directory.MEMBERSHIP})
_USER_SCHEMA = pl.Schema({"user_name": pl.String(), "subscriber_id": pl.String()})
_IPV4_BLOCK_LENGTH = 120
_IPV6_BLOCK_LENGTH = 40
"""Unattributed octets are reported per routing block: IPv4 /24, IPv6 /40 (DESIGN §2)."""


def step(
    view: StateView, batch: Batch, *, watermark_at: int, config: AttributionConfig
) -> StepResult:
    """Return what a batch of flow minutes and bindings changes; see the module's docstring."""
    worker = _Worker(view, config, watermark_at)
    worker.directory.take(batch.frame("directory", schema_of(DirectoryEntry)))
    worker.take_rows(batch.frame("flow.minutes", schema_of(FlowMinute)))
    worker.take_bindings(batch.frame("session.bindings", schema_of(SessionBinding)))
    worker.join_due(None)
    worker.keep_waiting()
    worker.expire()
    return worker.result()


class _Worker(MinuteJoin):
    """One step in the making."""

    name = "attribute"

    def __init__(self, view: StateView, config: AttributionConfig, watermark_at: int) -> None:
        super().__init__(view, config, watermark_at, ATTRIBUTED)
        self.order = config.who_order
        knows_users = FLOW_USER in self.order
        self.directory = directory.Directory(
            view, _KINDS | {directory.IDENTITY} if knows_users else _KINDS
        )
        self.usage: list[pl.DataFrame] = []
        self.nobodys: list[pl.DataFrame] = []
        over_before_hour = max(0, watermark_at - self.delay_ms) // flow_hours.HOUR_MS
        self.hours = FlowHours(view, over_before_hour)
        self._bindings: BindingTable | None = None
        self._statics: pl.DataFrame | None = None

    @property
    def bindings(self) -> BindingTable:
        """The bindings, read when first needed."""
        if self._bindings is None:
            self._bindings = BindingTable(self.view)
        return self._bindings

    @property
    def statics(self) -> pl.DataFrame:
        """The static prefixes, read when first needed."""
        if self._statics is None:
            self._statics = statics_of(self.directory.static_prefixes())
        return self._statics

    def evidence(self, minute: int, page: pl.DataFrame, bindings: BindingIndex) -> Evidence:
        """Return what tells whose the rows of a minute's page are, with these bindings."""
        users: dict[str, str] = {}
        if FLOW_USER in self.order:
            named = page.filter(pl.col("user_name") != "")["user_name"].unique()
            users = self.directory.users_at(named.to_list(), minute * MINUTE_MS)
        found = pl.DataFrame(list(users.items()), schema=_USER_SCHEMA, orient="row")
        return Evidence(bindings, self.statics, found, self.order)

    def send(self, page: pl.DataFrame, minute: int) -> pl.DataFrame:
        """Send the rows of a page whose minute is due as usage of who held their addresses."""
        owners = owners_of(page, minute, self.evidence(minute, page, self.bindings.index))
        owned = page.hstack(owners)
        owned = self.plausible(owned, USAGE_KEY, USAGE_OCTETS_MAX)
        if owned.height:
            self._send(owned, minute)
        return owned

    def is_sent_apart(self, rows: pl.DataFrame) -> bool:
        """Return whether most rows have a key of their own: owners are found for rows as well.

        What is refused is counted by key, so that there must be no need to refuse anything.
        """
        if rows.height < _APART_ROWS_MIN:
            return False
        octets = max(rows[name].to_numpy().sum(dtype=float) for name in self.kind.sums)
        if octets > USAGE_OCTETS_MAX:
            return False
        return key_sums.share_of_keys(rows, self.kind.key, ("hi", "lo")) > _APART_SHARE

    # -- bindings ------------------------------------------------------------------------------

    def take_bindings(self, rows: pl.DataFrame) -> None:
        """Take rows of `session.bindings`, those of one lateness at a time."""
        for since_minute, group in self.by_lateness(rows):
            before = self.bindings.now()
            changed = self.bindings.take(group)
            self.counters["attribute_bindings"] += changed["binding_id"].n_unique()
            for minute, touching in self.concerned(changed, since_minute):
                self._move(minute, before, touching)

    def _move(self, minute: int, before: Indexed, changed: pl.DataFrame) -> None:
        """Send the difference that changed bindings make to one joined minute."""
        rows = touched_by(self.pages.joined_rows(minute), changed)
        rows = key_sums.add_up(rows, (*self.kind.key, "cause_at"), self.kind.sums)
        rows = self.plausible(rows, (), SUM_MAX)
        if rows.height == 0:
            return
        evidence = self.evidence(minute, rows, before.asked())
        owned = rows.hstack(_in_words(owners_of(rows, minute, evidence), evidence.bindings))
        evidence = dataclasses.replace(evidence, bindings=self.bindings.index)
        after = _in_words(owners_of(rows, minute, evidence), evidence.bindings)
        moved = (owned["subscriber_id"] != after["subscriber_id"]) | (
            owned["session_id"] != after["session_id"]
        )
        owned, after = self.caused(owned.filter(moved)), after.filter(moved)
        minus = owned.with_columns(-pl.col(*COUNTERS, *PROVENANCE))
        both = pl.concat([minus, owned.with_columns(after)])
        self.counters["attribute_reattributed_rows"] += self._send(both, minute)

    # -- what is sent --------------------------------------------------------------------------

    def _send(self, owned: pl.DataFrame, minute: int) -> int:
        """Send page rows with their owner as usage; return how many usage rows that makes.

        Owners are text, or of the categories of the bindings' index.
        """
        if not owned.height:
            return 0
        usage = usage_of(owned, minute)
        self.usage.append(_in_words(usage.drop(PROVENANCE), self.bindings.index))
        parts = owned
        if key_sums.is_one(owned["exporter"]):
            exporter = owned["exporter"].new_from_index(0, usage.height)
            parts = usage.with_columns(exporter)
        hours = flow_hours.of_owned(parts)
        if hours.height:
            self.hours.add(minute, _in_words(hours, self.bindings.index))
        is_nobodys = pl.col("subscriber_id") == ""
        nobodys = owned.filter(is_nobodys)
        if nobodys.height:
            self.nobodys.append(_per_block(nobodys, minute))
            self.counters["attribute_unattributed_rows"] += usage.filter(is_nobodys).height
        return usage.height

    def _usage_frame(self) -> pl.DataFrame:
        """Return all usage with the rating key of its minute."""
        usage = pl.concat(self.usage)
        rating_key = pl.col("subscriber_id")
        if self.nobodys:
            own = pl.when(rating_key == "").then(pl.lit(UNATTRIBUTED_PREFIX + SOURCE))
            rating_key = own.otherwise(rating_key)
        keyed = self._pool_keys(usage)
        if keyed.height:
            usage = usage.join(keyed, on=["subscriber_id", "minute"], how="left")
            rating_key = pl.coalesce("pool_key", rating_key)
        return usage.select(
            rating_key.alias("rating_key"),
            "subscriber_id",
            pl.lit(SOURCE).alias("source"),
            "session_id",
            "traffic_class",
            "minute",
            *COUNTERS,
            pl.lit(0, pl.Int64).alias("seconds"),
            "received_at",
        )

    def _pool_keys(self, usage: pl.DataFrame) -> pl.DataFrame:
        """Return subscriber_id, minute and pool_key of usage whose subscriber is in some pool."""
        members = pl.Series("subscriber_id", list(self.directory.pool_members()), pl.String)
        if not len(members):
            return usage.clear().select("subscriber_id", "minute")
        pairs = usage.select("subscriber_id", "minute").join(
            members.to_frame(), on="subscriber_id", how="semi"
        )
        pairs = pairs.unique()
        self.directory.members(pairs["subscriber_id"].unique())
        keys = [self.directory.rating_key_at(*pair) for pair in pairs.iter_rows()]
        return pairs.with_columns(pl.Series("pool_key", keys, dtype=pl.String))

    def result(self) -> StepResult:
        """Return what the step wants committed."""
        frame = self._usage_frame() if self.usage else empty_frame(Usage)
        forget_before_at = self.horizon_at - self.bound_ms
        tables = self._bindings.changes(forget_before_at) if self._bindings else []
        hours, told = self.hours.result()
        return StepResult(
            changes=[*self.directory.changes, *self.pages.changes(), *tables, *hours],
            outputs=[Output("usage.measured", frame)] if frame.height else [],
            rows=[*_unattributed_rows(self.nobodys), *told],
            counters=dict(self.counters),
        )


def _in_words(owned: pl.DataFrame, bindings: BindingIndex) -> pl.DataFrame:
    """Return rows with what is of the categories of an index, or of others, as text."""
    return owned.with_columns(
        (bindings.words if column.dtype == bindings.names else key_sums.in_words)(column)
        for column in owned.iter_columns()
        if isinstance(column.dtype, pl.Categorical)
    )


def _per_block(nobodys: pl.DataFrame, minute: int) -> pl.DataFrame:
    """Return (minute, block hi and lo, is_ipv4, octets) of rows that are nobody's."""
    hi, lo = pl.col("hi"), pl.col("lo")
    is_ipv4 = (hi == 0) & (lo // (1 << 32) == 0xFFFF)
    blocks = nobodys.select(
        is_ipv4.alias("is_ipv4"),
        pl.when(is_ipv4).then(hi).otherwise(hi // (1 << 24) * (1 << 24)).alias("hi"),
        pl.when(is_ipv4).then(lo // 256 * 256).otherwise(pl.lit(0, pl.UInt64)).alias("lo"),
        pl.lit(minute, pl.Int64).alias("minute"),
        "octets_up",
        "octets_down",
    )
    return blocks.group_by("minute", "hi", "lo", "is_ipv4").sum()


def _unattributed_rows(nobodys: list[pl.DataFrame]) -> list[UnattributedMinute]:
    if not nobodys:
        return []
    key = ("minute", "hi", "lo", "is_ipv4")
    sums = pl.concat(nobodys).group_by(key).sum().sort("minute", "hi", "lo")
    rows = []
    for minute, hi, lo, is_ipv4, up, down in sums.iter_rows():
        if up or down:
            length = _IPV4_BLOCK_LENGTH if is_ipv4 else _IPV6_BLOCK_LENGTH
            detail = format_prefix((hi << 64 | lo).to_bytes(16, "big"), length)
            rows.append(UnattributedMinute(SOURCE, detail, minute, up, down))
    return rows
