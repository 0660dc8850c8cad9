"""Invoices in the database: draft, finalize, release. Each call is part of one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, select, update

from billing.adapters import ledger, tables
from billing.adapters.allocations import OFFICE, settle_from_credit, take_account
from billing.adapters.charges import add_charges, take_charges
from billing.adapters.discounts import record_uses
from billing.adapters.series import take_number
from billing.adapters.terms import due_on_of
from billing.adapters.usage_postings import post_days, unposted_days_of
from billing.allocation import Wanted
from billing.canonical import canonical_json
from billing.invoice_states import DRAFT, next_state
from billing.invoices import InvoiceDraft, OutdatedDraftError
from billing.payments import TopUp, topup_transaction
from billing.postings import invoice_transaction
from billing.proration import local_day
from rating.rows import UsageCharge


def save_draft(connection: Connection, draft: InvoiceDraft, hold_reason: str) -> None:
    """Write or rewrite a draft and its lines; hold_reason says what a clerk must decide.

    A draft that a clerk has released meanwhile stays released. ValueError where the invoice was
    finalized: its document never changes.
    """
    table = tables.invoice.c
    standing = select(table.hold_reason).where(
        table.invoice_id == draft.invoice_id, table.status == "draft"
    )
    if connection.scalar(standing.with_for_update()) == "":
        hold_reason = ""
    _write(connection, draft, {"status": "draft", "hold_reason": hold_reason})


def finalize(
    connection: Connection,
    draft: InvoiceDraft,
    *,
    now_ms: int,
    payment_terms_days: int,
    credit_pays: Sequence[Wanted] = (),
) -> str:
    """Give a draft its number, post it to the ledger, mark its charges billed; return the number.

    The account's credit pays it at once as far as it goes; a negative one becomes credit, which
    pays the invoices in credit_pays first. One transaction holds all of it, so an invoice either
    exists whole or not at all. OutdatedDraftError where it was finalized before.
    """
    branch = draft.inputs.branch
    account_id = draft.inputs.account.account_id
    take_account(connection, account_id)
    number = take_number(connection, branch, draft.series)
    issued_on = local_day(now_ms, branch.timezone)
    due_on = due_on_of(connection, account_id, issued_on, payment_terms_days)
    values = {
        "status": next_state(
            draft.invoice_id,
            DRAFT,
            "finalize" if draft.total_minor > 0 else "finalize what asks for nothing",
        ),
        "hold_reason": "",
        "number": number,
        "issued_at": now_ms,
        "due_on": due_on.isoformat(),
    }
    _write(connection, draft, values)
    _take_charges(connection, draft)
    record_uses(connection, draft)
    true_up, prepaid_true_up = _mark_billed(connection, draft, now_ms)
    posting = invoice_transaction(
        draft, true_up_minor=true_up, prepaid_true_up_minor=prepaid_true_up
    )
    if posting:
        ledger.post_new(connection, posting, now_ms)
    row = {
        "invoice_id": draft.invoice_id,
        "branch_id": branch.branch_id,
        "account_id": account_id,
        "total_minor": draft.total_minor,
        "currency": draft.inputs.currency,
    }
    settle_from_credit(connection, row, OFFICE, now_ms, credit_pays)
    return number


def release_draft(connection: Connection, invoice_id: str) -> bool:
    """Let an incomplete draft be finalized by the next billing run; False where none waits."""
    table = tables.invoice
    changed = connection.execute(
        update(table)
        .where(
            table.c.invoice_id == invoice_id,
            table.c.status == "draft",
            table.c.hold_reason != "",
        )
        .values(hold_reason="")
    )
    return bool(changed.rowcount)


def record_topup(connection: Connection, topup: TopUp, recorded_at: int) -> bool:
    """Post a top-up's money; False for a repeat. The account event is the caller's."""
    return bool(ledger.post(connection, [topup_transaction(topup)], recorded_at))


def _take_charges(connection: Connection, draft: InvoiceDraft) -> None:
    """Write what services owe and give the draft all its charges, or raise OutdatedDraftError."""
    owed = draft.inputs.owed
    if add_charges(connection, owed) != len(owed):
        raise OutdatedDraftError(f"{draft.invoice_id}: what a service owes was billed meanwhile")
    take_charges(connection, [*draft.inputs.charges, *owed], draft.invoice_id)


def _write(connection: Connection, draft: InvoiceDraft, values: Mapping[str, Any]) -> None:
    """Replace the invoice's row and lines. ValueError where it is final.

    The row is changed in place, under its lock: who waits for it (a release, a payment) then sees
    what it has become.
    """
    inputs = draft.inputs
    table, lines = tables.invoice, tables.invoice_line
    is_this = table.c.invoice_id == draft.invoice_id
    status = connection.scalar(select(table.c.status).where(is_this).with_for_update())
    if status not in (None, "draft"):
        raise OutdatedDraftError(f"invoice {draft.invoice_id} is {status} and never changes")
    connection.execute(delete(lines).where(lines.c.invoice_id == draft.invoice_id))
    row = {
        "invoice_id": draft.invoice_id,
        "branch_id": inputs.branch.branch_id,
        "account_id": inputs.account.account_id,
        "series": draft.series,
        "period_start_at": inputs.period_start_at,
        "period_end_at": inputs.period_end_at,
        "currency": inputs.currency,
        "subtotal_minor": draft.subtotal_minor,
        "tax_minor": draft.tax_minor,
        "total_minor": draft.total_minor,
        "hash": draft.hash,
        "document": draft.document,
    }
    if status is None:
        connection.execute(insert(table), [row | dict(values)])
    else:
        connection.execute(update(table).where(is_this).values(row | dict(values)))
    if draft.lines:
        connection.execute(
            insert(lines),
            [
                {
                    "invoice_id": draft.invoice_id,
                    "line": number,
                    "kind": line.kind,
                    "description": line.description,
                    "rating_key": line.rating_key,
                    "meter_id": line.meter_id,
                    "quantity": line.quantity,
                    "unit": line.unit,
                    "amount_minor": line.amount_minor,
                    "tax_rate": line.tax_rate,
                    "income": line.income,
                    "evidence": canonical_json(dict(line.evidence)),
                }
                for number, line in enumerate(draft.lines, 1)
            ],
        )


def _mark_billed(connection: Connection, draft: InvoiceDraft, now_ms: int) -> tuple[int, int]:
    """Write billed_charge; return the true-ups of (unbilled, prepaid) usage, in minor units."""
    billed: dict[tuple[str, int], list[tuple[UsageCharge, int]]] = {}
    is_prepaid: dict[tuple[str, int], bool] = {}
    for usage in draft.inputs.usage:
        key = (usage.charge.rating_key, usage.charge.period_start_at)
        billed.setdefault(key, []).append((usage.charge, usage.charge.amount_minor))
        is_prepaid[key] = usage.terms.is_prepaid
    for late in draft.inputs.late:
        key = (late.charge.rating_key, late.charge.period_start_at)
        billed.setdefault(key, []).append((late.charge, late.amount_minor))
        is_prepaid[key] = late.terms.is_prepaid
    sums = {False: 0, True: 0}
    for key, charges in sorted(billed.items()):
        post_days(connection, unposted_days_of(connection, *key), now_ms)
        invoiced = sum(amount for _, amount in charges)
        true_up = _billed_so_far(connection, *key) + invoiced - _posted(connection, *key)
        sums[is_prepaid[key]] += true_up
        connection.execute(
            insert(tables.billed_charge),
            [
                {
                    "rating_key": charge.rating_key,
                    "period_start_at": charge.period_start_at,
                    "segment_number": charge.segment_number,
                    "meter_id": charge.meter_id,
                    "revision": charge.revision,
                    "invoice_id": draft.invoice_id,
                    "amount_minor": amount,
                    "true_up_minor": true_up if number == 0 else 0,
                }
                for number, (charge, amount) in enumerate(charges)
            ],
        )
    # A prepaid balance is a liability: what the days took too much is given back as a credit.
    return sums[False], sums[True]


def _billed_so_far(connection: Connection, rating_key: str, period_start_at: int) -> int:
    """Return what earlier invoices billed of a period, less their true-ups."""
    table = tables.billed_charge.c
    total = connection.scalar(
        select(func.sum(table.amount_minor - table.true_up_minor)).where(
            table.rating_key == rating_key, table.period_start_at == period_start_at
        )
    )
    return int(total or 0)


def _posted(connection: Connection, rating_key: str, period_start_at: int) -> int:
    """Return what the days of a period posted."""
    day = tables.usage_day.c
    total = connection.scalar(
        select(func.sum(case((day.amount_minor != 0, day.amount_minor), else_=0))).where(
            day.rating_key == rating_key, day.period_start_at == period_start_at
        )
    )
    return int(total or 0)
