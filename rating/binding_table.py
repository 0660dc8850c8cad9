"""Every session binding that can still matter, in a few Arrow tables.

Attribution asks for all addresses of a minute at once, so bindings are kept in columns and not one
by one: SHARDS tables, of which a step rewrites those that its bindings fall into.
"""

from __future__ import annotations

import dataclasses
import weakref
import zlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rating.attribution import BINDING_SCHEMA, bindings_of
from rating.binding_index import BindingIndex
from rating.page_bodies import decode_page, encode_page
from rating.ports import Put, StateView

SHARDS = 32
"""Bindings lie in the table of CRC-32 of their binding_id; fixed, since it is state."""
COLLECTIONS: dict[str, object] = {"bindings": bytes}
"""bindings: shard -> Arrow frame (BINDING_SCHEMA)."""
_SCHEMA = pl.Schema({**BINDING_SCHEMA, "shard": pl.Int32(), "place": pl.Int64()})
_FOREVER_AT = 1 << 62


_NEW_ROWS_MIN = 4_096
_NEW_SHARE = 8
"""Rows beyond so many, and beyond an eighth of all, that are not in an index: it is made anew."""
_NOT_INDEXED = -1

_Bodies = dict[str, bytes]


@dataclasses.dataclass(slots=True)
class Indexed:
    """A table of bindings (BINDING_SCHEMA, shard, place) with an index, once somebody asks.

    place is the row's number in the table that `great` was made from; gone are those that left.
    """

    table: pl.DataFrame
    great: BindingIndex | None = None
    gone: tuple[NDArray[np.int64], ...] = ()
    index: BindingIndex | None = None

    def asked(self) -> BindingIndex:
        """Return the index of the table."""
        if self.index is None:
            new = self.table.filter(pl.col("place") == _NOT_INDEXED)
            if self.great is None or new.height > max(
                _NEW_ROWS_MIN, self.table.height // _NEW_SHARE
            ):
                place = pl.Series("place", np.arange(self.table.height))
                self.table = self.table.with_columns(place)
                self.great, self.gone = BindingIndex(self.table), ()
                self.index = self.great
            else:
                gone = np.concatenate([np.zeros(0, np.int64), *self.gone])
                self.index, self.gone = self.great.changed(gone, new), (gone,)
        return self.index

    def without(self, left: pl.DataFrame, others: pl.DataFrame, added: pl.DataFrame) -> Indexed:
        """Return what remains when rows left the table and others were added."""
        places = left["place"].to_numpy()
        gone = (*self.gone, places[places != _NOT_INDEXED])
        return Indexed(pl.concat([others, added]), self.great, gone)


_KNOWN: weakref.WeakKeyDictionary[StateView, tuple[_Bodies, Indexed]] = weakref.WeakKeyDictionary()
"""View -> committed tables in octets, and what was made of exactly those. Where a step was not
committed, or another process was at work, the octets differ and everything is read again."""


def _read(found: _Bodies) -> Indexed:
    tables = [
        decode_page(body, BINDING_SCHEMA).with_columns(
            shard=pl.lit(int(key), pl.Int32), place=pl.lit(_NOT_INDEXED, pl.Int64)
        )
        for key, body in sorted(found.items())
    ]
    return Indexed(pl.concat([pl.DataFrame(schema=_SCHEMA), *tables], rechunk=True))


def _shard(binding_id: str) -> int:
    return zlib.crc32(binding_id.encode()) % SHARDS


