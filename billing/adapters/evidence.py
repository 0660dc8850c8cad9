"""Why an invoice line is what it is: its price step by step, its total at closing, its days.

All of it is rows of the business database. Sessions, minutes and log positions are rated usage in
the warehouse; `LineEvidence` says which of it stands behind the line (window, rating key, meter).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from billing.accounts import Subscription
from billing.adapters import tables
from billing.adapters.repositories import find_plan
from billing.explanation import Part, PriceStep, explain_adjustment, explain_price
from billing.invoices import ADJUSTMENT, USAGE
from billing.proration import local_day
from rating.directory import MEMBERSHIP
from rating.money import decode_exact
from rating.periods import Period
from rating.plans import Meter, Plan, decode_plan, measured_by
from rating.rows import UsageCharge, UsageDay
from rating.segments import HistoryEvent, Segment, calendar_share, plan_cuts, segments_of

METERED = frozenset({USAGE, ADJUSTMENT})
"""Kinds of lines that may stand on metered usage."""


@dataclasses.dataclass(frozen=True, slots=True)
class LineEvidence:
    """What stands behind a line of metered usage.

    pointer is the evidence that the document itself carries. steps lead from the quantity to the
    exact price. charges are the totals, revision by revision, up to the one that was billed. days
    are what the ledger posted for the line. Its usage lies in [from_at, until_at) ms; timezone is
    the branch's. is_per_session says that each session is priced by itself, so that the meter's
    rated rows name it; else they are of a minute, whatever the sessions. source says whether
    ``accounting`` or ``flows`` measured it.
    """

    invoice_id: str
    line: int
    kind: str
    description: str
    unit: str
    quantity: int
    amount_minor: int
    currency: str
    timezone: str
    plan_name: str
    pointer: Mapping[str, Any]
    steps: Sequence[PriceStep]
    charges: Sequence[UsageCharge]
    days: Sequence[UsageDay]
    from_at: int
    until_at: int
    is_per_session: bool
    source: str

    @property
    def days_minor(self) -> int:
        """Return the days' sum; it may differ from the line by cents, which the true-up posts."""
        return sum(day.amount_minor for day in self.days)


def explain_line(connection: Connection, invoice_id: str, line: int) -> LineEvidence:
    """Return the evidence of an invoice line.

    LookupError: no such line, or one without metered usage (a recurring fee, a tax).
    """
    row = _line(connection, invoice_id, line)
    if row is None or row.kind not in METERED or not row.meter_id:
        raise LookupError(f"invoice {invoice_id} has no metered line {line}")
    pointer = json.loads(row.evidence)
    plan = _plan(connection, pointer)
    meter = _meter(plan, pointer)
    period = _period(pointer, row.timezone)
    segment = _segment(connection, pointer, period)
    charges = _charges(connection, pointer)
    return LineEvidence(
        invoice_id=invoice_id,
        line=line,
        kind=row.kind,
        description=row.description,
        unit=row.unit,
        quantity=row.quantity,
        amount_minor=row.amount_minor,
        currency=row.currency,
        timezone=row.timezone,
        plan_name=plan.name if plan else pointer["plan_id"],
        pointer=pointer,
        steps=_steps(plan, meter, pointer, segment, row.timezone),
        charges=charges,
        days=_days(connection, pointer, charges),
        from_at=segment.start_at if segment else period.start_at,
        until_at=segment.end_at if segment else period.end_at,
        is_per_session=meter is not None and (meter.scope == "session" or meter.unit == "sessions"),
        source=measured_by(plan) if plan else "accounting",
    )


def _line(connection: Connection, invoice_id: str, line: int) -> Any:
    """Return a line with its invoice's currency and its branch's time zone, or None."""
    table = tables.invoice_line.c
    return connection.execute(
        select(tables.invoice_line, tables.invoice.c.currency, tables.branch.c.timezone)
        .join_from(tables.invoice_line, tables.invoice)
        .join(tables.branch)
        .where(table.invoice_id == invoice_id, table.line == line)
    ).first()


def _plan(connection: Connection, pointer: Mapping[str, Any]) -> Plan | None:
    """Return the plan version that priced the line."""
    found = find_plan(connection, pointer["plan_id"], pointer["plan_version"])
    return decode_plan(found.document) if found else None


def _meter(plan: Plan | None, pointer: Mapping[str, Any]) -> Meter | None:
    """Return the plan's meter that counted the line."""
    meters = plan.meters if plan else ()
    return next((meter for meter in meters if meter.meter_id == pointer["meter_id"]), None)


