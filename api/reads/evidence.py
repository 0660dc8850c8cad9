"""What an invoice line is made of: its price, days, sessions of a day, minutes, rated rows."""

from __future__ import annotations

import dataclasses
import datetime
from collections import defaultdict
from typing import Any, Literal
from urllib.parse import urlencode

from sqlalchemy import Connection

from api.instants import MINUTE_MS, day_start, to_text
from api.models.billing import (
    Evidence,
    EvidencePiece,
    InvoiceDetail,
    InvoiceLine,
    Price,
    PriceStep,
    RatedUsage,
)
from api.models.usage import FlowQuality
from api.models.values import Money
from api.ports import EvidenceFilter, EvidenceRow, Services, UsageFilter
from api.problems import invalid_parameter, not_found
from api.reads.billing import get_invoice
from api.reads.usage import quality_of
from billing.adapters.evidence import LineEvidence, explain_line
from billing.explanation import exact_text
from rating.money import decode_exact, to_minor

Level = Literal["day", "session", "minute", "row"]

_NEXT: dict[Level, Level | None] = {
    "day": "session",
    "session": "minute",
    "minute": "row",
    "row": None,
}

ROWS_MAX = 1_000
"""Most rated rows of one minute that are shown."""


@dataclasses.dataclass(frozen=True)
class EvidencePlace:
    """Which piece of which line is asked about; on, session_id and minute_at narrow it."""

    invoice_id: str
    line: int
    level: Level
    on: datetime.date | None = None
    session_id: str | None = None
    minute_at: int | None = None


@dataclasses.dataclass(frozen=True)
class EvidencePlan:
    """What the business database knows of a place, and which rated rows stand behind it."""

    place: EvidencePlace
    line: LineEvidence
    which: EvidenceFilter

    @property
    def is_counted(self) -> bool:
        """Return whether the pieces of this level have the meter's quantity.

        Rating counts what the sessions of a minute moved in one row, which is no session's.
        """
        by_session = self.place.level == "session" or self.place.session_id is not None
        return self.line.is_per_session or not by_session


def plan_evidence(
    connection: Connection, branch_id: str | None, place: EvidencePlace
) -> EvidencePlan:
    """Return what is known of a place; 404 where there is no such line, or no usage behind it."""
    invoice = get_invoice(connection, branch_id, place.invoice_id)
    find_line(invoice, place.line)
    try:
        line = explain_line(connection, place.invoice_id, place.line)
    except LookupError:
        what = "metered usage behind invoice line"
        raise not_found(what, f"{place.invoice_id}/{place.line}") from None
    start, end = _range(line, place)
    which = EvidenceFilter(
        rating_key=line.pointer["rating_key"],
        from_at=start,
        until_at=end,
        timezone=line.timezone,
        meter_id=line.pointer["meter_id"],
        session_id=place.session_id,
    )
    return EvidencePlan(place, line, which)


def _range(line: LineEvidence, place: EvidencePlace) -> tuple[int, int]:
    """Return the place's range in ms; a 422 Problem where it is outside the line's."""
    start, end = line.from_at, line.until_at
    if place.level == "row" and place.minute_at is None:
        raise invalid_parameter("minute", None, "the minute whose rated rows are asked for")
    if place.on is not None:
        start = max(start, day_start(place.on, line.timezone))
        end = min(end, day_start(place.on + datetime.timedelta(days=1), line.timezone))
        if start >= end:
            raise invalid_parameter("on", place.on.isoformat(), "a day that the line bills")
    if place.minute_at is not None:
        first = place.minute_at // MINUTE_MS * MINUTE_MS
        if not start <= first < end:
            raise invalid_parameter("minute", to_text(first), "a minute that the line bills")
        start, end = first, first + MINUTE_MS
    return start, end


def find_line(invoice: InvoiceDetail, number: int) -> InvoiceLine:
    """Return a line of an invoice by its number, or raise a 404 Problem."""
    for line in invoice.lines:
        if line.line == number:
            return line
    raise not_found("invoice line", f"{invoice.invoice_id}/{number}")


