"""What an invoice line is made of: days, then sessions of a day, then minutes of a session."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Literal
from urllib.parse import urlencode

from sqlalchemy import Connection, func, select

from api.instants import day_start
from api.models.billing import Evidence, EvidencePiece, InvoiceDetail, InvoiceLine
from api.ports import EvidenceFilter, EvidenceRow, Services
from api.problems import invalid_parameter, not_found
from api.reads.billing import get_invoice
from api.reads.parties import get_branch
from billing.adapters import tables

Level = Literal["day", "session", "minute"]

_NEXT: dict[Level, Level | None] = {"day": "session", "session": "minute", "minute": None}


@dataclasses.dataclass(frozen=True)
class EvidencePlace:
    """Which piece of which line is asked about; on and session_id narrow it."""

    invoice_id: str
    line: int
    level: Level
    on: datetime.date | None = None
    session_id: str | None = None


def plan_evidence(
    connection: Connection, branch_id: str | None, place: EvidencePlace
) -> EvidenceFilter:
    """Return which rated rows stand behind the place; 404 where there is no such line."""
    invoice = get_invoice(connection, branch_id, place.invoice_id)
    line = find_line(invoice, place.line)
    if line.evidence_url is None:
        raise not_found("metered usage behind invoice line", f"{place.invoice_id}/{place.line}")
    branch = get_branch(connection, None, invoice.branch_id)
    start, end = _period_of(invoice, line)
    start, end = _within_segment(connection, line, (start, end), branch.timezone)
    if place.on is not None:
        start = max(start, day_start(place.on, branch.timezone))
        end = min(end, day_start(place.on + datetime.timedelta(days=1), branch.timezone))
        if start >= end:
            raise invalid_parameter("on", place.on.isoformat(), "a day of the invoice's period")
    return EvidenceFilter(
        rating_key=line.rating_key,
        from_at=start,
        until_at=end,
        timezone=branch.timezone,
        meter_id=line.meter_id,
        session_id=place.session_id,
    )


def find_line(invoice: InvoiceDetail, number: int) -> InvoiceLine:
    """Return a line of an invoice by its number, or raise a 404 Problem."""
    for line in invoice.lines:
        if line.line == number:
            return line
    raise not_found("invoice line", f"{invoice.invoice_id}/{number}")


def _period_of(invoice: InvoiceDetail, line: InvoiceLine) -> tuple[int, int]:
    """Return the period the line bills: its own where it bills late usage, else the invoice's."""
    own = line.evidence if isinstance(line.evidence, dict) else {}
    start = own.get("period_start_at", invoice.period_start_at)
    end = own.get("period_end_at", invoice.period_end_at)
    return int(start), int(end)


def _within_segment(
    connection: Connection, line: InvoiceLine, period: tuple[int, int], timezone: str
) -> tuple[int, int]:
    """Narrow a period to the days of the line's segment, where the period has several.

    A plan change or a pool move opens a segment within a day; that day is shown for both.
    """
    own = line.evidence if isinstance(line.evidence, dict) else {}
    day = tables.usage_day.c
    rows = connection.execute(
        select(day.segment_number, func.min(day.day_on), func.max(day.day_on))
        .where(
            day.rating_key == line.rating_key,
            day.meter_id == line.meter_id,
            day.period_start_at == period[0],
        )
        .group_by(day.segment_number)
    ).all()
    if len(rows) < 2:
        return period
    for number, first, last in rows:
        if number == own.get("segment_number"):
            after = datetime.date.fromisoformat(last) + datetime.timedelta(days=1)
            start = day_start(datetime.date.fromisoformat(first), timezone)
            return max(period[0], start), min(period[1], day_start(after, timezone))
    return period


def evidence_of(services: Services, which: EvidenceFilter, place: EvidencePlace) -> Evidence:
    """Return the pieces from the warehouse, each with the way one level deeper."""
    rows = services.usage.evidence(which, place.level)
    return Evidence(
        invoice_id=place.invoice_id,
        line=place.line,
        level=place.level,
        pieces=[_piece(row, place) for row in rows],
    )


def _piece(row: EvidenceRow, place: EvidencePlace) -> EvidencePiece:
    deeper = _NEXT[place.level]
    url = None
    if deeper is not None:
        on = row.key if place.level == "day" else place.on
        query = {"level": deeper, "on": on}
        if place.level == "session":
            query["session_id"] = row.key
        given = {name: value for name, value in query.items() if value is not None}
        path = f"/v1/invoices/{place.invoice_id}/lines/{place.line}/evidence"
        url = f"{path}?{urlencode(given)}"
    return EvidencePiece(**dataclasses.asdict(row), next_url=url)
