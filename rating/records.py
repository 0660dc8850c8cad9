"""Every record that crosses a topic, defined once.

A record is a frozen dataclass. Its annotations give the polars schema (`schema_of`), hence the
Arrow body on the wire, the ClickHouse column and the API model. Conventions:

* an instant (`*_at`) is an int: milliseconds since 1970-01-01T00:00:00Z;
* `minute` is an int: whole minutes since 1970-01-01T00:00:00Z (instant // 60_000);
* an address is 16 octets, IPv4 as ``::ffff:a.b.c.d`` (RFC 4291 §2.5.5.2);
* octets and packets are signed: a correction is a difference, never a rewrite;
* `received_at` is when the collector received the cause, so lateness is a property of the data;
* up is from the subscriber, down is to the subscriber (RADIUS *Input* is up, RFC 2866 §5.3).
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from decimal import Decimal
from typing import Any

import polars as pl

from rating.money import wire_decimal

UNCLASSIFIED = "unclassified"
UNATTRIBUTED_PREFIX = "unattributed:"

CHARGE_DTYPE = pl.Decimal(38, 18)
"""Charges on the wire: signed, 18 decimals, so a telescoping sum stays exact (DESIGN §7)."""


@dataclasses.dataclass(frozen=True, slots=True)
class FlowMinute:
    """What one own address moved in one minute in one traffic class: topic `flow.minutes`.

    octets_* are scaled by the sampling rate; octets_exported is unscaled; rate_known is false
    where no sampling rate had been announced (1 was used). user_name is whom the exporter names as
    the user at this end, "" where it names nobody. port_block is 0 for the whole address, else a
    cell of ports (`rating.nat_pools`). Rows of an outside address that a NAT's events translate
    take the way of topic `nat.minutes` first.
    """

    address: bytes
    port_block: int
    minute: int
    traffic_class: str
    octets_up: int
    octets_down: int
    packets_up: int
    packets_down: int
    octets_exported: int
    rate_known: bool
    exporter: str
    received_at: int
    user_name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class NatEvent:
    """A NAT gave ports of an outside address to an inside one, or took them: topic `nat.events`.

    The ports are first_port to last_port, port_step apart (RFC 8158 §5: 361 to 364); protocol 0 is
    every one. inside_address is all zero where it belongs to a routing instance of others.
    """

    address: bytes
    first_port: int
    last_port: int
    port_step: int
    protocol: int
    is_release: bool
    inside_address: bytes
    event_at: int
    exporter: str
    received_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class SessionBinding:
    """Who holds an address or prefix, and when: topic `session.bindings`.

    The row with the greatest `revision` of one binding_id stands; valid_until_at is None while
    the session lives. prefix_length counts over the 16-octet form (IPv4 /32 is 128).
    """

    binding_id: str
    revision: int
    address: bytes
    prefix_length: int
    port_block: int
    subscriber_id: str
    session_id: str
    valid_from_at: int
    valid_until_at: int | None
    received_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Signed usage of one subscriber in one minute: topic `usage.measured`.

    source is ``accounting`` or ``flows``; rating_key is the outermost party that shares a counter
    at that minute, or ``unattributed:<source>``.
    """

    rating_key: str
    subscriber_id: str
    source: str
    session_id: str
    traffic_class: str
    minute: int
    octets_up: int
    octets_down: int
    packets_up: int
    packets_down: int
    seconds: int
    received_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class RatedUsage:
    """Usage with its price: topic `usage.rated`, the warehouse's base table.

    A row either carries octets of one traffic class (meter_id ``volume``) with charge 0, or the
    charge of one meter (quantity in the meter's unit). Class rows of one cell sum to the measured
    octets exactly; reclassification rows sum to zero. `charge` is in major currency units.
    """

    rating_key: str
    subscriber_id: str
    source: str
    session_id: str
    traffic_class: str
    minute: int
    octets_up: int
    octets_down: int
    packets_up: int
    packets_down: int
    seconds: int
    meter_id: str
    quantity: int
    charge: Decimal
    currency: str
    balance_effect: Decimal
    plan_id: str
    plan_version: int
    period_start_at: int
    is_late: bool
    received_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One fact that stages look up at event time: topic `directory`.

    kind          match                              target
    identity      ``user_name:alice`` | ``mac:…``    subscriber_id
    static_prefix ``203.0.113.8/29``                 subscriber_id
    membership    subscriber_id                      rating_key
    own_prefix    ``10.0.0.0/8``                     ``""``
    class_rule    JSON of `rating.classes.ClassRule` traffic class
    nat_pool      JSON of `rating.nat_pools.NatPool` ``""``
    asn_file      SHA-256 of a file of AS numbers    ``unknown`` | ``always``

    The entry with the greatest `revision` of one entry_id stands. Valid in [from, until).
    """

    entry_id: str
    revision: int
    kind: str
    match: str
    target: str
    priority: int
    valid_from_at: int
    valid_until_at: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class AccountEvent:
    """Something decided about a rating key: topic `account.events`.

    kind is one of `rating.events.KINDS`; payload is that kind's JSON. `event_id` is the business
    key: a repeated event_id is a duplicate and has no second effect.
    """

    event_id: str
    rating_key: str
    kind: str
    payload: str
    effective_at: int
    received_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was refused, why and from where: topic `dead.letters`."""

    source: str
    reason: str
    detail: str
    body: bytes
    received_at: int


