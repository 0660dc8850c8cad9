"""Every session binding that can still matter, in a few Arrow tables.

Attribution asks for all addresses of a minute at once, so bindings are kept in columns and not one
by one: SHARDS tables, of which a step rewrites those that its bindings fall into.
"""

from __future__ import annotations

import functools
import zlib

import polars as pl

from rating.attribution import BINDING_SCHEMA, bindings_of, decode_page, encode_page
from rating.ports import Put, StateView

SHARDS = 32
"""Bindings lie in the table of CRC-32 of their binding_id; fixed, since it is state."""
COLLECTIONS: dict[str, object] = {"bindings": bytes}
"""bindings: shard -> Arrow frame (BINDING_SCHEMA)."""
_FOREVER_AT = 1 << 62


@functools.lru_cache(maxsize=1024)
def _decode(body: bytes) -> pl.DataFrame:
    return decode_page(body, BINDING_SCHEMA)


def _shard(binding_id: str) -> int:
    return zlib.crc32(binding_id.encode()) % SHARDS


class BindingTable:
    """The standing revision of each binding: committed state plus what the step adds."""

    def __init__(self, view: StateView) -> None:
        """Read the tables of `view`."""
        keys = [f"{shard:02d}" for shard in range(SHARDS)]
        found = view.get_many("bindings", keys)
        tables = [
            _decode(found[key]).with_columns(shard=pl.lit(int(key), pl.Int32))
            for key in keys
            if key in found
        ]
        schema = {**BINDING_SCHEMA, "shard": pl.Int32()}
        self._touched: set[int] = set()
        self.table = pl.concat([pl.DataFrame(schema=schema), *tables])

    def take(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Take rows with the columns of SessionBinding; return what they changed.

        Of one binding_id the greatest revision stands. The answer has per changed binding two rows
        at most, as it was and as it is, with the columns of BINDING_SCHEMA and the span in which
        owners may differ, `touched_from_at` to `touched_until_at` (ms); received_at is the cause's.
        """
        newest = bindings_of(rows).sort("revision").unique("binding_id", keep="last")
        former = self.table.join(newest.select("binding_id"), on="binding_id", how="semi")
        known = former.select("binding_id", known=pl.col("revision"))
        fresh = newest.join(known, on="binding_id", how="left")
        fresh = fresh.filter(pl.col("known").is_null() | (pl.col("revision") > pl.col("known")))
        fresh = fresh.drop("known").select(BINDING_SCHEMA.names())
        if fresh.height == 0:
            return _with_spans(fresh, fresh)
        former = former.join(fresh.select("binding_id"), on="binding_id", how="semi")
        shards = [_shard(binding_id) for binding_id in fresh["binding_id"]]
        self._touched.update(shards)
        added = fresh.with_columns(pl.Series("shard", shards, dtype=pl.Int32))
        others = self.table.join(fresh.select("binding_id"), on="binding_id", how="anti")
        self.table = pl.concat([others, added])
        return _with_spans(former.drop("shard"), fresh)

    def changes(self, forget_before_at: int) -> list[Put]:
        """Return the tables to commit, without bindings that ended before an instant (ms)."""
        lives = pl.col("valid_until_at").is_null() | (pl.col("valid_until_at") >= forget_before_at)
        return [
            Put(
                "bindings",
                f"{shard:02d}",
                encode_page(self.table.filter((pl.col("shard") == shard) & lives).drop("shard")),
            )
            for shard in sorted(self._touched)
        ]


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
