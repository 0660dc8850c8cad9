"""What a report is: details with their ids, their sums per key, and what the ledger says of them.

Each report computes its details, one row per line, payment or open document; the summary is the
sum of the details per key and nothing else, so that every number of it can be drilled into.
Currency is always a key: amounts of two currencies are never added.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import polars as pl

from rating.money import round_half_up

Kind = Literal["text", "day", "money", "count", "percent"]
"""What a column holds: money is whole minor units of the row's `currency`."""

_TYPES: Mapping[str, Any] = {
    "text": pl.String,
    "day": pl.Date,
    "money": pl.Int64,
    "count": pl.Int64,
    "percent": pl.Float64,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in data, how a person reads it, and what it holds."""

    name: str
    title: str
    kind: Kind = "text"


@dataclasses.dataclass(frozen=True, slots=True)
class Ratio:
    """A column of the summary alone: scale x the sum of some columns / the sum of others.

    Money is rounded half-up to minor units, a percentage to two decimals; nothing by nothing is
    empty.
    """

    column: Column
    numerator: tuple[str, ...]
    denominator: tuple[str, ...]
    scale: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What one report says: details are keys + values + ids, the summary keys + values + ratios.

    is_balance: the report is of an instant, the end of its last day, not of what happened.
    """

    name: str
    title: str
    description: str
    keys: tuple[Column, ...]
    values: tuple[Column, ...]
    ids: tuple[Column, ...]
    ratios: tuple[Ratio, ...] = ()
    is_balance: bool = False

    @property
    def detail_columns(self) -> tuple[Column, ...]:
        """The columns of the details."""
        return (*self.keys, *self.values, *self.ids)

    @property
    def summary_columns(self) -> tuple[Column, ...]:
        """The columns of the summary."""
        return (*self.keys, *self.values, *(ratio.column for ratio in self.ratios))


@dataclasses.dataclass(frozen=True, slots=True)
class Tie:
    """A sum of the report beside the ledger's own, per branch and currency (minor units)."""

    what: str
    branch_id: str
    currency: str
    report_minor: int
    ledger_minor: int

    @property
    def difference_minor(self) -> int:
        """What the report says more than the ledger: 0 where both are right."""
        return self.report_minor - self.ledger_minor


@dataclasses.dataclass(frozen=True, slots=True)
class ReportTable:
    """A report as it is written: columns, and rows [n] in a frame with exactly those columns."""

    shape: Shape
    columns: tuple[Column, ...]
    rows: pl.DataFrame
    ties: tuple[Tie, ...] = ()


def details_of(shape: Shape, rows: pl.DataFrame) -> pl.DataFrame:
    """Return details [n] with exactly the shape's columns, of its types, in the order of its keys.

    polars.exceptions.ColumnNotFoundError where a column is missing.
    """
    columns = shape.detail_columns
    typed = rows.select(pl.col(column.name).cast(_TYPES[column.kind]) for column in columns)
    order = [column.name for column in (*shape.keys, *shape.ids)]
    return typed.sort(order, nulls_last=True)


def empty_details(shape: Shape) -> pl.DataFrame:
    """Return details of nothing."""
    return pl.DataFrame(schema={c.name: _TYPES[c.kind] for c in shape.detail_columns})


def summarise(shape: Shape, details: pl.DataFrame) -> pl.DataFrame:
    """Return the sums of the details per key [k], in the order of the keys, with the ratios."""
    keys = [column.name for column in shape.keys]
    sums = details.group_by(keys).agg(pl.col(value.name).sum() for value in shape.values)
    sums = sums.sort(keys, nulls_last=True)
    return sums.with_columns(
        pl.Series(ratio.column.name, _quotients(ratio, sums), dtype=_TYPES[ratio.column.kind])
        for ratio in shape.ratios
    ).select(column.name for column in shape.summary_columns)


def _quotients(ratio: Ratio, sums: pl.DataFrame) -> list[float | int | None]:
    above = sums.select(pl.sum_horizontal(ratio.numerator)).to_series().to_list()
    below = sums.select(pl.sum_horizontal(ratio.denominator)).to_series().to_list()
    return [_quotient(ratio, number, divisor) for number, divisor in zip(above, below, strict=True)]


def _quotient(ratio: Ratio, number: int, divisor: int) -> float | int | None:
    if not divisor:
        return None
    exact = Fraction(number * ratio.scale, divisor)
    if ratio.column.kind == "percent":
        return round_half_up(exact, 2) / 100
    return round_half_up(exact)


def ties_of(
    what: str,
    details: pl.DataFrame,
    value: str,
    ledger: Mapping[tuple[str, str], int],
) -> tuple[Tie, ...]:
    """Return a column's sums per (branch_id, currency) beside the ledger's."""
    sums = details.group_by("branch_id", "currency").agg(pl.col(value).sum())
    found = {(branch, currency): int(total) for branch, currency, total in sums.iter_rows()}
    return tuple(
        Tie(what, *key, found.get(key, 0), ledger.get(key, 0))
        for key in sorted({*found, *(key for key, total in ledger.items() if total)})
    )


def narrowed(
    shape: Shape, details: pl.DataFrame, wanted: Mapping[str, Sequence[str]]
) -> pl.DataFrame:
    """Return the details whose keys or ids have one of the values wanted of them, as text.

    ValueError names a column that the report does not have.
    """
    known = {column.name for column in (*shape.keys, *shape.ids)}
    for name, values in wanted.items():
        if name not in known:
            raise ValueError(f"{name}: expected one of {', '.join(sorted(known))}")
        details = details.filter(pl.col(name).cast(pl.String).is_in(list(values)))
    return details


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a report: days [first_on, last_on], both whole and included.

    branch_id None is every branch, each in its own time zone. A report of months takes those that
    the days touch, one of a balance the end of last_on. aged_by says from when a receivable ages:
    its due day or its period's last day. wanted narrows the details (`narrowed`).
    """

    first_on: datetime.date
    last_on: datetime.date
    branch_id: str | None = None
    aged_by: Literal["due", "period"] = "due"
    wanted: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    has_details: bool = False

    def __post_init__(self) -> None:
        if self.first_on > self.last_on:
            raise ValueError(f"to: expected {self.first_on} or later, got {self.last_on}")


def report_of(
    shape: Shape, details: pl.DataFrame, question: Question, ties: Sequence[Tie]
) -> ReportTable:
    """Return what was asked for of these details: they themselves, or their summary.

    A narrowed report has no ties, for the ledger cannot be narrowed alike. ValueError as
    `narrowed`.
    """
    shown = narrowed(shape, details, question.wanted)
    kept = () if question.wanted else tuple(ties)
    if question.has_details:
        return ReportTable(shape, shape.detail_columns, shown, kept)
    return ReportTable(shape, shape.summary_columns, summarise(shape, shown), kept)
