"""Whose octets are these: flow minutes joined with who held their address, in columns.

Three kinds of evidence are asked in the order of a setting, and the first that knows somebody holds
the whole minute, so octets are never split and always conserved:

* ``radius``: of all session bindings that cover the address and overlap the minute at all, the
  latest `valid_from_at` wins (then the longer prefix, then the greater binding_id). A binding with
  port_block 0 covers every port block. One of an unknown user wins too: then it is nobody's.
* ``static_prefix``: the longest static prefix of the directory that is valid at the minute's start.
* ``flow_user``: the user whom the flow itself names, if the directory knows him at that start.

A *page* is what one minute moved per address, port block, user and traffic class. Its rows also
keep apart what may differ in lateness: a record is late for every period that ends at or before
`late_through_minute`, so rows of one value can be added up without changing what is late.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from rating import key_sums
from rating.address_columns import halves
from rating.addresses import parse_prefix
from rating.binding_index import BindingIndex
from rating.directory import Entry
from rating.knots import MINUTE_MS
from rating.session_config import FLOW_USER, RADIUS, STATIC_PREFIX

COUNTERS = ("octets_up", "octets_down", "packets_up", "packets_down")
ADDRESS = ("hi", "lo", "port_block")
PROVENANCE = ("octets_exported", "octets_rate_unknown")
"""Octets as the exporter counted them, and the scaled ones whose sampling rate nobody knew."""
HOLDER_KEY = (*ADDRESS, "user_name")
"""What an owner is found for."""
COUNTED_KEY = (*HOLDER_KEY, "traffic_class", "late_through_minute")
PAGE_KEY = (*COUNTED_KEY, "exporter")
PAGE_SCHEMA = pl.Schema(
    {
        "hi": pl.UInt64(),
        "lo": pl.UInt64(),
        "port_block": pl.Int64(),
        "traffic_class": pl.Categorical(),
        "late_through_minute": pl.Int64(),
        "exporter": pl.Categorical(),
        **{name: pl.Int64() for name in (*COUNTERS, *PROVENANCE)},
        "received_at": pl.Int64(),
        "user_name": pl.String(),
    }
)
"""A page. hi and lo are the two halves of the 16-octet address, most significant first.

Classes and exporters, of which there are few, are numbers with names.
"""


class PageKind(NamedTuple):
    """What rows of a page are added up by, what is added up, and all columns.

    limited is what the limit of octets in a minute is for, where it is not the key.
    """

    key: tuple[str, ...]
    sums: tuple[str, ...]
    schema: pl.Schema
    limited: tuple[str, ...] = ()


ATTRIBUTED = PageKind(PAGE_KEY, (*COUNTERS, *PROVENANCE), PAGE_SCHEMA, COUNTED_KEY)
"""The pages of the stage attribute."""

OWNER = ("subscriber_id", "session_id")
USAGE_KEY = (*OWNER, "traffic_class", "late_through_minute")
"""What rows of one minute add up to one row of usage."""

BINDING_SCHEMA = pl.Schema(
    {
        "binding_id": pl.String(),
        "revision": pl.Int64(),
        "hi": pl.UInt64(),
        "lo": pl.UInt64(),
        "prefix_length": pl.Int64(),
        "port_block": pl.Int64(),
        "subscriber_id": pl.String(),
        "session_id": pl.String(),
        "valid_from_at": pl.Int64(),
        "valid_until_at": pl.Int64(),
        "received_at": pl.Int64(),
    }
)
"""Session bindings, host bits of the prefix zero."""

STATIC_SCHEMA = pl.Schema(
    {
        "hi": pl.UInt64(),
        "lo": pl.UInt64(),
        "prefix_length": pl.Int64(),
        "subscriber_id": pl.String(),
        "priority": pl.Int64(),
        "valid_from_at": pl.Int64(),
        "valid_until_at": pl.Int64(),
        "entry_id": pl.String(),
    }
)
"""Static prefixes of the directory."""

_HALF = (1 << 64) - 1


def _halves(rows: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    high, low = halves(rows["address"])
    return pl.Series("hi", high), pl.Series("lo", low)


def _masked(length: int) -> tuple[pl.Expr, pl.Expr]:
    whole = (1 << 128) - (1 << (128 - length))
    hi = pl.col("hi") & pl.lit(whole >> 64, dtype=pl.UInt64)
    lo = pl.col("lo") & pl.lit(whole & _HALF, dtype=pl.UInt64)
    return hi.alias("prefix_hi"), lo.alias("prefix_lo")


def late_through(lateness_bound_ms: int) -> pl.Expr:
    """Return the last minute such that a period ending there finds the row late (DESIGN §3.6)."""
    return (pl.col("received_at") - lateness_bound_ms) // MINUTE_MS


def pages_of(
    rows: pl.DataFrame, lateness_bound_ms: int, kind: PageKind = ATTRIBUTED
) -> dict[int, pl.DataFrame]:
    """Return minute -> page of rows with the columns of FlowMinute, not yet added up."""
    if rows.height == 0:
        return {}
    made = {column.name: column for column in rows.iter_columns()}
    made["late_through_minute"] = _late_through_minute(rows, lateness_bound_ms)
    made["octets_rate_unknown"] = _octets_rate_unknown(rows)
    made |= {half.name: half for half in _halves(rows)}
    keyed = pl.DataFrame(
        [_cast(made[name], held).alias(name) for name, held in kind.schema.items()]
    )
    minutes = rows["minute"]
    if key_sums.is_one(minutes):
        return {int(minutes[0]): keyed}
    pages = keyed.with_columns(minutes).partition_by("minute", as_dict=True, include_key=False)
    return {minute: page for (minute,), page in sorted(pages.items())}


def _late_through_minute(rows: pl.DataFrame, lateness_bound_ms: int) -> pl.Series:
    """Return through which minute each row is late; rows received at once are looked at once."""
    late = pl.max_horizontal(late_through(lateness_bound_ms), pl.col("minute"))
    if key_sums.is_one(rows["received_at"]) and key_sums.is_one(rows["minute"]):
        return rows.head(1).select(late).to_series().new_from_index(0, rows.height)
    return rows.select(late).to_series()


def _octets_rate_unknown(rows: pl.DataFrame) -> pl.Series:
    if rows["rate_known"].all():
        return pl.Series(np.zeros(rows.height, np.int64))
    octets = pl.col("octets_up") + pl.col("octets_down")
    return rows.select(pl.when("rate_known").then(0).otherwise(octets)).to_series()


def _cast(column: pl.Series, kind: pl.DataType) -> pl.Series:
    """Return a column as it is in a page; text that is all one needs no look at every row."""
    if column.dtype == kind:
        return column
    if key_sums.is_one(column):
        return column.head(1).cast(kind).new_from_index(0, len(column))
    return column.cast(kind)


def add_up(page: pl.DataFrame, kind: PageKind = ATTRIBUTED) -> pl.DataFrame:
    """Return a page with one row per key: address, port block, class, lateness and what else."""
    return key_sums.add_up(page, kind.key, kind.sums).select(kind.schema.names())


def bindings_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the columns of SessionBinding in the columns of BINDING_SCHEMA."""
    split = rows.with_columns(*_halves(rows))
    parts = [
        part.with_columns(*(half.alias(half.meta.output_name()[7:]) for half in _masked(length)))
        for (length,), part in split.partition_by("prefix_length", as_dict=True).items()
    ]
    return pl.concat([split.clear(), *parts]).select(BINDING_SCHEMA.names())