def evidence_of(services: Services, plan: EvidencePlan) -> Evidence:
    """Return the evidence, with what the warehouse has; each piece leads one level deeper."""
    place = plan.place
    head: dict[str, Any] = {
        "invoice_id": place.invoice_id,
        "line": place.line,
        "level": place.level,
    }
    if place.level == "row":
        rows = services.usage.rated_rows(plan.which, ROWS_MAX)
        rows.sort(key=lambda row: (row.log_partition, row.log_position, row.meter_id != "volume"))
        return Evidence(**head, rows=[RatedUsage(**dataclasses.asdict(row)) for row in rows])
    pieces = services.usage.evidence(plan.which, place.level)
    if place.level != "day":
        found = [_piece(row, place) for row in pieces]
        return Evidence(**head, pieces=found if plan.is_counted else _octets_only(found))
    quality = _flow_quality(services, plan) if plan.line.source == "flows" else None
    price, days = price_of(plan.line), _days(plan, pieces)
    return Evidence(**head, price=price, pieces=days, flow_quality=quality)


def _flow_quality(services: Services, plan: EvidencePlan) -> FlowQuality | None:
    """Return how sure the flows behind the whole line are, None where none are known."""
    which = UsageFilter(plan.line.from_at, plan.line.until_at, rating_keys=[plan.which.rating_key])
    found = services.usage.flow_quality(which, "range", plan.line.timezone)
    return quality_of(found[0]) if found else None


def _octets_only(pieces: list[EvidencePiece]) -> list[EvidencePiece]:
    """Return pieces without the meter's quantity: zero would say that nothing was used."""
    return [piece.model_copy(update={"quantity": None}) for piece in pieces]


def ledger_evidence(plan: EvidencePlan) -> Evidence:
    """Return the price and the days that the business database knows, without the warehouse."""
    place = plan.place
    return Evidence(
        invoice_id=place.invoice_id,
        line=place.line,
        level="day",
        price=price_of(plan.line),
        pieces=_days(plan, []),
    )


def price_of(line: LineEvidence) -> Price:
    """Return how the line's price comes about."""
    pointer, currency = line.pointer, line.currency
    exact = decode_exact(pointer["amount_exact"])
    before = None
    if "amount_exact_before" in pointer:
        billed = to_minor(decode_exact(pointer["amount_exact_before"]), currency)
        before = Money.of(billed, currency)
    return Price(
        plan_id=pointer["plan_id"],
        plan_version=pointer["plan_version"],
        plan_name=line.plan_name,
        from_at=line.from_at,
        until_at=line.until_at,
        quantity=pointer["quantity"],
        unit=line.unit,
        steps=[
            PriceStep(
                text=step.text,
                amount=None if step.amount is None else exact_text(step.amount, currency),
            )
            for step in line.steps
        ],
        amount_exact=exact_text(exact, currency),
        rounded=Money.of(to_minor(exact, currency), currency),
        billed_before=before,
    )


def _days(plan: EvidencePlan, rows: list[EvidenceRow]) -> list[EvidencePiece]:
    """Return the line's days: what the ledger posted, beside the octets of the warehouse."""
    amounts: dict[str, int] = defaultdict(int)
    quantities: dict[str, int] = {}
    for day in plan.line.days:
        amounts[day.day_on] += day.amount_minor
        quantities[day.day_on] = day.quantity
    known = {row.key: row for row in rows}
    for day_on in amounts.keys() - known.keys():
        on = datetime.date.fromisoformat(day_on)
        start = day_start(on, plan.line.timezone)
        end = day_start(on + datetime.timedelta(days=1), plan.line.timezone)
        known[day_on] = EvidenceRow(day_on, start, end, 0, 0, quantities[day_on], 0)
    pieces = [_piece(known[key], plan.place) for key in sorted(known)]
    currency = plan.line.currency
    return [
        piece.model_copy(update={"amount": Money.of(amounts[piece.key], currency)})
        if piece.key in amounts
        else piece
        for piece in pieces
    ]


def _piece(row: EvidenceRow, place: EvidencePlace) -> EvidencePiece:
    deeper = _NEXT[place.level]
    query = {"level": deeper, "on": place.on, "session_id": place.session_id}
    if place.level == "day":
        query["on"] = row.key
    elif place.level == "session":
        query["session_id"] = row.key
    else:
        query["minute"] = to_text(row.first_at)
    given = {name: value for name, value in query.items() if value is not None}
    path = f"/v1/invoices/{place.invoice_id}/lines/{place.line}/evidence"
    return EvidencePiece(**dataclasses.asdict(row), next_url=f"{path}?{urlencode(given)}")
