"""Where each piece of a stage's state goes when its partitions become more: pure.

State must lie where its messages will come. So every rule here has the routing of a topic as its
model: decode follows the exporter (`collectors.partitioning`), sessions NAS and Acct-Session-Id,
attribute the routing block, rate the rating key. What no key tells, every partition gets that may
take over from the old one.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import polars as pl

from collectors.netflow import state as flow_state
from rating.attribution import ATTRIBUTED, BINDING_SCHEMA, PageKind, add_up
from rating.endings import Marker
from rating.flow_hours import FLOW_HOURS, SCHEMA, summed
from rating.page_bodies import decode_page, encode_page
from rating.pages import Chunk, Page
from rating.rate_state import WaitingCell
from rating.translate_step import TRANSLATED
from streams.codec import decode_value, encode_value
from streams.decode import RULES
from streams.topics import block_partition, is_wider_than_block, key_partition

Row = tuple[int, str, bytes]
"""Old partition, key, encoded value."""
Read = Callable[[str], Iterable[Row]]
"""Gives a collection's rows of all old tasks: those of one key, or minute, behind one another."""
Placed = tuple[int, str, str, bytes]
"""New partition, collection, key, encoded value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Growth:
    """From how many partitions to how many; informed is the old one that knows the directory best.

    The tasks of a stage read the directory one after another: who read it furthest has all that
    the others have, so its copy is everybody's.
    """

    before: int
    after: int
    informed: int = 0

    def heirs(self, old: int) -> Iterator[int]:
        """Yield the new partitions that may have a key of an old one.

        A hash that is `old` modulo `before` leaves the same remainder by their common divisor: an
        old partition has one heir in each new partition of that remainder and in no other.
        """
        step = math.gcd(self.before, self.after)
        yield from range(old % step, self.after, step)


Places = Callable[[Growth, Row], Iterable[int]]
Moves = Callable[[Growth, str, Read], Iterator[Placed]]


def rekeyed(stage: str, growth: Growth, read: Read) -> Iterator[Placed]:
    """Yield the whole state of a stage's new tasks; KeyError for a stage without rules."""
    for collection, moves in RULES_OF[stage].items():
        yield from moves(growth, collection, read)


def collections_of(stage: str) -> frozenset[str]:
    """Return the collections of a stage that have a rule."""
    return frozenset(RULES_OF[stage]) | ({"pages"} if "minutes" in RULES_OF[stage] else set())


# -- single values ---------------------------------------------------------------------------------


def _moved(places: Places) -> Moves:
    """Each value goes as it is to one or several partitions; two of one key must be equal."""

    def moves(growth: Growth, collection: str, read: Read) -> Iterator[Placed]:
        for key, same in itertools.groupby(read(collection), key=lambda row: row[1]):
            placed: dict[int, bytes] = {}
            for row in same:
                for partition in places(growth, row):
                    if placed.setdefault(partition, row[2]) != row[2]:
                        raise ValueError(f"{collection}: tasks have different values of {key!r}")
            for partition, value in placed.items():
                yield partition, collection, key, value

    return moves


def _by_key(part: Callable[[Row], str]) -> Places:
    return lambda growth, row: (key_partition(part(row), growth.after),)


def _heirs(growth: Growth, row: Row) -> Iterable[int]:
    return growth.heirs(row[0])


def _everyone(growth: Growth, row: Row) -> Iterable[int]:
    return range(growth.after) if row[0] == growth.informed else ()


def _by_outside_address(growth: Growth, row: Row) -> Iterable[int]:
    return (block_partition(bytes.fromhex(row[1][:32]), growth.after),)


def _text(row: Row) -> str:
    return str(decode_value(row[2], str))


def _at_exporter(session_key: str, growth: Growth) -> int:
    address, _, _ = flow_state.split_session_key(session_key)
    return zlib.crc32(address) % growth.after


def _by_exporter(growth: Growth, row: Row) -> Iterable[int]:
    return (_at_exporter(row[1], growth),)


def _by_held_session(growth: Growth, row: Row) -> Iterable[int]:
    return (_at_exporter(decode_value(row[2], flow_state.HeldSet).session, growth),)


