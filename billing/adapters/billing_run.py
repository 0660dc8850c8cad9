"""The billing run: from closed periods to finalized invoices, once per account and period.

Each (account, period) is made in one transaction, together with a few others' for the sake of one
commit; what is final is never looked at again, so the run may die anywhere and be started again.
A period with an incomplete closing stays a draft until a clerk releases it, or until rate closes it
anew as complete.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, select

from billing.adapters import tables
from billing.adapters.charges import over_periods_of_charges, waiting_charges
from billing.adapters.databases import reading, upsert, writing
from billing.adapters.invoice_inputs import (
    DuePeriod,
    due_periods,
    newest_closing_at,
    period_state,
    read_inputs,
)
from billing.adapters.invoices import finalize, save_draft
from billing.adapters.notes import departed_with_late_usage, draft_notes
from billing.adapters.services import over_periods_of_services, service_charges
from billing.adapters.usage_postings import newest_day_at, post_days, unposted_days
from billing.config import BillingConfig
from billing.invoices import InvoiceDraft, OutdatedDraftError, draft_invoice
from billing.tax_rules import unknown_codes

LOG = logging.getLogger(__name__)

FINALIZED = "invoices_finalized"
NOTED = "notes_finalized"
HELD = "invoices_held"
WAITING = "periods_waiting"

_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000


def run_billing(engine: Engine, config: BillingConfig, now_ms: int) -> Counter[str]:
    """Finalize or draft what has closed, at most invoices_per_run; return counts by metric name.

    Waiting periods (a rating key has not closed yet) are looked at again with its closing. Accounts
    with services and no rate plan are looked for once an hour: their periods end with the clock.
    """
    counts: Counter[str] = Counter()
    with reading(engine) as connection:
        position = read_cursor(connection, "billing")
        since_at = position - config.closing_overlap_days * _DAY_MS
        newest_at = newest_closing_at(connection)
        due = [*_released(connection), *due_periods(connection, since_at)]
        due += over_periods_of_charges(connection, now_ms)
        looks_at_services = now_ms // _HOUR_MS > read_cursor(connection, "services") // _HOUR_MS
        if looks_at_services:
            due += over_periods_of_services(connection, now_ms)
    for group in _groups(list(dict.fromkeys(due)), config.invoices_per_transaction):
        left = config.invoices_per_run - counts[FINALIZED]
        if left <= 0:
            return counts
        with reading(engine) as connection:
            plans = [plan_period(connection, period, config) for period in group[:left]]
        done = _carry_out(engine, plans, config, now_ms)
        counts.update(plan.outcome for plan in done if plan.outcome)
        if left < len(group):
            return counts
    if newest_at is not None and newest_at > position:
        with writing(engine) as connection:
            move_cursor(connection, "billing", newest_at)
    if looks_at_services:
        with writing(engine) as connection:
            move_cursor(connection, "services", now_ms)
    issue_notes(engine, config, counts, now_ms)
    return counts


def _groups(due: Sequence[DuePeriod], size: int) -> Iterator[list[DuePeriod]]:
    """Yield the periods in order, in groups of at most `size` and of each account only one.

    What an account owes for a period depends on what its invoice before has asked for.
    """
    group: list[DuePeriod] = []
    accounts: set[str] = set()
    for period in due:
        if len(group) == size or period.account_id in accounts:
            yield group
            group, accounts = [], set()
        group.append(period)
        accounts.add(period.account_id)
    if group:
        yield group


def issue_notes(engine: Engine, config: BillingConfig, counts: Counter[str], now_ms: int) -> None:
    """Finalize the notes of accounts that have left, within invoices_per_run; add to counts.

    A period is over for those who have left once anybody's closing was written after its end;
    where nobody is left to close, closing_overlap_days later. Looked at once per hour of that.
    """
    with reading(engine) as connection:
        newest_at = newest_closing_at(connection)
        if newest_at is None:
            return
        over_at = max(newest_at, now_ms - config.closing_overlap_days * _DAY_MS)
        if over_at // _HOUR_MS <= read_cursor(connection, "notes") // _HOUR_MS:
            return
        accounts = departed_with_late_usage(connection, now_ms)
    for account_id in accounts:
        if counts[FINALIZED] + counts[NOTED] >= config.invoices_per_run:
            return
        with reading(engine) as connection:
            notes = draft_notes(connection, account_id, over_at)
        done = _carry_out(engine, [PeriodPlan(NOTED, tuple(notes))], config, now_ms)
        counts[NOTED] += sum(len(plan.finalize) for plan in done)
    with writing(engine) as connection:
        move_cursor(connection, "notes", over_at)


def _carry_out(
    engine: Engine, plans: Sequence[PeriodPlan], config: BillingConfig, now_ms: int
) -> Sequence[PeriodPlan]:
    """Write what plans say, in one transaction; return those that were not outdated.

    Where one is, each has its own transaction, and the next run makes that one anew: so two
    offices at once, or a clerk beside one, change nothing twice.
    """
    if not any(plan.finalize or plan.hold for plan in plans):
        return plans
    try:
        with writing(engine) as connection:
            for plan in plans:
                carry_out(connection, plan, config, now_ms)
    except OutdatedDraftError as outdated:
        if len(plans) > 1:
            return [p for plan in plans for p in _carry_out(engine, [plan], config, now_ms)]
        LOG.info("made anew by the next run: %s", outdated)
        return []
    return plans


@dataclasses.dataclass(frozen=True, slots=True)
class PeriodPlan:
    """What to do about one account's period: drafts to finalize, drafts to hold and why.

    outcome is FINALIZED, HELD (a draft waits for a clerk), WAITING (for a rating key's closing) or
    empty: there is nothing to ask for.
    """

    outcome: str
    finalize: tuple[InvoiceDraft, ...] = ()
    hold: tuple[InvoiceDraft, ...] = ()
    hold_reason: str = ""


def plan_period(
    connection: Connection, due: DuePeriod, config: BillingConfig | None = None
) -> PeriodPlan:
    """Return what to do about an account's period; writes nothing.

    It may read in another transaction than the one that carries it out: only the office writes
    invoices, and what a closing says does not change under it, or is closed anew later.
    """
    state = period_state(connection, due)
    if state.missing:
        return PeriodPlan(WAITING)
    charges = waiting_charges(connection, due.account_id, due.period_end_at)
    config = config or BillingConfig()
    owed = service_charges(connection, due, config.service_corrections_days)
    inputs_of = read_inputs(connection, due, state.closed_at, charges, owed)
    drafts = [draft_invoice(inputs) for inputs in inputs_of]
    unknown = sorted({code for draft in drafts for code in unknown_codes(draft.taxes)})
    problems = [*state.problems, *(f"no rate of tax code {code} is known" for code in unknown)]
    hold_reason = "; ".join(problems)
    final: list[InvoiceDraft] = []
    held: list[InvoiceDraft] = []
    outcome = ""
    for draft in drafts:
        found = _standing(connection, draft.invoice_id)
        if found and found.status != "draft":
            continue
        if not hold_reason or (found is not None and not found.hold_reason):
            final.append(draft)
            outcome = outcome or FINALIZED
            continue
        outcome = HELD
        if found is None or (found.hash, found.hold_reason) != (draft.hash, hold_reason):
            held.append(draft)
    return PeriodPlan(outcome, tuple(final), tuple(held), hold_reason)


def carry_out(connection: Connection, plan: PeriodPlan, config: BillingConfig, now_ms: int) -> None:
    """Write what a plan says, all inside the caller's transaction.

    OutdatedDraftError where an invoice became final, or a charge was withdrawn, since it was made.
    """
    for draft in plan.finalize:
        terms_days = config.payment_terms_days
        finalize(connection, draft, now_ms=now_ms, payment_terms_days=terms_days)
    for draft in plan.hold:
        save_draft(connection, draft, plan.hold_reason)


def post_usage(engine: Engine, config: BillingConfig, now_ms: int) -> int:
    """Post new usage days to the ledger, at most postings_per_run; return how many were new."""
    with reading(engine) as connection:
        position = read_cursor(connection, "usage_day")
        since_at = position - config.posting_overlap_hours * _HOUR_MS
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
    row = upsert(connection, tables.office_cursor).values(name=name, position=position)
    connection.execute(
        row.on_conflict_do_update(index_elements=["name"], set_={"position": position})
    )


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
