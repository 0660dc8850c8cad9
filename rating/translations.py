"""Who held which ports of an outside address, and when: the events of NATs, as columns.

The state of an outside address is the *set* of what was told of it, so order and repetition do not
matter. An allocation ends with the first of these (RFC 8158 tells the events, not what ends one):

* a release by the same inside address that covers all its ports;
* an allocation of any of its ports to another inside address: a NAT lends nothing twice;
* `retention_ms` after it was last told, since a release by UDP may be lost.

Of the allocations that hold at any instant of a minute, the one that began last has the whole
minute, as of session bindings (`rating.attribution`). A *cell* of ports is somebody's only where
one allocation covers all of it: what lies across two holders is nobody's, never the wrong one's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rating import near_ranges
from rating.address_columns import halves
from rating.knots import MINUTE_MS
from rating.nat_pools import PORTS, cell_parts
from rating.ports import Delete, Put, StateView

ROW = np.dtype(
    [
        ("at", "<i8"),
        ("seen_at", "<i8"),
        ("until_at", "<i8"),
        ("inside_hi", "<u8"),
        ("inside_lo", "<u8"),
        ("first", "<u2"),
        ("last", "<u2"),
        ("step", "<u2"),
        ("protocol", "u1"),
        ("is_release", "u1"),
    ]
)
"""A row of an address: 48 octets. seen_at is when it was last told, until_at when it ended (ms).