def _rating_key_of(pattern: str) -> Callable[[Row], str]:
    """Return how a rating key is read off the key of a counter or cell (`rate_state`)."""
    compiled = re.compile(pattern, re.DOTALL)

    def part(row: Row) -> str:
        found = compiled.fullmatch(row[1])
        if found is None:
            raise ValueError(f"{row[1]!r} begins with no rating key")
        return found.group(1)

    return part


_METER = _rating_key_of(r"(.*?)\|\d{15}\|\d{5,}\|.*")
_CELL = _rating_key_of(r"(.*?)\|\d{9}\|\d{5,}\|.*")


def _waiting(row: Row) -> str:
    return str(decode_value(row[2], WaitingCell).rating_key)


# -- values that are made anew ---------------------------------------------------------------------


def _totals(growth: Growth, collection: str, read: Read) -> Iterator[Placed]:
    """Sizes over all sessions are counted again from what is there."""
    sums: dict[int, flow_state.Totals] = {}
    for _, key, value in read(flow_state.PROGRESS):
        progress = decode_value(value, flow_state.Progress)
        partition = _at_exporter(key, growth)
        before = sums.get(partition, flow_state.Totals())
        sums[partition] = flow_state.Totals(
            before.sessions + 1,
            before.held_octets + progress.held_octets,
            before.template_octets + progress.template_octets,
        )
    for partition, totals in sums.items():
        yield partition, collection, "", encode_value(totals)


def _runs(growth: Growth, collection: str, read: Read) -> Iterator[Placed]:
    """Flows whose counters go on do not tell their exporter: every heir gets all of them.

    Each old task numbered its runs from 1; here those of several differ, in their order.
    """
    for old, key, value in read(collection):
        number = int(key[:12]) * growth.before + old
        for partition in growth.heirs(old):
            yield partition, collection, f"{number:012d}{key[12:]}", value


def _markers(growth: Growth, collection: str, read: Read) -> Iterator[Placed]:
    """Every partition got every marker: all get what any has, so that nothing depends on one."""
    for nas_id, same in itertools.groupby(read(collection), key=lambda row: row[1]):
        known: set[Marker] = set()
        for _, _, value in same:
            known.update(decode_value(value, tuple[Marker, ...]))
        merged = encode_value(tuple(sorted(known)))
        for partition in range(growth.after):
            yield partition, collection, nas_id, merged


def _pages(kind: PageKind) -> Moves:
    """The rows of each minute are split by routing block; a chunk of each sort per partition."""

    def moves(growth: Growth, collection: str, read: Read) -> Iterator[Placed]:
        minutes = {
            (partition, key): decode_value(value, Page)
            for partition, key, value in read(collection)
        }
        chunks = itertools.groupby(read("pages"), key=lambda row: row[1].partition("/")[0])
        for minute, rows in chunks:
            frames_of: dict[str, list[pl.DataFrame]] = {}
            for partition, key, value in rows:
                sort = _sort(minutes[partition, minute], int(key.partition("/")[2]))
                frames_of.setdefault(sort, []).append(
                    decode_page(decode_value(value, bytes), kind.schema)
                )
            made: dict[int, Page] = {}
            for sort, frames in frames_of.items():
                for partition, part in _by_block(pl.concat(frames), growth):
                    page = made.get(partition, Page())
                    chunk = add_up(part.select(kind.schema.names()), kind)
                    number = page.next_number
                    made[partition] = page._replace(
                        **{sort: (Chunk(number, chunk.height),)}, next_number=number + 1
                    )
                    body = encode_value(encode_page(chunk))
                    yield partition, "pages", f"{minute}/{number:06d}", body
            for partition, page in made.items():
                yield partition, collection, minute, encode_value(page)

    return moves


def _flow_hours(growth: Growth, collection: str, read: Read) -> Iterator[Placed]:
    """A minute's sums of all old partitions are one: any partition may tell them."""
    for key, same in itertools.groupby(read(collection), key=lambda row: row[1]):
        frames = [decode_page(decode_value(value, bytes), SCHEMA) for _, _, value in same]
        body = encode_value(encode_page(summed(frames)))
        yield key_partition(key, growth.after), collection, key, body


def _sort(page: Page, number: int) -> str:
    """Return the field of a page that names a chunk; StopIteration where none does is a bug."""
    return next(
        sort
        for sort in ("joined", "waiting")
        if any(chunk.number == number for chunk in getattr(page, sort))
    )