_DTYPES: dict[Any, Any] = {
    int: pl.Int64(),
    str: pl.String(),
    bytes: pl.Binary(),
    bool: pl.Boolean(),
    Decimal: CHARGE_DTYPE,
}


@functools.cache
def schema_of(record: type) -> pl.Schema:
    """Return the polars schema of a record class, columns in field order.

    Raises TypeError for an annotation that has no column type.
    """
    columns: dict[str, Any] = {}
    for name, annotation in typing.get_type_hints(record).items():
        members = [a for a in typing.get_args(annotation) if a is not type(None)]
        scalar = members[0] if members else annotation
        if scalar not in _DTYPES:
            raise TypeError(f"{record.__name__}.{name}: no column type for {annotation!r}")
        columns[name] = _DTYPES[scalar]
    return pl.Schema(columns)


@functools.cache
def defaults_of(record: type) -> dict[str, Any]:
    """Return the columns that a record got later, each with what rows from before mean by it."""
    return {
        field.name: field.default
        for field in dataclasses.fields(record)
        if field.default is not dataclasses.MISSING
    }


def completed(frame: pl.DataFrame, record: type) -> pl.DataFrame:
    """Return a frame of an older version with the columns of today, in order.

    What is no column with a default stays as it is: the caller checks the schema.
    """
    schema = schema_of(record)
    columns = {column.name: column for column in frame.get_columns()}
    absent = {name: v for name, v in defaults_of(record).items() if name not in columns}
    if not absent:
        return frame
    for name, default in absent.items():
        one = pl.Series(name, [default], dtype=schema[name])
        columns[name] = one.new_from_index(0, frame.height)
    strange = [name for name in columns if name not in schema]
    # Without an expression: planning one takes longer than all else here.
    return pl.DataFrame([columns[name] for name in (*schema, *strange) if name in columns])


def spared(frame: pl.DataFrame, record: type) -> pl.DataFrame:
    """Return a frame without the later columns that no row uses; `completed` adds them again.

    So a process of the version before reads it for as long as nobody uses what is new.
    """
    columns = {column.name: column for column in frame.get_columns()}
    unused = [
        name
        for name, default in defaults_of(record).items()
        if name in columns and _is_always(columns[name], default)
    ]
    if not unused:
        return frame
    return pl.DataFrame([column for name, column in columns.items() if name not in unused])


def _is_always(column: pl.Series, value: object) -> bool:
    return not column.null_count() and bool((column == value).all())


def empty_frame(record: type) -> pl.DataFrame:
    """Return a frame of no rows with the record's columns."""
    return pl.DataFrame(schema=schema_of(record))


def frame_of(record: type, rows: typing.Sequence[Any]) -> pl.DataFrame:
    """Return a frame with one row per record instance, columns as `schema_of`."""
    schema = schema_of(record)
    columns = {name: [getattr(row, name) for row in rows] for name in schema}
    return pl.DataFrame(columns, schema=schema)


def frame_of_values(record: type, rows: typing.Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Return a frame of at least one row from values in field order, charges in wire units.

    Whole units of 10^-18 as integers are many times cheaper than a Decimal of each.
    """
    columns = []
    for (name, dtype), values in zip(_value_columns(record), zip(*rows, strict=True), strict=True):
        if dtype is None:
            units = pl.Series(name, values, dtype=pl.Int128()).cast(_WHOLE_UNITS)
            columns.append(units * _WIRE_UNIT)
        else:
            columns.append(pl.Series(name, values, dtype=dtype))
    return pl.DataFrame(columns)


@functools.cache
def _value_columns(record: type) -> tuple[tuple[str, Any], ...]:
    """Return the columns of a record by name and type, None for the type of a charge."""
    schema = schema_of(record)
    return tuple((name, None if t == CHARGE_DTYPE else t) for name, t in schema.items())


_WHOLE_UNITS = pl.Decimal(38, 0)
_WIRE_UNIT = pl.Series([wire_decimal(1)], dtype=CHARGE_DTYPE)
