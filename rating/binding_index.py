"""Whose an address was in a minute by session bindings, for many addresses at once.

A part has a hash table in columns for each length of prefix: rows lie in buckets of their masked
prefix, so that a look costs a few reads however many bindings there are. The great part is made
once and shared by all that follows; what changed since lies in a small one, and what is gone from
the great one never holds.
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
Columns = list[UInt64s]

_HALF = (1 << 64) - 1
_FOREVER_AT = 1 << 62
_NEVER_AT = -(1 << 62)


def halves_of_mask(length: int) -> tuple[np.uint64, np.uint64]:
    """Return the two halves of the mask of a prefix length, most significant first."""
    whole = (1 << 128) - (1 << (128 - length))
    return np.uint64(whole >> 64), np.uint64(whole & _HALF)


class _Table:
    """The bindings of one prefix length, with or without a port block, in buckets.

    Places are row numbers of the columns of its part, from `offset` on.
    """

    def __init__(self, prefix: Columns, length: int, in_block: bool, offset: int) -> None:
        """Lay out masked prefixes (hi, lo, port block); `order` says which is at each place."""
        self.length, self.in_block, self.offset = length, in_block, offset
        self._ends = [(column.min(), column.max()) for column in prefix[:2]]
        # Most often one half tells all, IPv6 by the higher, IPv4 by the lower: then the number that
        # is looked for is the prefix itself.
        varied = [half for half, (least, greatest) in enumerate(self._ends) if least != greatest]
        self._told_by = None if in_block or len(varied) > 1 else (*varied, 0)[0]
        number, mix = self._numbers(prefix)
        bits = max(4, len(number).bit_length() + 1)
        self._shift = np.uint64(64 - bits)
        bucket = (mix >> self._shift).astype(np.int64)
        self._begin = np.zeros((1 << bits) + 1, np.int32)
        np.cumsum(np.bincount(bucket, minlength=1 << bits), out=self._begin[1:])
        self.order = np.argsort(bucket, kind="stable")
        self._number = number[self.order]
        self._prefix = [c[self.order] for c in prefix] if self._told_by is None else []

    def _numbers(self, prefix: Columns) -> tuple[UInt64s, UInt64s]:
        """Return what is compared, and what chooses the bucket."""
        if self._told_by is not None:
            number = prefix[self._told_by]
            return number, mixed(number)
        number = mixed(*prefix)
        return number, number

    def find(self, cells: Columns) -> Iterator[tuple[Int64s, Int64s]]:
        """Yield (address numbers, places) of bindings that cover addresses, each address once."""
        # No prefix of IPv6 is near an address of IPv4: it need not be looked for.
        masks = halves_of_mask(self.length)
        high = cells[0] & masks[0]
        asked = _within(high, self._ends[0])
        low = cells[1][asked] & masks[1]
        near = _within(low, self._ends[1])
        masked, asked = [high[asked[near]], low[near]], asked[near]
        block = cells[2][asked] if self.in_block else np.zeros(len(asked), np.uint64)
        prefix = [*masked, block]
        number, mix = self._numbers(prefix)
        bucket = (mix >> self._shift).astype(np.int64)
        place, last = self._begin[bucket], self._begin[bucket + 1]
        row = np.flatnonzero(place < last)
        while row.size:
            place, last, number, asked = place[row], last[row], number[row], asked[row]
            hit = self._number[place] == number
            if self._prefix:
                # Different prefixes may have one number: what decides are the prefixes themselves.
                prefix = [column[row] for column in prefix]
                for held, sought in zip(self._prefix, prefix, strict=True):
                    hit &= held[place] == sought
            at = np.flatnonzero(hit)
            yield asked[at], place[at].astype(np.int64) + self.offset
            place += 1
            row = np.flatnonzero(place < last)


def _within(column: UInt64s, ends: tuple[np.uint64, np.uint64]) -> Int64s:
    return np.flatnonzero((column >= ends[0]) & (column <= ends[1]))


class _Part:
    """Bindings in tables; columns are in the order of their places."""

    def __init__(self, table: pl.DataFrame) -> None:
        """Lay out a table (BINDING_SCHEMA); row numbers are those of the table."""
        length = table["prefix_length"].to_numpy()
        port = table["port_block"].to_numpy().astype(np.int64).view(np.uint64)
        hi, lo = table["hi"].to_numpy(), table["lo"].to_numpy()
        # Addresses of IPv4 apart from those of IPv6: each is then told by one of its halves.
        kind = (length * 2 + (port != 0)) * 2 + (hi == 0)
        self.tables: list[_Table] = []
        rows: list[Int64s] = [np.zeros(0, np.int64)]
        offset = 0
        for one in np.flatnonzero(np.bincount(kind)).tolist():
            mine = np.flatnonzero(kind == one)
            prefix = [column[mine] for column in (hi, lo, port)]
            made = _Table(prefix, one // 4, one // 2 % 2 == 1, offset)
            self.tables.append(made)
            rows.append(mine[made.order])
            offset += len(mine)
            del made.order
        self.row = np.concatenate(rows)
        since = table["valid_from_at"].to_numpy()
        until = table["valid_until_at"].fill_null(_FOREVER_AT).to_numpy()
        self.since = since[self.row]
        # What ends where it begins never holds, nor what was taken back.
        self.until = np.where(until > since, until, _NEVER_AT)[self.row]
        self.last_since = int(since.max(initial=_NEVER_AT))
        self.binding_id = table["binding_id"]

    def find(
        self, hi: UInt64s, lo: UInt64s, port: UInt64s, until: Int64s, minute: int
    ) -> Iterator[tuple[Int64s, Int64s, int]]:
        """Yield (address numbers, places, length) of bindings that cover and overlap a minute.

        until is the instant per place before which it holds.
        """
        start, end = minute * MINUTE_MS, (minute + 1) * MINUTE_MS
        for table in self.tables:
            for asked, place in table.find([hi, lo, port]):
                holds = until[place] > start
                if self.last_since >= end:
                    holds &= self.since[place] < end
                if holds.all():
                    yield asked, place, table.length
                else:
                    yield asked[holds], place[holds], table.length


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
        self._words = self._words_of(self._great_who, self._great, table)
        self._set_small(table.clear())

    def changed(self, gone: Int64s, new: pl.DataFrame) -> BindingIndex:
        """Return the index without rows of the first table, and with all that is in none of it.

        gone are row numbers of that table, new has the columns of BINDING_SCHEMA.
        """
        other = object.__new__(BindingIndex)
        other.names, other._great, other._great_who = self.names, self._great, self._great_who
        other._until, other._words = self._until, self._words
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

    @staticmethod
    def _words_of(who: pl.DataFrame, part: _Part, table: pl.DataFrame) -> pl.Series:
        """Return the name of each number of `names`, null where no row of the table has it."""
        words = pl.concat([table["subscriber_id"], table["session_id"]], rechunk=True)
        number = np.concatenate([column.to_physical().to_numpy() for column in who.iter_columns()])
        some_row = np.full(int(number.max(initial=0)) + 1, -1, np.int64)
        some_row[number] = np.concatenate([part.row, part.row + table.height])
        rows = pl.Series("row", some_row)
        return words.gather(rows.set(rows < 0, None))

    def words(self, owners: pl.Series) -> pl.Series:
        """Return a column of `names` as text: a look per row, where a cast takes twenty times that.

        Names that came after the index was made are cast.
        """
        number = owners.to_physical().to_numpy()
        in_reach = np.minimum(number, max(0, len(self._words) - 1))
        words = self._words.gather(in_reach) if len(self._words) else owners.cast(pl.String)
        if int(number.max(initial=0)) < len(self._words) and not words.null_count():
            return words.alias(owners.name)
        absent = np.flatnonzero((number != in_reach) | words.is_null().to_numpy())
        words = words.scatter(absent, owners.gather(absent).cast(pl.String))
        return words.alias(owners.name)

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
                if (known < 0).all():
                    best[asked], best_length[asked] = found, length
                    continue
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
        return covered, self._who[best if len(covered) == len(best) else best[covered]]

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