step is 1 for contiguous ports (element 363); protocol 0 stands for all; an inside address of zero
is one of a routing instance that holds no subscribers of ours.
"""

COLLECTIONS: dict[str, object] = {"translations": bytes, "translations_past": bytes}
"""translations: outside address (hex) -> ROWs. translations_past: address/hour of their end -> ROWs
that ended behind the lateness bound, for who asks later."""

HOUR_MS = 3_600_000
COMPARED_MAX = 4_194_304
"""Most pairs of a cell and a block that are in memory at once, where blocks overlap."""
_IDENTITY = ("at", "inside_hi", "inside_lo", "first", "last", "step", "protocol", "is_release")
_SAME = _IDENTITY[1:]

Int64s = NDArray[np.int64]
Rows = NDArray[np.void]
_NO_ROWS: Rows = np.zeros(0, ROW)


def address_key(address: bytes) -> str:
    """Return the key of an outside address (16 octets)."""
    return address.hex()


def past_key(address: str, at_ms: int) -> str:
    """Return the key of what ended in the hour of an instant."""
    return f"{address}/{at_ms // HOUR_MS:08d}"


def read_rows(body: bytes) -> Rows:
    """Return the rows of a stored value."""
    return np.frombuffer(body, ROW)


class TranslationTable:
    """What is known of outside addresses: committed state plus what the step adds."""

    def __init__(self, view: StateView, retention_ms: int, overlaps_limit: int) -> None:
        """Read from `view`, address by address, what is asked for.

        overlaps_limit is how many pairs of overlapping rows an address may have; `forgotten` counts
        the rows that it made the table forget.
        """
        self._view = view
        self._retention_ms = retention_ms
        self._overlaps_limit = overlaps_limit
        self.forgotten = 0
        self._held: dict[str, Rows] = {}
        self._touched: set[str] = set()

    def rows_of(self, keys: Iterable[str]) -> dict[str, Rows]:
        """Return the rows of addresses, those without any left out."""
        wanted = set(keys)
        absent = wanted - self._held.keys()
        if absent:
            found = self._view.get_many("translations", absent)
            for key in absent:
                self._held[key] = read_rows(found[key]) if key in found else _NO_ROWS
        return {key: self._held[key] for key in sorted(wanted) if len(self._held[key])}

    def take(self, events: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Rows]]:
        """Take rows with the columns of NatEvent; return what they changed and what was before.

        The first value has per change key, touched_from_at, touched_until_at (ms: the holder may
        differ in between) and received_at, the cause's. The second maps the changed addresses to
        their rows before.
        """
        told = _told(events)
        keys = told["key"].unique().sort().to_list()
        before = self.rows_of(keys)
        old = _frame(before)
        known = pl.concat([old.drop("until_at"), told.select(old.drop("until_at").columns)])
        known = known.group_by("key", *_IDENTITY).agg(pl.col("seen_at").max())
        parts = [with_ends(part, self._retention_ms) for part in self._bounded(known)]
        new = pl.concat([old.clear(), *parts])
        changes = _changes(old, new)
        changed = changes["key"].unique().to_list()
        moved = new.filter(pl.col("key").is_in(changed))
        self._held.update(_rows(moved))
        self._touched.update(changed)
        causes = told.group_by("key").agg(pl.col("received_at").max())
        former = {key: before.get(key, _NO_ROWS) for key in changed}
        return changes.join(causes, on="key"), former

    def _bounded(self, known: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Yield the rows of some addresses at a time, so that what is compared stays bounded.

        Of an address with too much that overlaps, the older half is forgotten until it fits.
        """
        limit = self._overlaps_limit
        numbered = known.with_columns(of=pl.col("key").rank("dense").cast(pl.Int64) - 1)
        while True:
            ranges = (numbered[name].to_numpy() for name in ("of", "first", "last"))
            counted = numbered.with_columns(overlaps=pl.Series(near_ranges.overlaps(*ranges)))
            crowded = pl.col("overlaps").sum().over("of") > limit
            is_old = pl.col("at").rank("ordinal").over("of") <= pl.len().over("of") // 2
            kept = counted.filter(~(crowded & is_old))
            if kept.height == counted.height:
                break
            self.forgotten += counted.height - kept.height
            numbered = kept.drop("overlaps")
        sizes = counted.group_by("of").agg(pl.col("overlaps").sum()).sort("of")
        part = sizes.select("of", part=pl.col("overlaps").cum_sum() // limit)
        parted = counted.join(part, on="of").partition_by("part", include_key=False)
        yield from (rows.drop("of", "overlaps") for rows in parted)

    def changes(self, forget_before_at: int, past_before_at: int) -> list[Put | Delete]:
        """Return what to commit: what ended before an instant (ms) is put with the past.

        What ended before past_before_at is forgotten there.
        """
        out: list[Put | Delete] = []
        for key in sorted(self._touched):
            kept, ended = compact(self._held[key], forget_before_at)
            out.append(Put("translations", key, kept.tobytes()) if len(kept)
                       else Delete("translations", key))  # fmt: skip
            if len(ended):
                out += self._put_past(key, ended, past_before_at)
        return out

    def _put_past(self, key: str, ended: Rows, past_before_at: int) -> list[Put | Delete]:
        """Return how rows that ended join the past of their address, and what there is too old."""
        low, high = past_key(key, 0), past_key(key, max(0, past_before_at))
        old = self._view.scan("translations_past", low, high)
        out: list[Put | Delete] = [Delete("translations_past", place) for place, _ in old]
        hours = ended["until_at"] // HOUR_MS
        for hour in np.unique(hours).tolist():
            place = past_key(key, hour * HOUR_MS)
            if place >= high:
                stored = self._view.get("translations_past", place) or b""
                body = stored + ended[hours == hour].tobytes()
                out.append(Put("translations_past", place, body))
        return out


def _told(events: pl.DataFrame) -> pl.DataFrame:
    """Return events as rows with key, and received_at."""
    inside_hi, inside_lo = halves(events["inside_address"])
    return events.select(
        pl.col("address").bin.encode("hex").alias("key"),
        pl.col("event_at").alias("at"),
        pl.Series("inside_hi", inside_hi),
        pl.Series("inside_lo", inside_lo),
        pl.col("first_port").alias("first"),
        pl.col("last_port").alias("last"),
        pl.col("port_step").alias("step"),
        pl.col("protocol"),
        pl.col("is_release").cast(pl.Int64),
        pl.col("event_at").alias("seen_at"),
        "received_at",
    )


def _frame(rows: Mapping[str, Rows]) -> pl.DataFrame:
    """Return the rows of addresses as a frame with their key; small integers as int64."""
    keys = list(rows)
    joined = np.concatenate([_NO_ROWS, *rows.values()])
    counts = [len(rows[key]) for key in keys]
    of = np.repeat(np.arange(len(keys)), counts)
    columns: dict[str, pl.Series] = {
        "key": pl.Series(keys, dtype=pl.String).gather(pl.Series(of, dtype=pl.UInt32))
    }
    for name in ROW.names or ():
        values = np.ascontiguousarray(joined[name])
        columns[name] = pl.Series(values if values.dtype == np.uint64 else values.astype(np.int64))
    return pl.DataFrame(columns).select("key", *_IDENTITY, "seen_at", "until_at")


def _rows(frame: pl.DataFrame) -> dict[str, Rows]:
    """Return a frame of rows by key, in a stable order."""
    found: dict[str, Rows] = {}
    ordered = frame.sort("key", *_IDENTITY)
    parts = ordered.partition_by("key", as_dict=True, maintain_order=True, include_key=False)
    for (key,), part in parts.items():
        rows = np.zeros(part.height, ROW)
        for name in ROW.names or ():
            rows[name] = part[name].to_numpy()
        found[str(key)] = rows
    return found


def with_ends(known: pl.DataFrame, retention_ms: int) -> pl.DataFrame:
    """Return rows (key, what a ROW has) with until_at of each by the rules of this module."""
    numbered = known.with_row_index("row")
    given = numbered.filter(pl.col("is_release") == 0)
    pairs = near_ranges.pairs(given, numbered, "key")
    left = given.rename({name: f"{name}_a" for name in given.columns})
    both = pairs.join(left, left_on="left", right_on="row_a").join(
        numbered, left_on="right", right_on="row"
    )
    same_inside = (pl.col("inside_hi") == pl.col("inside_hi_a")) & (
        pl.col("inside_lo") == pl.col("inside_lo_a")
    )
    any_protocol = (pl.col("protocol") == 0) | (pl.col("protocol") == pl.col("protocol_a"))
    covers = near_ranges.covers("", "_a") & any_protocol
    releases = (pl.col("is_release") == 1) & same_inside & covers & (pl.col("at") >= pl.col("at_a"))
    later = (pl.col("at") > pl.col("at_a")) | (
        (pl.col("at") == pl.col("at_a"))
        & (
            (pl.col("inside_hi") > pl.col("inside_hi_a"))
            | (
                (pl.col("inside_hi") == pl.col("inside_hi_a"))
                & (pl.col("inside_lo") > pl.col("inside_lo_a"))
            )
        )
    )
    shares_protocol = any_protocol | (pl.col("protocol_a") == 0)
    takes = (
        (pl.col("is_release") == 0)
        & ~same_inside
        & later
        & shares_protocol
        & near_ranges.touches("", "_a")
    )
    ends = both.filter(releases | takes).group_by("left").agg(pl.col("at").min().alias("end"))
    ended = numbered.join(ends, left_on="row", right_on="left", how="left")
    held_until = pl.min_horizontal(pl.col("end"), pl.col("seen_at") + retention_ms)
    until = pl.when(pl.col("is_release") == 1).then(pl.col("at")).otherwise(held_until)
    return ended.select("key", *_IDENTITY, "seen_at", until.alias("until_at"))


def _changes(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Return key and span of every row whose end is new or moved."""
    joined = new.join(
        old.select("key", *_IDENTITY, pl.col("until_at").alias("until_old"),
                   pl.col("seen_at").alias("seen_old")),
        on=["key", *_IDENTITY],
        how="left",
    )  # fmt: skip
    is_new = pl.col("until_old").is_null()
    moved = is_new | (pl.col("until_old") != pl.col("until_at"))
    moved |= pl.col("seen_old") != pl.col("seen_at")
    since = pl.when(is_new).then(pl.col("at")).otherwise(
        pl.min_horizontal("until_at", "until_old")
    )  # fmt: skip
    return joined.filter(moved).select(
        "key",
        since.alias("touched_from_at"),
        pl.max_horizontal("until_at", "until_old").alias("touched_until_at"),
    )


def compact(rows: Rows, forget_before_at: int) -> tuple[Rows, Rows]:
    """Return the rows that can still matter, and the allocations that ended before an instant.

    What is said again of an allocation that still holds becomes one row, once it is that old.
    """
    is_over = rows["until_at"] < forget_before_at
    ended = rows[is_over & (rows["is_release"] == 0)]
    kept = rows[~is_over]
    if not len(kept):
        return kept, ended
    order = np.lexsort(tuple(kept[name] for name in ("at", *_SAME[::-1])))
    kept = kept[order]
    again = (kept["is_release"][1:] == 0) & (kept["at"][1:] < forget_before_at)
    for name in _SAME:
        again &= kept[name][1:] == kept[name][:-1]
    drop = np.zeros(len(kept), np.bool_)
    first = 0
    for this in (np.flatnonzero(again) + 1).tolist():
        if not drop[this - 1]:
            first = this - 1
        if kept["until_at"][first] >= kept["at"][this]:
            for name in ("seen_at", "until_at"):
                kept[name][first] = max(kept[name][first], kept[name][this])
            drop[this] = True
    return kept[~drop], ended


def holders(cells: pl.DataFrame, minute: int, rows: Mapping[str, Rows]) -> pl.DataFrame:
    """Return who held each cell in a minute.

    cells has key and port_block, each row once; the answer adds inside_hi and inside_lo (both 0 for
    nobody) and is_ambiguous (told, but of a part of the cell or of two).
    """
    place = {key: number for number, key in enumerate(rows)}
    known = pl.DataFrame({"key": list(place), "of": list(place.values())},
                         schema={"key": pl.String, "of": pl.Int64})  # fmt: skip
    of = cells.select("key").join(known, on="key", how="left", maintain_order="left")["of"]
    first, last, protocol = cell_parts(cells["port_block"].to_numpy())
    asked = _Asked(of.fill_null(-1).to_numpy(), first, last, protocol)
    given_of, given = _holding(minute, rows)
    inside_hi, inside_lo = np.zeros(len(of), np.uint64), np.zeros(len(of), np.uint64)
    ambiguous = np.zeros(len(of), np.bool_)
    plain_of, plain, is_plain = _plain(given_of, given, len(rows))
    simple = np.flatnonzero((asked.of >= 0) & is_plain[asked.of])
    answers = [(simple, _looked_up(asked.take(simple), plain_of, plain))]
    others = np.flatnonzero((asked.of >= 0) & ~is_plain[asked.of])
    if len(others):
        mixed = ~is_plain[given_of]
        answers.append((others, _compared(asked.take(others), given_of[mixed], given[mixed])))
    for at, answer in answers:
        inside_hi[at], inside_lo[at], ambiguous[at] = answer
    return cells.with_columns(
        inside_hi=pl.Series(inside_hi),
        inside_lo=pl.Series(inside_lo),
        is_ambiguous=pl.Series(ambiguous),
    )


class _Asked(NamedTuple):
    """Cells as columns: the number of their address (-1: nothing told of it), ports, protocol."""

    of: Int64s
    first: Int64s
    last: Int64s
    protocol: Int64s

    def take(self, at: Int64s) -> _Asked:
        """Return some of the cells."""
        return _Asked(*(column[at] for column in self))


_Answer = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]
"""Halves of the inside address (0: nobody), and whether it is ambiguous."""


def _holding(minute: int, rows: Mapping[str, Rows]) -> tuple[Int64s, Rows]:
    """Return the allocations that hold at any instant of a minute, and their address's number."""
    start_at, end_at = minute * MINUTE_MS, (minute + 1) * MINUTE_MS
    joined = np.concatenate([_NO_ROWS, *rows.values()])
    of = np.repeat(np.arange(len(rows)), [len(held) for held in rows.values()])
    at, until_at = joined["at"], joined["until_at"]
    holds = (joined["is_release"] == 0) & (at < end_at) & (until_at > start_at) & (until_at > at)
    return of[holds], joined[holds]


def _plain(of: Int64s, given: Rows, addresses: int) -> tuple[Int64s, Rows, NDArray[np.bool_]]:
    """Return the allocations of plain addresses in order of their ports, and which are plain.

    Plain is an address none of whose blocks overlap, but for those of exactly the same ports, of
    which the latest is kept: there every cell lies in one block, or in none.
    """
    keys = ("inside_lo", "inside_hi", "at", "last", "first")
    order = np.lexsort((*(given[name] for name in keys), of))
    of, given = of[order], given[order]
    first, last = given["first"].astype(np.int64), given["last"].astype(np.int64)
    here = of[1:] == of[:-1]
    same = here & (first[1:] == first[:-1]) & (last[1:] == last[:-1])
    is_plain = np.ones(addresses + 1, np.bool_)  # one more, for cells of no address
    is_plain[of[(given["step"] != 1) | (given["protocol"] != 0)]] = False
    is_plain[of[1:][here & ~same & (first[1:] <= last[:-1])]] = False
    latest = np.append(~same, True)[: len(of)] & is_plain[of]
    return of[latest], given[latest], is_plain


def _looked_up(asked: _Asked, of: Int64s, given: Rows) -> _Answer:
    """Return the holders of cells among blocks that do not overlap, in order of their ports."""
    if not len(given):
        nobody = np.zeros(len(asked.of), np.uint64)
        return nobody, nobody, np.zeros(len(asked.of), np.bool_)
    first, last = given["first"].astype(np.int64), given["last"].astype(np.int64)
    ends = of * PORTS + last
    # The first block that does not end before the cell begins.
    at = np.searchsorted(ends, asked.of * PORTS + asked.first)
    found = np.minimum(at, len(given) - 1)
    touches = (at < len(given)) & (of[found] == asked.of) & (first[found] <= asked.last)
    whole = touches & (first[found] <= asked.first) & (last[found] >= asked.last)
    inside = (np.where(whole, given[name][found], 0) for name in ("inside_hi", "inside_lo"))
    return (*inside, touches & ~whole)


def _compared(asked: _Asked, of: Int64s, given: Rows) -> _Answer:
    """Return the holders of cells among blocks of all kinds, each with all that it may touch."""
    cells = pl.DataFrame(asked._asdict()).with_row_index("row")
    sizes = np.bincount(of, minlength=int(asked.of.max()) + 1)[asked.of]
    bounds = np.flatnonzero(np.diff(np.cumsum(sizes) // COMPARED_MAX)) + 1
    if len(bounds):
        parts = np.split(np.arange(len(asked.of)), bounds)
        answers = [_compared(asked.take(part), of, given) for part in parts]
        hi, lo, unsure = (np.concatenate(columns) for columns in zip(*answers, strict=True))
        return hi, lo, unsure
    names = ("first", "last", "step", "protocol", "at", "inside_hi", "inside_lo")
    columns = {"of": of, **{name: np.ascontiguousarray(given[name]) for name in names}}
    small = pl.col("first", "last", "step", "protocol").cast(pl.Int64)
    told = pl.DataFrame(columns).with_columns(small).with_row_index("row")
    suffixed = cells.select(
        "row", *(pl.col(name).alias(f"{name}_a") for name in ("first", "last", "protocol")),
        pl.lit(1, pl.Int64).alias("step_a"),
    )  # fmt: skip
    both = near_ranges.pairs(cells, told, "of").join(suffixed, left_on="left", right_on="row")
    both = both.join(told.drop("of"), left_on="right", right_on="row")
    of_protocol = (pl.col("protocol") == 0) | (pl.col("protocol") == pl.col("protocol_a"))
    touches = near_ranges.touches("", "_a") & (of_protocol | (pl.col("protocol_a") == 0))
    both = both.filter(touches).with_columns(whole=near_ranges.covers("", "_a") & of_protocol)
    found = ("left", "at", "inside_hi", "inside_lo")
    best = both.filter("whole").sort(found).unique("left", keep="last").select(found)
    part = both.filter(~pl.col("whole")).select(found)
    other = (pl.col("inside_hi") != pl.col("inside_hi_b")) | (
        pl.col("inside_lo") != pl.col("inside_lo_b")
    )
    rivals = part.join(best, on="left", how="left", suffix="_b").filter(
        pl.col("at_b").is_null() | (other & (pl.col("at") >= pl.col("at_b")))
    )
    mixed = rivals.select("left").unique()
    sure = best.join(mixed, on="left", how="anti")
    inside = [np.zeros(len(asked.of), np.uint64) for _ in range(2)]
    for column, name in zip(inside, ("inside_hi", "inside_lo"), strict=True):
        column[sure["left"].to_numpy()] = sure[name].to_numpy()
    ambiguous = np.zeros(len(asked.of), np.bool_)
    ambiguous[mixed["left"].to_numpy()] = True
    return inside[0], inside[1], ambiguous
