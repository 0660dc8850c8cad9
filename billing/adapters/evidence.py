"""Why an invoice line is what it is: its total at closing, its days, its sessions, its minutes.

Totals and days are rows of the business database; sessions and minutes are asked of the
warehouse through a port, since billing knows no analytics SQL.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, select

from billing.adapters import tables
from billing.invoices import ADJUSTMENT, USAGE
from rating.rows import UsageCharge, UsageDay


@dataclasses.dataclass(frozen=True, slots=True)
class UsagePiece:
    """A session's or a minute's part of a line: octets per direction and metered quantity.

    key is the session_id, or the minute (whole minutes since 1970 UTC) as text.
    """

    key: str
    first_at: int
    last_at: int
    octets_up: int
    octets_down: int
    quantity: int


class UsageEvidence(Protocol):
    """Rated usage behind a line. Rows lag the engine by the sink's batch, and end with retention.

    Results ascend by first_at; an empty one means that nothing was rated, never that the store is
    away: then the call raises ConnectionError.
    """

    def sessions(
        self, rating_key: str, meter_id: str, from_at: int, until_at: int
    ) -> Sequence[UsagePiece]:
        """Return the usage of [from_at, until_at) ms per session."""
        ...

    def minutes(
        self, rating_key: str, meter_id: str, session_id: str, window: tuple[int, int]
    ) -> Sequence[UsagePiece]:
        """Return the usage of one session in a window [from, until) ms per minute."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class LineEvidence:
    """What stands behind a line.

    pointer is the evidence that the document itself carries. charges are the totals, revision by
    revision, up to the one that was billed. days are what the ledger posted for them. sessions is
    None where no warehouse was asked.
    """

    invoice_id: str
    line: int
    kind: str
    description: str
    quantity: int
    amount_minor: int
    currency: str
    pointer: Mapping[str, Any]
    charges: Sequence[UsageCharge]
    days: Sequence[UsageDay]
    sessions: Sequence[UsagePiece] | None

    @property
    def days_minor(self) -> int:
        """Return the days' sum; it may differ from the line by cents, which the true-up posts."""
        return sum(day.amount_minor for day in self.days)


def explain_line(
    connection: Connection, invoice_id: str, line: int, usage: UsageEvidence | None = None
) -> LineEvidence:
    """Return the evidence of an invoice line. LookupError: no such line.

    A recurring fee or a tax has its pointer alone: plan version and portion, or the taxed sum.
    """
    table, invoice = tables.invoice_line.c, tables.invoice.c
    row = connection.execute(
        select(tables.invoice_line, invoice.currency)
        .join_from(tables.invoice_line, tables.invoice)
        .where(table.invoice_id == invoice_id, table.line == line)
    ).first()
    if row is None:
        raise LookupError(f"invoice {invoice_id} has no line {line}")
    pointer = json.loads(row.evidence)
    is_metered = row.kind in (USAGE, ADJUSTMENT) and row.meter_id
    return LineEvidence(
        invoice_id,
        line,
        row.kind,
        row.description,
        row.quantity,
        row.amount_minor,
        row.currency,
        pointer,
        _charges(connection, pointer) if is_metered else (),
        _days(connection, pointer) if is_metered else (),
        usage.sessions(
            pointer["rating_key"],
            pointer["meter_id"],
            pointer["period_start_at"],
            pointer["period_end_at"],
        )
        if is_metered and usage
        else None,
    )


def _charges(connection: Connection, pointer: Mapping[str, Any]) -> list[UsageCharge]:
    """Return the totals of the pointer's counter up to its revision, oldest first."""
    table = tables.usage_charge.c
    query = (
        select(*(table[field.name] for field in dataclasses.fields(UsageCharge)))
        .where(
            table.rating_key == pointer["rating_key"],
            table.period_start_at == pointer["period_start_at"],
            table.segment_number == pointer["segment_number"],
            table.meter_id == pointer["meter_id"],
            table.revision <= pointer["revision"],
        )
        .order_by(table.revision)
    )
    return [UsageCharge(*row) for row in connection.execute(query)]


def _days(connection: Connection, pointer: Mapping[str, Any]) -> list[UsageDay]:
    """Return the days of the pointer's counter, by day and revision."""
    table = tables.usage_day.c
    query = (
        select(*(table[field.name] for field in dataclasses.fields(UsageDay)))
        .where(
            table.rating_key == pointer["rating_key"],
            table.period_start_at == pointer["period_start_at"],
            table.segment_number == pointer["segment_number"],
            table.meter_id == pointer["meter_id"],
        )
        .order_by(table.day_on, table.revision)
    )
    return [UsageDay(*row) for row in connection.execute(query)]
