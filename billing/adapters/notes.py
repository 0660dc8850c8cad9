"""Debit and credit notes: late usage of an account that has left.

Late usage stands on the next invoice. An account whose last subscription has ended gets none, so
for each of its periods without a subscription a note takes what was written late until the
period's end. Like an invoice's, its cut is in the data: when a run looks does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, select

from billing.accounts import Account, Branch, calendar_of
from billing.adapters import tables
from billing.adapters.invoice_inputs import (
    DuePeriod,
    LatePair,
    is_invoiced,
    late_charges,
    read_note_inputs,
)
from billing.adapters.repositories import find, runs_on, subscriptions_in
from billing.invoices import InvoiceDraft, draft_invoice
from rating.periods import next_period, period_at

_EVER = 2**62


def departed_with_late_usage(connection: Connection, now_ms: int) -> list[str]:
    """Return accounts with unbilled late revisions and no subscription that runs or will, by id.

    Reads all revisions of all periods: not for every run (`billing_run`).
    """
    charge, billed = tables.usage_charge.c, tables.billed_charge.c
    ended = tables.subscription
    key = ("rating_key", "period_start_at", "segment_number", "meter_id", "revision")
    is_billed = (
        select(billed.invoice_id).where(*(billed[name] == charge[name] for name in key)).exists()
    )
    goes_on = runs_on(ended.c.account_id, now_ms)
    query = (
        select(ended.c.account_id)
        .distinct()
        .join_from(tables.usage_charge, ended, ended.c.rating_key == charge.rating_key)
        .where(charge.revision > 0, ~is_billed, ~goes_on)
        .order_by(ended.c.account_id)
    )
    return list(connection.scalars(query))


def draft_notes(connection: Connection, account_id: str, over_at: int) -> list[InvoiceDraft]:
    """Return the notes that an account is due for its periods that ended by over_at (ms).

    While an invoice of the account is still to come, its late usage waits for that one.
    LookupError: no such account.
    """
    account = find(connection, Account, account_id)
    branch = find(connection, Branch, account.branch_id) if account else None
    if account is None or branch is None:
        raise LookupError(f"{account_id} does not exist")
    left = late_charges(connection, account_id, _EVER, _EVER)
    if not left:
        return []
    notes: list[InvoiceDraft] = []
    calendar = calendar_of(account, branch)
    period = period_at(calendar, min(charge.closed_at for charge, _ in left) // 60_000)
    while period.end_at <= over_at:
        due = DuePeriod(account_id, period.start_at, period.end_at)
        invoiced = is_invoiced(connection, due)
        if subscriptions_in(connection, account_id, period.start_at, period.end_at):
            if not invoiced:
                break
        elif not invoiced:
            written = [pair for pair in left if pair[0].closed_at < period.end_at]
            found = _notes_of(connection, due, written)
            notes += found
            noted = {late.charge for note in found for late in note.inputs.late}
            left = [pair for pair in left if pair[0] not in noted]
        period = next_period(calendar, period)
    return notes


def _notes_of(
    connection: Connection, due: DuePeriod, written: Sequence[LatePair]
) -> list[InvoiceDraft]:
    """Return the notes of one period; none for what comes to nothing counter by counter."""
    return [
        draft_invoice(inputs)
        for inputs in read_note_inputs(connection, due, written)
        if _changes_something([(late.charge, late.before) for late in inputs.late])
    ]


def _changes_something(pairs: Sequence[LatePair]) -> bool:
    """Return whether the revisions of any counter add up to money."""
    sums: Counter[tuple[str, int, int, str]] = Counter()
    for charge, before in pairs:
        key = (charge.rating_key, charge.period_start_at, charge.segment_number, charge.meter_id)
        sums[key] += charge.amount_minor - (before.amount_minor if before else 0)
    return any(sums.values())
