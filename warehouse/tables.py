"""The warehouse's tables, derived from the record classes, as ClickHouse DDL.

`usage_rated` is the base: one row per `rating.records.RatedUsage`, with the log position it came
from. Billing and evidence read it. The rollups are views of it for dashboards: they may be one
insert behind after a crash, until the sink has replayed its intent (DESIGN §3.7). Snapshot tables
hold business rows, newest copy by key.

A table's physical name carries its generation (`usage_rated_1`); a plain view without the number
(`usage_rated`) points to the generation in force, so that a rebuild can fill the next one beside
it. Every table that takes inserts, the targets of materialized views too, has a deduplication
window: a target without one counts a repeated insert twice.
"""

from __future__ import annotations

import dataclasses
import typing
from decimal import Decimal
from typing import Any

from rating.records import UNATTRIBUTED_PREFIX, RatedUsage
from rating.rows import KEYS, Alert, FlowHour, LiveSession, LossHour, LossMinute

DEDUPLICATION_WINDOW = 10_000
"""Inserts per table whose tokens are remembered. A token is forgotten after so many inserts of
other partitions, so this must exceed what all sinks write while one of them is stuck."""

CELL_MINUTES = 15
"""Width of the subscriber rollup's cells. Every time zone's offset is a whole number of quarter
hours, so local hours and days are sums of cells (Kathmandu is +5:45)."""