class BindingTable:
    """The standing revision of each binding: committed state plus what the step adds."""

    def __init__(self, view: StateView) -> None:
        """Read the tables of `view`, or take what is known of them."""
        self._view = view
        self._bodies: _Bodies = view.get_many("bindings", [f"{n:02d}" for n in range(SHARDS)])
        bodies, known = _KNOWN.get(view, ({}, None))
        if known is None or bodies != self._bodies:
            known = _read(self._bodies)
            _KNOWN[view] = self._bodies, known
        self._indexed = known
        self._touched: set[int] = set()

    @property
    def table(self) -> pl.DataFrame:
        """All bindings (BINDING_SCHEMA)."""
        return self._indexed.table.select(BINDING_SCHEMA.names())

    @property
    def index(self) -> BindingIndex:
        """Who holds an address, by the bindings as they are now."""
        return self._indexed.asked()

    def now(self) -> Indexed:
        """Return the bindings as they are now; what is taken later does not change them."""
        return self._indexed

    def take(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Take rows with the columns of SessionBinding; return what they changed.

        Of one binding_id the greatest revision stands. The answer has per changed binding two rows
        at most, as it was and as it is, with the columns of BINDING_SCHEMA and the span in which
        owners may differ, `touched_from_at` to `touched_until_at` (ms); received_at is the cause's.
        """
        table = self._indexed.table
        newest = bindings_of(rows).sort("revision").unique("binding_id", keep="last")
        former = table.join(newest.select("binding_id"), on="binding_id", how="semi")
        known = former.select("binding_id", known=pl.col("revision"))
        fresh = newest.join(known, on="binding_id", how="left")
        fresh = fresh.filter(pl.col("known").is_null() | (pl.col("revision") > pl.col("known")))
        fresh = fresh.drop("known").select(BINDING_SCHEMA.names())
        if fresh.height == 0:
            return _with_spans(fresh, fresh)
        former = former.join(fresh.select("binding_id"), on="binding_id", how="semi")
        shards = [_shard(binding_id) for binding_id in fresh["binding_id"]]
        self._touched.update(shards)
        added = fresh.with_columns(
            pl.Series("shard", shards, dtype=pl.Int32), place=pl.lit(_NOT_INDEXED, pl.Int64)
        )
        others = table
        if former.height:
            others = table.join(former.select("binding_id"), on="binding_id", how="anti")
        self._indexed = self._indexed.without(former, others, added)
        return _with_spans(former.select(BINDING_SCHEMA.names()), fresh)

    def changes(self, forget_before_at: int) -> list[Put]:
        """Return the tables to commit, without bindings that ended before an instant (ms)."""
        if not self._touched:
            return []
        touched = pl.col("shard").is_in(sorted(self._touched))
        ended = touched & (pl.col("valid_until_at") < forget_before_at).fill_null(False)
        table = self._indexed.table
        left = table.filter(ended)
        if left.height:
            self._indexed = self._indexed.without(left, table.filter(~ended), left.clear())
        parts = self._indexed.table.filter(touched).partition_by(
            "shard", as_dict=True, maintain_order=True
        )
        puts = []
        for shard in sorted(self._touched):
            part = parts.get((shard,), left.clear()).select(BINDING_SCHEMA.names())
            puts.append(Put("bindings", f"{shard:02d}", encode_page(part)))
        _KNOWN[self._view] = self._bodies | {put.key: put.value for put in puts}, self._indexed
        return puts


def _with_spans(former: pl.DataFrame, fresh: pl.DataFrame) -> pl.DataFrame:
    """Return both states of changed bindings with the span in which they may differ.

    Where only the end moved, that is between the two ends; else all of both.
    """
    same = ("hi", "lo", "prefix_length", "port_block", "subscriber_id", "session_id")
    pairs = fresh.join(former, on="binding_id", how="left", suffix="_old")
    since, since_old = pl.col("valid_from_at"), pl.col("valid_from_at_old")
    until = pl.col("valid_until_at").fill_null(_FOREVER_AT)
    is_new = pl.col("revision_old").is_null()
    until_old = (
        pl.when(is_new).then(until).otherwise(pl.col("valid_until_at_old").fill_null(_FOREVER_AT))
    )
    moved_end = pl.all_horizontal(
        since == since_old, *(pl.col(c) == pl.col(f"{c}_old") for c in same)
    )
    moved_end = moved_end.fill_null(False)
    begins = (
        pl.when(moved_end)
        .then(pl.min_horizontal(until, until_old))
        .otherwise(pl.min_horizontal(since, since_old))
    )
    spans = pairs.select(
        "binding_id",
        "received_at",
        begins.alias("touched_from_at"),
        pl.max_horizontal(until, until_old).alias("touched_until_at"),
    ).filter(pl.col("touched_from_at") < pl.col("touched_until_at"))
    both = pl.concat([former, fresh]).drop("received_at")
    return both.join(spans, on="binding_id", how="inner")