def statics_of(prefixes: list[tuple[str, Entry]]) -> pl.DataFrame:
    """Return static prefixes as a table; text that is no prefix is passed over."""
    rows = []
    for text, entry in prefixes:
        try:
            prefix = parse_prefix(text)
        except ValueError:
            continue
        whole = int.from_bytes(prefix.address, "big")
        valid = (entry.priority, entry.valid_from_at, entry.valid_until_at, entry.entry_id)
        rows.append((whole >> 64, whole & _HALF, prefix.length, entry.target, *valid))
    return pl.DataFrame(rows, schema=STATIC_SCHEMA, orient="row")


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """What tells who somebody is, and in which order it is asked (names of `session_config.WHO`).

    statics: STATIC_SCHEMA. users: user_name and
    subscriber_id of those users that the directory knows at the minute's start.
    """

    bindings: BindingIndex
    statics: pl.DataFrame
    users: pl.DataFrame
    order: tuple[str, ...]


def owners_of(addresses: pl.DataFrame, minute: int, evidence: Evidence) -> pl.DataFrame:
    """Return who held each address in a minute.

    addresses has the columns HOLDER_KEY; the answer has a row for each of its rows, in their order,
    with subscriber_id ("" for nobody) and session_id, of the categories of the bindings' names.
    """
    names = evidence.bindings.names
    rest = addresses.select(HOLDER_KEY).with_row_index("row")
    nobody = int(pl.Series([""]).cast(names).to_physical()[0])
    held = [np.full(addresses.height, nobody, np.uint32) for _ in OWNER]
    is_open = np.ones(addresses.height, np.bool_)
    for name in evidence.order:
        if not rest.height:
            break
        found = _ASKED[name](rest, minute, evidence)
        if found.height == addresses.height and found["row"].is_sorted():
            return found.drop("row")
        if found.height:
            row = found["row"].to_numpy()
            for column, owner in zip(held, OWNER, strict=True):
                column[row] = found[owner].to_physical().to_numpy()
            is_open[row] = False
            rest = rest.filter(is_open[rest["row"].to_numpy()])
    return pl.DataFrame(
        [pl.Series(owner, column).cat.to(names) for owner, column in zip(OWNER, held, strict=True)]
    )