_TYPES: dict[Any, str] = {
    int: "Int64",
    str: "String",
    bytes: "String",
    bool: "Bool",
    Decimal: "Decimal(38, 18)",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column: name, ClickHouse type and the rest of its declaration (codec, alias)."""

    name: str
    type: str
    clause: str = ""
    is_internal: bool = False
    """Whether only the sink sees it: the plain view leaves it out."""

    def declaration(self) -> str:
        """Return the column as CREATE TABLE wants it."""
        return f"`{self.name}` {self.type} {self.clause}".rstrip()


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """One physical table and, for a rollup, the SELECT that fills it from `usage_rated`."""

    name: str
    columns: tuple[Column, ...]
    engine: str
    order_by: tuple[str, ...]
    partition_by: str = ""
    indexes: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    select: str = ""
    """`{base}` is the base table, `{more}` a further condition on its rows."""

    instant: str = ""
    """SQL of a row's own time in seconds since 1970, by which it is kept or dropped."""

    @property
    def sums(self) -> tuple[str, ...]:
        """Names of a rollup's columns that add up."""
        return tuple(c.name for c in self._values if "(max" not in c.type)

    @property
    def maxima(self) -> tuple[str, ...]:
        """Names of a rollup's columns of which the greatest stands."""
        return tuple(c.name for c in self._values if "(max" in c.type)

    @property
    def _values(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.name not in self.order_by)

    def physical(self, generation: int) -> str:
        """Return the table's name in one generation."""
        return f"{self.name}_{generation}"

    def create(self, generation: int) -> tuple[str, ...]:
        """Return the statements that create table, materialized view and view, in order."""
        lines = [column.declaration() for column in self.columns]
        lines += [f"INDEX {index}" for index in self.indexes]
        lines += [f"CONSTRAINT {constraint}" for constraint in self.constraints]
        body = ",\n  ".join(lines)
        partition = f"PARTITION BY {self.partition_by}\n" if self.partition_by else ""
        table = (
            f"CREATE TABLE IF NOT EXISTS {self.physical(generation)} (\n  {body}\n)\n"
            f"ENGINE = {self.engine}\n{partition}ORDER BY ({', '.join(self.order_by)})\n"
            f"SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"
        )
        statements = [table]
        if self.select:
            statements.append(self.fill(generation))
        return (*statements, self.point(generation))

    def fill(self, generation: int) -> str:
        """Return the statement of the materialized view that fills a rollup from now on."""
        return (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {self.physical(generation)}_fill\n"
            f"TO {self.physical(generation)} AS\n{self.derive(generation)}"
        )

    def derive(self, generation: int, more: str = "") -> str:
        """Return the SELECT of a rollup's rows from the base; more narrows the base's rows."""
        return self.select.format(
            base=USAGE_RATED.physical(generation), more=f" AND {more}" if more else ""
        )

    def point(self, generation: int) -> str:
        """Return the statement that lets the plain name mean this generation."""
        names = ", ".join(f"`{c.name}`" for c in self.columns if not c.is_internal)
        return (
            f"CREATE OR REPLACE VIEW {self.name} AS\nSELECT {names} FROM "
            f"{self.physical(generation)}{' FINAL' if 'Replacing' in self.engine else ''}"
        )


def columns_of(record: type, special: dict[str, Column] | None = None) -> tuple[Column, ...]:
    """Return one column per field of a record class, in field order.

    special replaces the derived column of a name. TypeError for an annotation without a type.
    """
    columns = []
    for name, annotation in typing.get_type_hints(record).items():
        if special and name in special:
            columns.append(special[name])
            continue
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        scalar = members[0] if members else annotation
        if scalar not in _TYPES:
            raise TypeError(f"{record.__name__}.{name}: no column type for {annotation!r}")
        written = f"Nullable({_TYPES[scalar]})" if members else _TYPES[scalar]
        columns.append(Column(name, written, "CODEC(ZSTD(1))"))
    return tuple(columns)


def _low(name: str) -> Column:
    return Column(name, "LowCardinality(String)")


def _delta(name: str, type_: str = "Int64") -> Column:
    return Column(name, type_, "CODEC(Delta, ZSTD(1))")


def _narrow(name: str) -> Column:
    return Column(name, "Int64", "CODEC(T64, ZSTD(1))")


_OCTETS = ("octets_up", "octets_down", "packets_up", "packets_down")
_MONTH_OF_MINUTE = "toYYYYMM(toDateTime(minute * 60, 'UTC'))"

IN_TIME = "in_time CHECK insert_before = 0 OR insert_before > toUnixTimestamp(now())"
"""Constraint of the base table: a sink that slept can insert nothing once its claim has run out,
whatever it still believes (docs/decisions/0510)."""

USAGE_RATED = Table(
    name="usage_rated",
    columns=(
        *columns_of(
            RatedUsage,
            {
                **{n: _low(n) for n in ("source", "traffic_class", "meter_id", "currency")},
                "plan_id": _low("plan_id"),
                "minute": _delta("minute", "UInt32"),
                "plan_version": _narrow("plan_version"),
                "period_start_at": _delta("period_start_at"),
                "received_at": _delta("received_at"),
                **{n: _narrow(n) for n in (*_OCTETS, "seconds", "quantity")},
            },
        ),
        Column("log_partition", "UInt16", "CODEC(ZSTD(1))"),
        _delta("log_position", "UInt64"),
        Column("log_generation", "UInt16", "DEFAULT 1 CODEC(ZSTD(1))"),
        Column("insert_before", "UInt32", "DEFAULT 0 CODEC(ZSTD(1))", is_internal=True),
    ),
    engine="MergeTree",
    order_by=("subscriber_id", "minute", "meter_id", "traffic_class"),
    partition_by=_MONTH_OF_MINUTE,
    indexes=(
        "by_rating_key rating_key TYPE bloom_filter(0.01) GRANULARITY 1",
        "by_log_position log_position TYPE minmax GRANULARITY 1",
        "by_received received_at TYPE minmax GRANULARITY 1",
    ),
    instant="minute * 60",
)
"""The base table: what billing and evidence read. Per-subscriber series read it too: it is
sorted by subscriber, so a month of one subscriber is a few granules."""

_IS_UNATTRIBUTED = f"startsWith(rating_key, '{UNATTRIBUTED_PREFIX}')"

_LAG_MS = "rated.received_at - (toInt64(minute) + 1) * 60000"
_IS_MEASURED = "(rated.seconds != 0 OR rated.packets_up != 0 OR rated.packets_down != 0)"
"""Rows that move octets between classes have neither seconds nor packets; their minute is their
quarter hour's first, so their lag says nothing."""

USAGE_MINUTE = Table(
    name="usage_minute",
    columns=(
        _delta("minute", "UInt32"),
        _low("traffic_class"),
        _low("source"),
        Column("is_unattributed", "Bool"),
        *(_narrow(name) for name in _OCTETS),
        _narrow("octets_late"),
        _narrow("rows"),
        _narrow("lag_rows"),
        Column("lag_ms_sum", "Int64", "CODEC(ZSTD(1))"),
        Column("lag_ms_max", "SimpleAggregateFunction(max, Int64)", "CODEC(ZSTD(1))"),
        Column("received_at_max", "SimpleAggregateFunction(max, Int64)", "CODEC(ZSTD(1))"),
    ),
    engine="SummingMergeTree",
    order_by=("minute", "traffic_class", "source", "is_unattributed"),
    partition_by=_MONTH_OF_MINUTE,
    select=(
        f"SELECT minute, traffic_class, source, {_IS_UNATTRIBUTED} AS is_unattributed,\n"
        + "".join(f"  sum(rated.{name}) AS {name},\n" for name in _OCTETS)
        + "  sumIf(rated.octets_up + rated.octets_down, is_late) AS octets_late,\n"
        "  toInt64(count()) AS rows,\n"
        f"  toInt64(countIf({_IS_MEASURED})) AS lag_rows,\n"
        f"  sumIf({_LAG_MS}, {_IS_MEASURED}) AS lag_ms_sum,\n"
        f"  maxIf({_LAG_MS}, {_IS_MEASURED}) AS lag_ms_max,\n"
        "  max(rated.received_at) AS received_at_max\n"
        "FROM {base} AS rated WHERE meter_id = 'volume'{more}\n"
        "GROUP BY minute, traffic_class, source, is_unattributed"
    ),
    instant="minute * 60",
)
"""Everybody's volume per minute and class; hours and days of the whole network are sums of it."""

USAGE_CELL = Table(
    name="usage_cell",
    columns=(
        _delta("cell", "UInt32"),
        Column("subscriber_id", "String", "CODEC(ZSTD(1))"),
        Column("rating_key", "String", "CODEC(ZSTD(1))"),
        _low("traffic_class"),
        _low("source"),
        *(_narrow(name) for name in _OCTETS),
        _narrow("seconds"),
    ),
    engine="SummingMergeTree",
    order_by=("cell", "subscriber_id", "rating_key", "traffic_class", "source"),
    partition_by=f"toYYYYMM(toDateTime(cell * {CELL_MINUTES * 60}, 'UTC'))",
    select=(
        f"SELECT intDiv(minute, {CELL_MINUTES}) AS cell, subscriber_id, rating_key,\n"
        "  traffic_class, source,\n"
        + "".join(f"  sum(rated.{name}) AS {name},\n" for name in _OCTETS)
        + "  sum(rated.seconds) AS seconds\n"
        "FROM {base} AS rated WHERE meter_id = 'volume'{more}\n"
        "GROUP BY cell, subscriber_id, rating_key, traffic_class, source"
    ),
    instant=f"cell * {CELL_MINUTES * 60}",
)
"""Each subscriber's volume per quarter hour (UTC) and class, sorted by time: for rankings."""

CHARGE_CELL = Table(
    name="charge_cell",
    columns=(
        _delta("cell", "UInt32"),
        Column("rating_key", "String", "CODEC(ZSTD(1))"),
        _low("plan_id"),
        _low("meter_id"),
        _low("currency"),
        _narrow("quantity"),
        Column("charge", "Decimal(38, 18)", "CODEC(ZSTD(1))"),
        Column("balance_effect", "Decimal(38, 18)", "CODEC(ZSTD(1))"),
    ),
    engine="SummingMergeTree",
    order_by=("cell", "rating_key", "plan_id", "meter_id", "currency"),
    partition_by=f"toYYYYMM(toDateTime(cell * {CELL_MINUTES * 60}, 'UTC'))",
    select=(
        f"SELECT intDiv(minute, {CELL_MINUTES}) AS cell, rating_key, plan_id, meter_id,\n"
        "  currency, sum(rated.quantity) AS quantity, sum(rated.charge) AS charge,\n"
        "  sum(rated.balance_effect) AS balance_effect\n"
        "FROM {base} AS rated WHERE meter_id != 'volume'{more}\n"
        "GROUP BY cell, rating_key, plan_id, meter_id, currency"
    ),
    instant=f"cell * {CELL_MINUTES * 60}",
)
"""Charges per quarter hour (UTC), rating key and meter."""


def _of_subscriber(name: str, unit: str, minutes: int) -> Table:
    """Return the rollup of each subscriber's volume per unit of so many minutes (UTC)."""
    start = "minute" if minutes == 1 else f"intDiv(minute, {minutes}) AS {unit}"
    return Table(
        name=name,
        columns=(
            _delta(unit, "UInt32"),
            Column("subscriber_id", "String", "CODEC(ZSTD(1))"),
            Column("rating_key", "String", "CODEC(ZSTD(1))"),
            _low("traffic_class"),
            _low("source"),
            *(_narrow(octets) for octets in _OCTETS),
            _narrow("seconds"),
        ),
        engine="SummingMergeTree",
        order_by=("subscriber_id", unit, "rating_key", "traffic_class", "source"),
        partition_by=f"toYYYYMM(toDateTime({unit} * {minutes * 60}, 'UTC'))",
        select=(
            f"SELECT {start}, subscriber_id, rating_key,\n"
            "  traffic_class, source,\n"
            + "".join(f"  sum(rated.{octets}) AS {octets},\n" for octets in _OCTETS)
            + "  sum(rated.seconds) AS seconds\n"
            "FROM {base} AS rated WHERE meter_id = 'volume'{more}\n"
            f"GROUP BY {unit}, subscriber_id, rating_key, traffic_class, source"
        ),
        instant=f"{unit} * {minutes * 60}",
    )


SUBSCRIBER_MINUTE = _of_subscriber("subscriber_minute", "minute", 1)
"""Each subscriber's volume per minute and class: what outlives the base table's sessions."""

SUBSCRIBER_HOUR = _of_subscriber("subscriber_hour", "hour", 60)
"""The same per hour of UTC (hours since 1970). A zone that is off by half hours or quarters is
served from `usage_cell` (docs/decisions/0511)."""

SUBSCRIBER_DAY = _of_subscriber("subscriber_day", "day", 1440)
"""The same per day of UTC (days since 1970): for trends over years, not for bills."""


@dataclasses.dataclass(frozen=True, slots=True)
class CommandSnapshot:
    """One command to a NAS as the business table `command` has it, newest state."""

    command_id: str
    subscriber_id: str
    session_id: str
    kind: str
    target: str
    attempt: int
    outcome: str
    requested_at: int
    acknowledged_at: int | None
    verified_at: int | None
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class InvoiceSnapshot:
    """One invoice that was issued, as the business table `invoice` has it; amounts in minor units.

    Drafts are not copied: they change, and are nobody's business but the clerk's.
    """

    invoice_id: str
    branch_id: str
    account_id: str
    series: str
    number: str | None
    status: str
    period_start_at: int
    period_end_at: int
    issued_at: int | None
    due_on: str | None
    currency: str
    subtotal_minor: int
    tax_minor: int
    total_minor: int
    paid_minor: int
    paid_at: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class InvoiceLineSnapshot:
    """One line of an issued invoice, with whose it is and its period's end."""

    invoice_id: str
    line: int
    account_id: str
    period_end_at: int
    kind: str
    description: str
    rating_key: str
    meter_id: str
    quantity: int
    unit: str
    amount_minor: int
    tax_rate: str


def _snapshot(
    name: str, record: type, key: tuple[str, ...], instant: str, indexes: tuple[str, ...] = ()
) -> Table:
    return Table(
        name=name,
        columns=(*columns_of(record), _delta("snapshot_at")),
        engine="ReplacingMergeTree(snapshot_at)",
        order_by=key,
        indexes=indexes,
        instant=instant,
    )


SNAPSHOTS: dict[str, tuple[type, Table]] = {
    "live_session": (
        LiveSession,
        _snapshot("live_session", LiveSession, KEYS[LiveSession], "intDiv(last_seen_at, 1000)"),
    ),
    "alert": (Alert, _snapshot("alert", Alert, KEYS[Alert], "intDiv(raised_at, 1000)")),
    "command": (
        CommandSnapshot,
        _snapshot("command", CommandSnapshot, ("command_id",), "intDiv(requested_at, 1000)"),
    ),
    "loss_minute": (
        LossMinute,
        _snapshot("loss_minute", LossMinute, KEYS[LossMinute], "minute * 60"),
    ),
    "loss_hour": (
        LossHour,
        _snapshot("loss_hour", LossHour, KEYS[LossHour], "hour * 3600"),
    ),
    "flow_hour": (
        FlowHour,
        _snapshot("flow_hour", FlowHour, KEYS[FlowHour], "hour * 3600"),
    ),
    "session": (
        LiveSession,
        _snapshot(
            "session",
            LiveSession,
            ("session_id",),
            "intDiv(last_seen_at, 1000)",
            (
                "by_subscriber subscriber_id TYPE bloom_filter(0.01) GRANULARITY 1",
                "by_start started_at TYPE minmax GRANULARITY 1",
            ),
        ),
    ),
    "invoice": (
        InvoiceSnapshot,
        _snapshot("invoice", InvoiceSnapshot, ("invoice_id",), "intDiv(period_end_at, 1000)"),
    ),
    "invoice_line": (
        InvoiceLineSnapshot,
        _snapshot(
            "invoice_line",
            InvoiceLineSnapshot,
            ("invoice_id", "line"),
            "intDiv(period_end_at, 1000)",
        ),
    ),
}
"""Name -> the record class of business rows and their copy here (newest row by key). `session` is
the history of what `live_session` shows: it is kept on its own terms."""

ROLLUPS: tuple[Table, ...] = (
    USAGE_MINUTE,
    USAGE_CELL,
    CHARGE_CELL,
    SUBSCRIBER_MINUTE,
    SUBSCRIBER_HOUR,
    SUBSCRIBER_DAY,
)
"""What is derived from the base table, and can be derived again."""

TABLES: tuple[Table, ...] = (
    USAGE_RATED,
    *ROLLUPS,
    *(table for _, table in SNAPSHOTS.values()),
)
"""All tables, each behind those it reads."""
