"""Voids and notes in the database. Each call is part of the caller's transaction.

Both take the account's turn first, so a payment and a void, or two credits of one line, follow
each other.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from billing.accounts import Account, Branch
from billing.adapters import document_tables, ledger, tables
from billing.adapters.allocations import free_invoice, locked_invoice
from billing.adapters.dunning import restore_settled
from billing.adapters.invoices import finalize
from billing.adapters.repositories import find
from billing.allocation import Wanted
from billing.clerk_notes import CREDIT, NoteLine, NoteOrder, billed_lines, draft_note, whole_credit
from billing.invoice_states import FINALIZED, PAID, VOID, InvoiceStateError, next_state
from billing.invoices import InvoiceDraft, InvoiceInputs
from billing.numbering import CREDIT_NOTE_SERIES
from billing.postings import void_transaction
from billing.proration import local_day


def void_invoice(
    connection: Connection, invoice_id: str, reason: str, by: str, now_ms: int
) -> bool:
    """Declare an invoice void and take its posting back; False where it is void already.

    What was paid is the account's credit again. LookupError: no such invoice. InvoiceStateError:
    it is a draft or a credit note, or notes correct it.
    """
    row = locked_invoice(connection, invoice_id)
    if row.status == VOID:
        return False
    state = next_state(invoice_id, row.status, "void")
    if row.series == CREDIT_NOTE_SERIES:
        raise InvoiceStateError(f"{invoice_id} is a credit note: take it back by a debit note")
    if _is_corrected(connection, invoice_id):
        raise InvoiceStateError(f"{invoice_id} is corrected by notes: credit what is left of it")
    free_invoice(connection, invoice_id, by, now_ms)
    table = tables.invoice
    connection.execute(
        update(table).where(table.c.invoice_id == invoice_id).values(status=state, paid_at=None)
    )
    connection.execute(
        insert(document_tables.invoice_void).values(
            invoice_id=invoice_id, reason=reason, voided_at=now_ms, voided_by=by
        )
    )
    restore_settled(connection, row.account_id, now_ms)
    posted = ledger.find_transactions(connection, [f"invoice:{invoice_id}"])
    for transaction in posted:
        taken_back = void_transaction(transaction, row.account_id, row.currency, now_ms, reason)
        if taken_back:
            ledger.post_new(connection, taken_back, now_ms)
    return True


def issue_note(connection: Connection, order: NoteOrder, now_ms: int) -> str:
    """Finalize a credit or debit note against an invoice; return the note's id.

    A credit pays the invoice that it corrects first, the rest is the account's. A debit note is
    due as many days after its issue as the invoice was. LookupError: no such invoice.
    InvoiceStateError: it is no final one. NoteRefusedError: more than was billed.
    """
    invoice_id = order.invoice_id
    row = locked_invoice(connection, invoice_id)
    if row.status not in (FINALIZED, PAID) or row.series == CREDIT_NOTE_SERIES:
        what = "a credit note" if row.series == CREDIT_NOTE_SERIES else row.status
        raise InvoiceStateError(f"{invoice_id} is {what}: expected a finalized or paid invoice")
    credited = _credited(connection, invoice_id)
    lines = order.lines or whole_credit(billed_lines(row.document, credited))
    sign = 1 if order.kind == CREDIT else -1
    signed = [NoteLine(line.number, sign * line.amount_minor) for line in lines]
    inputs = _inputs(connection, row, now_ms)
    draft = draft_note(
        _next_id(connection, invoice_id),
        inputs,
        (invoice_id, row.document),
        signed,
        order.reason,
        credited,
    )
    finalize(
        connection,
        draft,
        now_ms=now_ms,
        payment_terms_days=_terms_days(row, inputs.branch),
        credit_pays=[Wanted(invoice_id)] if draft.total_minor < 0 < row.open_minor else [],
    )
    _write_note(connection, draft, order, signed, now_ms)
    return draft.invoice_id


def _terms_days(row: Any, branch: Branch) -> int:
    """Return how many days an invoice had until it was due."""
    issued_on = local_day(row.issued_at, branch.timezone)
    return max((datetime.date.fromisoformat(row.due_on) - issued_on).days, 0)


def _write_note(
    connection: Connection,
    draft: InvoiceDraft,
    order: NoteOrder,
    wanted: Sequence[NoteLine],
    at: int,
) -> None:
    """Write which lines of which invoice a note corrects."""
    connection.execute(
        insert(document_tables.invoice_note).values(
            note_id=draft.invoice_id,
            corrects_invoice_id=order.invoice_id,
            reason=order.reason,
            created_at=at,
            created_by=order.by,
        )
    )
    connection.execute(
        insert(document_tables.note_line),
        [
            {
                "note_id": draft.invoice_id,
                "line": number,
                "corrects_invoice_id": order.invoice_id,
                "corrects_line": want.number,
                "amount_minor": want.amount_minor,
            }
            for number, want in enumerate(wanted, 1)
        ],
    )


def _is_corrected(connection: Connection, invoice_id: str) -> bool:
    note = document_tables.invoice_note.c
    query = select(note.note_id).where(note.corrects_invoice_id == invoice_id)
    return connection.execute(query.limit(1)).first() is not None


def _credited(connection: Connection, invoice_id: str) -> dict[int, int]:
    """Return what credit notes gave back per line of an invoice."""
    line = document_tables.note_line.c
    query = (
        select(line.corrects_line, func.sum(line.amount_minor))
        .where(line.corrects_invoice_id == invoice_id, line.amount_minor > 0)
        .group_by(line.corrects_line)
    )
    return {number: int(amount) for number, amount in connection.execute(query)}


def _next_id(connection: Connection, invoice_id: str) -> str:
    """Return the id of an invoice's next note: its own with the note's number behind."""
    note = document_tables.invoice_note.c
    count = connection.scalar(select(func.count()).where(note.corrects_invoice_id == invoice_id))
    return f"{invoice_id}_note_{(count or 0) + 1}"


def _inputs(connection: Connection, row: Any, now_ms: int) -> InvoiceInputs:
    """Return who a note is from and to, and when.

    Its period is the instant of its issue, on which no billing period ends: those end on whole
    minutes. An account's notes of one moment follow each other by a millisecond.
    """
    account = find(connection, Account, row.account_id)
    branch = find(connection, Branch, row.branch_id)
    assert account is not None, "an invoice refers to its account"
    assert branch is not None, "an invoice refers to its branch"
    table = tables.invoice.c
    newest = connection.scalar(
        select(func.max(table.period_end_at)).where(
            table.account_id == row.account_id,
            table.period_end_at >= now_ms,
            table.invoice_id.in_(select(document_tables.invoice_note.c.note_id)),
        )
    )
    at = max(now_ms, (newest or 0) + 1)
    at += at % 60_000 == 0
    return InvoiceInputs(branch, account, row.currency, at, at, [], [], [], is_note=True)
