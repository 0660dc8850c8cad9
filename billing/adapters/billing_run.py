"""The billing run: from closed periods to finalized invoices, once per account and period.

Each (account, period) is one transaction, and what is final is never looked at again, so the run
may die anywhere and be started again. A period with an incomplete closing stays a draft until a
clerk releases it, or until rate closes it anew as complete.
"""

from __future__ import annotations

from collections import Counter

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
EMPTY = "periods_empty"
POSTED = "usage_days_posted"


def run_billing(engine: Engine, config: BillingConfig, now_ms: int) -> Counter[str]:
    """Finalize or draft what has closed, at most invoices_per_run; return counts by metric name.

    Waiting periods (a rating key has not closed yet) are looked at again with its closing.
    """
    counts: Counter[str] = Counter()
    with reading(engine) as connection:
        since_at = read_cursor(connection, "billing") - config.scan_overlap_seconds * 1000
        newest_at = newest_closing_at(connection)
        due = [*_released(connection), *due_periods(connection, since_at)]
    for period in dict.fromkeys(due):
        if counts[FINALIZED] >= config.invoices_per_run:
            return counts
        with writing(engine) as connection:
            counts[bill_period(connection, period, config, now_ms)] += 1
    if newest_at is not None:
        with writing(engine) as connection:
            move_cursor(connection, "billing", newest_at)
    return counts


def bill_period(connection: Connection, due: DuePeriod, config: BillingConfig, now_ms: int) -> str:
    """Bill one account's period inside the caller's transaction; return what came of it.

    One of FINALIZED, HELD (a draft waits for a clerk), WAITING, EMPTY (nothing to invoice).
    """
    state = period_state(connection, due)
    if state.missing:
        return WAITING
    drafts = [draft_invoice(i) for i in read_inputs(connection, due, state.closed_at)]
    drafts = [draft for draft in drafts if draft.lines]
    if not drafts:
        return EMPTY
    for draft in drafts:
        status, hold_reason = _status(connection, draft.invoice_id)
        if status not in ("", "draft"):
            continue
        is_released = status == "draft" and not hold_reason
        if state.problems and not is_released:
            save_draft(connection, draft, "; ".join(state.problems))
        else:
            terms_days = config.payment_terms_days
            finalize(connection, draft, now_ms=now_ms, payment_terms_days=terms_days)
    return (
        HELD if any(_status(connection, d.invoice_id)[0] == "draft" for d in drafts) else FINALIZED
    )


def post_usage(engine: Engine, config: BillingConfig, now_ms: int) -> int:
    """Post new usage days to the ledger, at most postings_per_run; return how many were new."""
    with reading(engine) as connection:
        since_at = read_cursor(connection, "usage_day") - config.scan_overlap_seconds * 1000
        newest_at = newest_day_at(connection)
        days = unposted_days(connection, posted_since_at=since_at, limit=config.postings_per_run)
    if newest_at is None:
        return 0
    posted = 0
    if days or newest_at > since_at + config.scan_overlap_seconds * 1000:
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


def _status(connection: Connection, invoice_id: str) -> tuple[str, str]:
    """Return (status, hold_reason) of an invoice; empty where it does not exist."""
    invoice = tables.invoice.c
    query = select(invoice.status, invoice.hold_reason).where(invoice.invoice_id == invoice_id)
    row = connection.execute(query).first()
    return (row.status, row.hold_reason) if row else ("", "")
