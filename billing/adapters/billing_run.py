"""The billing run: from closed periods to finalized invoices, once per account and period.

Each (account, period) is one transaction, and what is final is never looked at again, so the run
may die anywhere and be started again. A period with an incomplete closing stays a draft until a
clerk releases it, or until rate closes it anew as complete.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Connection, Engine, select, update

from billing.adapters import tables
from billing.adapters.invoice_inputs import (
    DuePeriod,
    due_periods,
    newest_closing_at,
    period_state,
    read_inputs,
)
from billing.adapters.invoices import finalize, save_draft
from billing.adapters.sqlite import reading, writing
from billing.adapters.usage_postings import newest_day_at, post_days, unposted_days
from billing.config import BillingConfig
from billing.invoices import draft_invoice

FINALIZED = "invoices_finalized"
HELD = "invoices_held"
WAITING = "periods_waiting"
POSTED = "usage_days_posted"


def run_billing(engine: Engine, config: BillingConfig, now_ms: int) -> Counter[str]:
    """Finalize or draft what has closed, at most invoices_per_run; return counts by metric name.

    Waiting periods (a rating key has not closed yet) are looked at again with its closing.
    """
    counts: Counter[str] = Counter()
    with reading(engine) as connection:
        position = read_cursor(connection, "billing")
        since_at = position - config.closing_overlap_days * 86_400_000
        newest_at = newest_closing_at(connection)
        due = [*_released(connection), *due_periods(connection, since_at)]
    for period in dict.fromkeys(due):
        if counts[FINALIZED] >= config.invoices_per_run:
            return counts
        with reading(engine) as connection:
            is_waiting = bool(period_state(connection, period).missing)
        if is_waiting:
            counts[WAITING] += 1
            continue
        with writing(engine) as connection:
            counts[bill_period(connection, period, config, now_ms)] += 1
    if newest_at is not None and newest_at > position:
        with writing(engine) as connection:
            move_cursor(connection, "billing", newest_at)
    return counts


def bill_period(connection: Connection, due: DuePeriod, config: BillingConfig, now_ms: int) -> str:
    """Bill one account's period inside the caller's transaction; return what came of it.

    One of FINALIZED, HELD (a draft waits for a clerk), WAITING (for a rating key's closing).
    """
    state = period_state(connection, due)
    if state.missing:
        return WAITING
    drafts = [draft_invoice(i) for i in read_inputs(connection, due, state.closed_at)]
    hold_reason = "; ".join(state.problems)
    for draft in drafts:
        found = _standing(connection, draft.invoice_id)
        if found and found.status != "draft":
            continue
        is_released = found is not None and not found.hold_reason
        if hold_reason and not is_released:
            if found is None or (found.hash, found.hold_reason) != (draft.hash, hold_reason):
                save_draft(connection, draft, hold_reason)
        else:
            terms_days = config.payment_terms_days
            finalize(connection, draft, now_ms=now_ms, payment_terms_days=terms_days)
    standing = [_standing(connection, draft.invoice_id) for draft in drafts]
    return HELD if any(row and row.status == "draft" for row in standing) else FINALIZED


def post_usage(engine: Engine, config: BillingConfig, now_ms: int) -> int:
    """Post new usage days to the ledger, at most postings_per_run; return how many were new."""
    with reading(engine) as connection:
        position = read_cursor(connection, "usage_day")
        since_at = position - config.posting_overlap_hours * 3_600_000
        newest_at = newest_day_at(connection)
        days = unposted_days(connection, posted_since_at=since_at, limit=config.postings_per_run)
    if newest_at is None:
        return 0
    posted = 0
    if days or newest_at > position:
        with writing(engine) as connection:
            posted = post_days(connection, days, now_ms)
            if len(days) < config.postings_per_run:
                move_cursor(connection, "usage_day", newest_at)
    return posted


def read_cursor(connection: Connection, name: str) -> int:
    """Return how far the office has read a table (ms); 0 where it never did."""
    table = tables.office_cursor.c
    position = connection.scalar(select(table.position).where(table.name == name))
    return int(position or 0)


def move_cursor(connection: Connection, name: str, position: int) -> None:
    """Remember how far the office has read a table (ms)."""
    table = tables.office_cursor
    changed = connection.execute(
        update(table).where(table.c.name == name).values(position=position)
    )
    if not changed.rowcount:
        connection.execute(table.insert(), [{"name": name, "position": position}])


def _released(connection: Connection) -> list[DuePeriod]:
    """Return the periods of drafts that a clerk released."""
    invoice = tables.invoice.c
    query = select(invoice.account_id, invoice.period_start_at, invoice.period_end_at).where(
        invoice.status == "draft", invoice.hold_reason == ""
    )
    return [DuePeriod(*row) for row in connection.execute(query)]


def _standing(connection: Connection, invoice_id: str) -> Any:
    """Return status, hold_reason and hash of an invoice, or None where it does not exist."""
    invoice = tables.invoice.c
    query = select(invoice.status, invoice.hold_reason, invoice.hash)
    return connection.execute(query.where(invoice.invoice_id == invoice_id)).first()