def _steps(
    plan: Plan | None,
    meter: Meter | None,
    pointer: Mapping[str, Any],
    segment: Segment | None,
    timezone: str,
) -> list[PriceStep]:
    """Return the steps from the counted quantity to its exact price."""
    amount = decode_exact(pointer["amount_exact"])
    if plan is not None and meter is None:
        for adjustment in plan.adjustments:
            if adjustment.adjustment_id == pointer["meter_id"]:
                return explain_adjustment(plan, adjustment, amount)
    if plan is None or meter is None:
        return [PriceStep("as rating priced it", amount)]
    part = _part(plan, segment, timezone) if segment else Part()
    return explain_price(plan, meter, part, pointer["quantity"], amount)


def _part(plan: Plan, segment: Segment, timezone: str) -> Part:
    """Return the part of its period that a segment covers, as rating prorates it."""
    period = segment.period
    share = calendar_share(plan.proration, timezone, period, segment.start_at, segment.end_at)
    first_on = local_day(segment.start_at, timezone)
    days = (local_day(segment.end_at, timezone) - first_on).days
    return Part(share, days, period.days)


def _period(pointer: Mapping[str, Any], timezone: str) -> Period:
    start_at, end_at = pointer["period_start_at"], pointer["period_end_at"]
    return Period(start_at, end_at, local_day(start_at, timezone), local_day(end_at, timezone))


def _segment(connection: Connection, pointer: Mapping[str, Any], period: Period) -> Segment | None:
    """Return the stretch of the period that the line bills, from the business rows.

    Rate keeps the history that it was told; the same facts are subscriptions and memberships.
    None where they do not give a segment of that number on that plan: then the whole period
    stands for it.
    """
    history = [
        *_plan_history(connection, pointer["rating_key"]),
        *_member_history(connection, pointer["rating_key"]),
    ]
    history.sort(key=lambda event: (event.effective_at, event.kind != "subscription_ended"))
    wanted = f"{pointer['plan_id']}|{pointer['plan_version']}"
    for segment in segments_of(plan_cuts(history), period):
        if (segment.number, segment.plan_ref) == (pointer["segment_number"], wanted):
            return segment
    return None


def _plan_history(connection: Connection, rating_key: str) -> list[HistoryEvent]:
    """Return the starts and ends of a rating key's subscriptions."""
    table = tables.subscription.c
    query = select(*(table[field.name] for field in dataclasses.fields(Subscription)))
    events: list[HistoryEvent] = []
    for row in connection.execute(query.where(table.rating_key == rating_key)):
        plan_ref = f"{row.plan_id}|{row.plan_version}"
        name = row.subscription_id
        events.append(
            HistoryEvent(row.starts_at, row.starts_at, name, "subscription_started", plan_ref)
        )
        if row.ends_at is not None:
            events.append(HistoryEvent(row.ends_at, row.ends_at, name, "subscription_ended"))
    return events


def _member_history(connection: Connection, rating_key: str) -> list[HistoryEvent]:
    """Return when subscribers began and ceased to count under a rating key."""
    entry = tables.directory_entry.c
    query = (
        select(entry.entry_id, entry.valid_from_at, entry.valid_until_at)
        .where(entry.kind == MEMBERSHIP, entry.target == rating_key)
        .order_by(entry.entry_id, entry.revision)
    )
    newest = {row.entry_id: row for row in connection.execute(query)}
    events: list[HistoryEvent] = []
    for name, row in newest.items():
        events.append(HistoryEvent(row.valid_from_at, row.valid_from_at, name, "pool_joined"))
        if row.valid_until_at is not None:
            until_at = row.valid_until_at
            events.append(HistoryEvent(until_at, until_at, name, "pool_left"))
    return events


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


def _days(
    connection: Connection, pointer: Mapping[str, Any], charges: Sequence[UsageCharge]
) -> list[UsageDay]:
    """Return the days that were posted for the line, by day and revision.

    A late line stands on what was posted behind the line before it.
    """
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
    billed = [charge for charge in charges if charge.revision == pointer["revision"]]
    if billed:
        query = query.where(table.posted_at <= billed[0].closed_at)
    if "quantity_before" in pointer and len(charges) > 1:
        query = query.where(table.posted_at > charges[-2].closed_at)
    return [UsageDay(*row) for row in connection.execute(query)]