def _by_binding(numbered: pl.DataFrame, minute: int, evidence: Evidence) -> pl.DataFrame:
    cells = [numbered[name].to_numpy() for name in ADDRESS]
    covered, found = evidence.bindings.owners(cells[0], cells[1], cells[2], minute)
    row = numbered["row"]
    if len(covered) < len(row):
        row = row.gather(covered)
    return found.insert_column(0, row)


def _by_static_prefix(numbered: pl.DataFrame, minute: int, evidence: Evidence) -> pl.DataFrame:
    start = minute * MINUTE_MS
    until = pl.col("valid_until_at")
    is_valid = (pl.col("valid_from_at") <= start) & (until.is_null() | (until > start))
    valid = evidence.statics.filter(is_valid)
    fixed = valid.with_columns(port_block=pl.lit(0, pl.Int64), session_id=pl.lit(""))
    longest = ("prefix_length", "priority", "valid_from_at", "entry_id")
    names = pl.col("subscriber_id", "session_id").cast(evidence.bindings.names)
    return _covering(numbered, fixed, longest).with_columns(names)


def _by_flow_user(numbered: pl.DataFrame, minute: int, evidence: Evidence) -> pl.DataFrame:
    named = numbered.join(evidence.users, on="user_name", how="inner")
    names = pl.col("subscriber_id", "session_id").cast(evidence.bindings.names)
    return named.select("row", "subscriber_id", session_id=pl.lit("")).with_columns(names)


_ASKED: Mapping[str, Callable[[pl.DataFrame, int, Evidence], pl.DataFrame]] = {
    RADIUS: _by_binding,
    STATIC_PREFIX: _by_static_prefix,
    FLOW_USER: _by_flow_user,
}
"""Evidence -> what answers (row, subscriber_id, session_id) of the rows that it knows."""


def _covering(
    numbered: pl.DataFrame, prefixes: pl.DataFrame, best: tuple[str, ...]
) -> pl.DataFrame:
    """Return (row, subscriber_id, session_id) of the best prefix that covers each address."""
    columns = ["row", "subscriber_id", "session_id", *best]
    found = []
    in_blocks = (pl.col("port_block") != 0).alias("in_block")
    grouped = prefixes.with_columns(in_blocks).partition_by(
        "prefix_length", "in_block", as_dict=True
    )
    for (length, in_block), part in grouped.items():
        on = ["prefix_hi", "prefix_lo", *(["port_block"] if in_block else [])]
        masked_names = {"hi": "prefix_hi", "lo": "prefix_lo"}
        drop = ["in_block"] if in_block else ["in_block", "port_block"]
        winners = part.drop(drop).rename(masked_names).sort(best).unique(on, keep="last")
        masked = numbered.with_columns(*_masked(int(length)))
        found.append(masked.join(winners, on=on, how="inner").select(columns))
    if not found:
        schema = {"row": pl.UInt32, "subscriber_id": pl.String, "session_id": pl.String}
        return pl.DataFrame(schema=schema)
    covering = found[0]
    if len(found) > 1:
        covering = pl.concat(found).sort("row", *best).unique("row", keep="last")
    return covering.select("row", "subscriber_id", "session_id")


def touched_by(page: pl.DataFrame, changed: pl.DataFrame) -> pl.DataFrame:
    """Return the page's rows that lie under a changed binding, with `cause_at`.

    changed has prefix_length, hi, lo and received_at; cause_at is the latest of those that cover
    the row's address (ms).
    """
    numbered = page.with_row_index("row")
    found = []
    for (length,), part in changed.partition_by("prefix_length", as_dict=True).items():
        causes = part.group_by(pl.col("hi").alias("prefix_hi"), pl.col("lo").alias("prefix_lo"))
        latest = causes.agg(pl.col("received_at").max().alias("cause_at"))
        masked = numbered.select("row", "hi", "lo").with_columns(*_masked(int(length)))
        hits = masked.join(latest, on=["prefix_hi", "prefix_lo"], how="inner")
        found.append(hits.select("row", "cause_at"))
    causes_at = pl.concat(found).group_by("row").agg(pl.col("cause_at").max())
    return numbered.join(causes_at, on="row", how="inner").drop("row")


def usage_of(owned: pl.DataFrame, minute: int) -> pl.DataFrame:
    """Return usage per subscriber, session, class and lateness of page rows with their owner.

    owned is a page with subscriber_id and session_id; the answer lacks rating_key, and rows that
    add up to nothing, and has the sums of PROVENANCE.
    """
    usage = key_sums.add_up(owned, USAGE_KEY, (*COUNTERS, *PROVENANCE))
    counted = [usage[name].to_numpy() != 0 for name in COUNTERS]
    is_some = np.logical_or.reduce(counted)
    if not is_some.all():
        usage = usage.filter(is_some)
    return usage.with_columns(minute=pl.lit(minute, pl.Int64))
