"""Whose an address was in a minute by session bindings, for many addresses at once.

A part is a hash table in columns: rows lie in buckets of their masked prefix, so that a look costs
a few reads however many bindings there are. The great part is made once and shared by all that
follows; what changed since lies in a small one, and what is gone from the great one never holds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rating.key_sums import mixed
from rating.knots import MINUTE_MS

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]

_HALF = (1 << 64) - 1
_FOREVER_AT = 1 << 62
_NEVER_AT = -(1 << 62)


def halves_of_mask(length: int) -> tuple[np.uint64, np.uint64]:
    """Return the two halves of the mask of a prefix length, most significant first."""
    whole = (1 << 128) - (1 << (128 - length))
    return np.uint64(whole >> 64), np.uint64(whole & _HALF)


class _Part:
    """Bindings in buckets; columns are in the order of the buckets."""

    def __init__(self, table: pl.DataFrame) -> None:
        """Lay out a table (BINDING_SCHEMA); row numbers are those of the table."""
        length = table["prefix_length"].to_numpy().astype(np.int64)
        port = table["port_block"].to_numpy().astype(np.int64).view(np.uint64)
        kind = length * 2 + (port != 0)
        hi, lo = table["hi"].to_numpy(), table["lo"].to_numpy()
        key = mixed(hi, lo, port, kind.view(np.uint64))
        bits = max(4, int(table.height).bit_length())
        self.shift = np.uint64(64 - bits)
        bucket = (key >> self.shift).astype(np.int64)
        self.begin = np.zeros((1 << bits) + 1, np.int32)
        np.cumsum(np.bincount(bucket, minlength=1 << bits), out=self.begin[1:])
        self.row = np.argsort(bucket, kind="stable").astype(np.int32)
        self.key, self.hi, self.lo = key[self.row], hi[self.row], lo[self.row]
        self.port, self.kind = port[self.row], kind[self.row].astype(np.int16)
        self.since = table["valid_from_at"].to_numpy()[self.row]
        until = table["valid_until_at"].fill_null(_FOREVER_AT).to_numpy()
        # What ends where it begins never holds, nor what was taken back.
        self.until = np.where(until > table["valid_from_at"].to_numpy(), until, _NEVER_AT)[self.row]
        self.binding_id = table["binding_id"]
        # No prefix of IPv6 is near an address of IPv4: the ends tell that it need not be asked.
        self.kinds = [
            (*divmod(int(one), 2), hi[kind == one].min(), hi[kind == one].max())
            for one in np.unique(kind)
        ]

    def find(
        self, hi: UInt64s, lo: UInt64s, port: UInt64s, until: Int64s, minute: int
    ) -> Iterator[tuple[Int64s, Int64s, int]]:
        """Yield (address numbers, places, length) of bindings that cover and overlap a minute.

        until is the instant per place before which it holds.
        """
        start, end = minute * MINUTE_MS, (minute + 1) * MINUTE_MS
        for length, in_block, least, greatest in self.kinds:
            mask_hi, mask_lo = halves_of_mask(length)
            high = hi & mask_hi
            asked = np.flatnonzero((high >= least) & (high <= greatest))
            high, low = high[asked], lo[asked] & mask_lo
            block = port[asked] if in_block else np.zeros(len(asked), np.uint64)
            key = mixed(high, low, block, np.full(len(asked), length * 2 + in_block, np.uint64))
            bucket = (key >> self.shift).astype(np.int64)
            place, last = self.begin[bucket], self.begin[bucket + 1]
            row = np.flatnonzero(place < last)
            place, last = place[row], last[row]
            while row.size:
                hit = np.flatnonzero(self.key[place] == key[row])
                at, who = place[hit], row[hit]
                # Different prefixes may have one key: what decides are the prefixes themselves.
                holds = (self.hi[at] == high[who]) & (self.lo[at] == low[who])
                holds &= (self.port[at] == block[who]) & (self.kind[at] == length * 2 + in_block)
                holds &= (self.since[at] < end) & (until[at] > start)
                yield asked[who[holds]], at[holds], length
                place = place + 1
                goes_on = place < last
                row, place, last = row[goes_on], place[goes_on], last[goes_on]


class BindingIndex:
    """Bindings as a step asks for them; what changes them makes another index.

    names are the categories of the owners: equal subscribers, or sessions, are equal numbers in
    every index that has them, and in no other.
    """

    def __init__(self, table: pl.DataFrame) -> None:
        """Index a table (BINDING_SCHEMA, one row per binding_id)."""
        self.names = pl.Categorical(pl.Categories.random("holders", pl.UInt32))
        self._great = _Part(table)
        self._until = self._great.until
        self._great_who = self._owners_of(self._great, table)
        self._set_small(table.clear())

    def changed(self, gone: Int64s, new: pl.DataFrame) -> BindingIndex:
        """Return the index without rows of the first table, and with all that is in none of it.

        gone are row numbers of that table, new has the columns of BINDING_SCHEMA.
        """
        other = object.__new__(BindingIndex)
        other.names, other._great, other._great_who = self.names, self._great, self._great_who
        other._until = self._until
        if len(gone):
            is_gone = np.zeros(len(self._until), np.bool_)
            is_gone[gone] = True
            other._until = np.where(is_gone[self._great.row], _NEVER_AT, self._until)
        other._set_small(new)
        return other

    def _set_small(self, table: pl.DataFrame) -> None:
        self._small = _Part(table)
        # The categories live as long as columns of them do.
        self._who = pl.concat([self._great_who, self._owners_of(self._small, table)], rechunk=True)
        self._since = np.concatenate([self._great.since, self._small.since])

    def _owners_of(self, part: _Part, table: pl.DataFrame) -> pl.DataFrame:
        named = table.select(pl.col("subscriber_id", "session_id").cast(self.names))
        return named[part.row]

    def owners(
        self, hi: UInt64s, lo: UInt64s, port_block: Int64s, minute: int
    ) -> tuple[Int64s, pl.DataFrame]:
        """Return which addresses a binding covers in a minute, and the best one's owner.

        Of those that overlap the minute the latest begun wins, then the longer prefix, then the
        greater binding_id. The answer's columns subscriber_id and session_id are of `names`.
        """
        best = np.full(len(hi), -1, np.int64)
        best_length = np.zeros(len(hi), np.int16)
        port, former = port_block.view(np.uint64), len(self._until)
        for part, until, offset in ((self._great, self._until, 0), (self._small, None, former)):
            holds_until = part.until if until is None else until
            for asked, place, length in part.find(hi, lo, port, holds_until, minute):
                found, known = place + offset, best[asked]
                since, since_known = self._since[found], self._since[known]
                better = (known < 0) | (since > since_known)
                same = ~better & (since == since_known)
                if same.any():
                    longer = length > best_length[asked]
                    same &= length == best_length[asked]
                    better |= (since == since_known) & longer
                    better[same] = self._ids(found[same]) > self._ids(known[same])
                best[asked[better]] = found[better]
                best_length[asked[better]] = length
        covered = np.flatnonzero(best >= 0)
        return covered, self._who[best[covered]]

    def _ids(self, found: Int64s) -> NDArray[np.object_]:
        former = len(self._until)
        return np.array(
            [
                self._great.binding_id[int(self._great.row[one])]
                if one < former
                else self._small.binding_id[int(self._small.row[one - former])]
                for one in found
            ],
            dtype=object,
        )