def _bindings(growth: Growth, collection: str, read: Read) -> Iterator[Placed]:
    """A binding goes to its routing block, a wider one to all; the newest revision stands."""
    for shard, same in itertools.groupby(read(collection), key=lambda row: row[1]):
        table = pl.concat(
            [decode_page(decode_value(value, bytes), BINDING_SCHEMA) for _, _, value in same]
        )
        is_wide = pl.Series(
            [_is_wide(*row) for row in table.select("hi", "lo", "prefix_length").iter_rows()],
            dtype=pl.Boolean,
        )
        wide = table.filter(is_wide)
        narrow = dict(_by_block(table.filter(~is_wide), growth))
        for partition in range(growth.after):
            parts = [wide, *([narrow[partition]] if partition in narrow else [])]
            part = pl.concat(parts).sort("binding_id", "revision")
            part = part.unique("binding_id", keep="last", maintain_order=True)
            if part.height:
                body = encode_page(part.select(BINDING_SCHEMA.names()))
                yield partition, collection, shard, encode_value(body)


def _is_wide(hi: int, lo: int, prefix_length: int) -> bool:
    # The host's bits are gone here. What is shorter than ::ffff:0:0/96 may have been IPv4-mapped
    # when it was routed: it counts as wide, and a copy too many asks nothing.
    return is_wider_than_block(_address(hi, lo), prefix_length) or (hi == 0 and prefix_length < 96)


def _address(hi: int, lo: int) -> bytes:
    return (hi << 64 | lo).to_bytes(16, "big")


def _by_block(frame: pl.DataFrame, growth: Growth) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield (new partition, rows) by the routing block of the address in hi and lo."""
    if not frame.height:
        return
    pairs = frame.select("hi", "lo").unique()
    chosen = [block_partition(_address(*pair), growth.after) for pair in pairs.iter_rows()]
    placed = pairs.with_columns(pl.Series("partition", chosen, dtype=pl.Int64))
    split = frame.join(placed, on=["hi", "lo"], how="left", maintain_order="left")
    for (partition,), part in split.partition_by("partition", as_dict=True).items():
        yield int(partition), part.drop("partition")


_DIRECTORY: Mapping[str, Moves] = {
    "directory": _moved(_everyone),
    "directory_entries": _moved(_everyone),
    "directory_marks": _moved(_everyone),
}
RULES_OF: Mapping[str, Mapping[str, Moves]] = {
    "decode": {
        flow_state.SESSION: _moved(_by_exporter),
        flow_state.PROGRESS: _moved(_by_exporter),
        flow_state.SPLIT: _moved(_by_exporter),
        flow_state.HELD: _moved(_by_held_session),
        # A digest does not tell its exporter. Where the new number is a multiple of the old one,
        # this is the digests of one old partition, none of them twice.
        flow_state.SEEN: _moved(_heirs),
        flow_state.RUNNING: _runs,
        flow_state.TOTALS: _totals,
        RULES: _moved(_everyone),
    },
    "sessions": {
        "sessions": _moved(_by_key(lambda row: row[1])),
        "session_timers": _moved(_by_key(_text)),
        "markers": _markers,
        **_DIRECTORY,
    },
    "translate": {
        "minutes": _pages(TRANSLATED),
        "translations": _moved(_by_outside_address),
        "translations_past": _moved(_by_outside_address),
    },
    "attribute": {
        "minutes": _pages(ATTRIBUTED),
        "bindings": _bindings,
        FLOW_HOURS: _flow_hours,
        **_DIRECTORY,
    },
    "rate": {
        "keys": _moved(_by_key(lambda row: row[1])),
        "balances": _moved(_by_key(lambda row: row[1])),
        "wallets": _moved(_by_key(lambda row: row[1])),
        "meters": _moved(_by_key(_METER)),
        "cells": _moved(_by_key(_CELL)),
        "timers": _moved(_by_key(_text)),
        "waiting": _moved(_by_key(_waiting)),
        # Neither names a rating key, and both are only looked up: copies ask nothing.
        "plans": _moved(_heirs),
        "events": _moved(_heirs),
    },
}
"""Stage -> collection -> how it moves; `pages` move with `minutes`, which say what they are."""
