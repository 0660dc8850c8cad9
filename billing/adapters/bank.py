"""Bank entries in the database: imported once, matched, or put into the clerk's queue.

Each entry is one transaction (`import_entry`), so an import that dies is simply done again.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, or_, select, update

from billing.accounts import Branch
from billing.adapters import tables
from billing.adapters.bank_tables import bank_entry
from billing.adapters.databases import take_turns
from billing.adapters.dossiers import OPEN_MINOR
from billing.adapters.payments import record_payment, reverse_payment, settle_payment
from billing.allocation import AllocationError, Wanted
from billing.bank_statements import BankEntry
from billing.matching import Facts, Match, NamedInvoice, NoMatch, decide, numbers_in, words_in
from billing.payments import BANK_METHOD, Payment, PaymentRefusedError
from rating.periods import day_start_at

MATCHED = "matched"
UNMATCHED = "unmatched"
REVERSED = "reversed"
OUTGOING = "outgoing"
IGNORED = "ignored"

_ENTRY = [bank_entry.c[f.name] for f in dataclasses.fields(BankEntry)]


def import_entry(
    connection: Connection, branch: Branch, entry: BankEntry, by: str, now_ms: int
) -> str | None:
    """Write a bank entry, match it, record its payment; return its status, None for a repeat.

    Holds the turn at the branch's bank entries: two imports of one statement are one.
    """
    take_turns(connection, f"bank/{branch.branch_id}")
    known = select(bank_entry.c.entry_id).where(bank_entry.c.entry_id == entry.entry_id)
    if connection.execute(known).first() is not None:
        return None
    row: dict[str, Any] = {
        **dataclasses.asdict(entry),
        "branch_id": branch.branch_id,
        "status": UNMATCHED,
        "reason": "",
        "suggestion": "",
        "account_id": None,
        "payment_id": None,
        "imported_at": now_ms,
        "resolved_at": None,
        "resolved_by": "",
    }
    if entry.amount_minor <= 0:
        row |= _outgoing(connection, branch, entry, by, now_ms)
    else:
        awaited = _awaited(connection, branch, entry, now_ms)
        found = awaited or decide(entry, _facts(connection, branch, entry))
        if isinstance(found, dict):
            row |= found
        elif isinstance(found, NoMatch):
            row |= {"reason": found.reason, "suggestion": found.suggestion}
        else:
            row |= _paid(connection, branch, entry, found, (by, now_ms))
    connection.execute(insert(bank_entry), [row])
    return str(row["status"])


def resolve_entry(
    connection: Connection, entry_id: str, match: Match, by: str, now_ms: int
) -> Payment:
    """Let a clerk say whose money an unmatched entry is, and record its payment.

    LookupError: no such entry, account or branch. PaymentRefusedError: it is not unmatched, or no
    money came. AllocationError: a named invoice cannot be paid so.
    """
    branch, entry = _waiting(connection, entry_id)
    if entry.amount_minor <= 0:
        raise PaymentRefusedError(f"bank entry {entry_id}: expected money that came; ignore it")
    payment = _record(connection, branch, entry, match, (by, now_ms))
    _settle(
        connection,
        entry_id,
        status=MATCHED,
        reason=match.reason,
        account_id=match.account_id,
        payment_id=payment.payment_id,
        resolved_at=now_ms,
        resolved_by=by,
    )
    return payment


def ignore_entry(connection: Connection, entry_id: str, reason: str, by: str, now_ms: int) -> None:
    """Take an entry that is no customer's out of the queue. Raises as `resolve_entry`."""
    _waiting(connection, entry_id)
    _settle(connection, entry_id, status=IGNORED, reason=reason, resolved_at=now_ms, resolved_by=by)


def _awaited(
    connection: Connection, branch: Branch, entry: BankEntry, now_ms: int
) -> dict[str, Any] | NoMatch | None:
    """Settle the order in flight that an entry names; None where it names none."""
    words = [word.upper() for word in words_in(entry.remittance)]
    paid = tables.payment.c
    orders = connection.execute(
        select(paid.payment_id, paid.account_id, paid.amount_minor, paid.currency).where(
            paid.branch_id == branch.branch_id,
            paid.method == BANK_METHOD,
            paid.reference.in_(words),
            paid.status.in_(("pending", "failed")),
        )
    ).all()
    if not orders:
        return None
    order = orders[0]
    if len(orders) > 1 or entry.remark:
        return NoMatch(entry.remark or "names several orders", order.account_id)
    if (order.amount_minor, order.currency) != (entry.amount_minor, entry.currency):
        what = f"names an order of {order.amount_minor} {order.currency} minor units"
        return NoMatch(what, order.account_id)
    settle_payment(connection, order.payment_id, _booked_at(branch, entry), now_ms)
    return {
        "status": MATCHED,
        "reason": "names its order",
        "account_id": order.account_id,
        "payment_id": order.payment_id,
    }


def _paid(
    connection: Connection,
    branch: Branch,
    entry: BankEntry,
    match: Match,
    actor: tuple[str, int],
) -> dict[str, Any]:
    """Record a matched entry's payment; return what its row says."""
    try:
        payment = _record(connection, branch, entry, match, actor)
    except AllocationError as error:  # raised before anything is written
        return {"reason": str(error), "suggestion": match.account_id}
    return {
        "status": MATCHED,
        "reason": match.reason,
        "account_id": match.account_id,
        "payment_id": payment.payment_id,
    }


def _record(
    connection: Connection,
    branch: Branch,
    entry: BankEntry,
    match: Match,
    actor: tuple[str, int],
) -> Payment:
    """Record the payment that an entry brought; raises as `record_payment`."""
    by, now_ms = actor
    payment = Payment(
        f"pay_{entry.entry_id}",
        branch.branch_id,
        match.account_id,
        None,
        BANK_METHOD,
        entry.entry_id,
        entry.amount_minor,
        entry.currency,
        _booked_at(branch, entry),
        by,
        payer=entry.payer,
    )
    record_payment(connection, payment, now_ms, [Wanted(one) for one in match.invoice_ids])
    return payment


def _booked_at(branch: Branch, entry: BankEntry) -> int:
    """Return when the day begins on which an entry was booked (ms)."""
    return day_start_at(branch.timezone, datetime.date.fromisoformat(entry.booked_on))


def _outgoing(
    connection: Connection, branch: Branch, entry: BankEntry, by: str, now_ms: int
) -> dict[str, Any]:
    """Take back the payment that a reversal returns; other money that left concerns nobody here."""
    if not entry.is_reversal:
        return {"status": OUTGOING}
    table = bank_entry.c
    same = [table.reference == entry.reference] if entry.reference else []
    if entry.end_to_end_id:
        same.append(table.end_to_end_id == entry.end_to_end_id)
    if not same:
        return {"reason": "returns a payment, but says not which"}
    query = select(table.payment_id, table.account_id).where(
        table.branch_id == branch.branch_id,
        table.bank_account == entry.bank_account,
        table.amount_minor == -entry.amount_minor,
        table.currency == entry.currency,
        table.status == MATCHED,
        or_(*same),
    )
    rows = connection.execute(query).all()
    if len(rows) != 1:
        return {"reason": f"returns a payment, but {len(rows)} fit it"}
    why = entry.remittance or "returned by the bank"
    try:
        reverse_payment(connection, rows[0].payment_id, why, by, now_ms)
    except PaymentRefusedError as error:  # raised before anything is written
        return {"reason": str(error), "suggestion": rows[0].account_id}
    return {
        "status": REVERSED,
        "reason": why,
        "account_id": rows[0].account_id,
        "payment_id": rows[0].payment_id,
    }


def _facts(connection: Connection, branch: Branch, entry: BankEntry) -> Facts:
    """Return what the database knows of an entry; asks by key, whatever the number of invoices."""
    invoice, account, table = tables.invoice.c, tables.account.c, bank_entry.c
    named = _invoices().where(
        invoice.branch_id == branch.branch_id,
        invoice.number.in_(numbers_in(entry.remittance, branch.invoice_prefix)),
        invoice.status.in_(("finalized", "paid")),
    )
    accounts = select(account.account_id).where(
        account.branch_id == branch.branch_id, account.account_id.in_(words_in(entry.remittance))
    )
    payers: list[str] = []
    if entry.payer_account:
        before = (
            select(table.account_id)
            .distinct()
            .where(
                table.branch_id == branch.branch_id,
                table.payer_account == entry.payer_account,
                table.status == MATCHED,
            )
        )
        payers = sorted(connection.scalars(before))
    same_amount = _invoices().where(
        invoice.branch_id == branch.branch_id,
        invoice.status == "finalized",
        invoice.currency == entry.currency,
        OPEN_MINOR == entry.amount_minor,  # noqa: SIM300 (the column stands left)
    )
    return Facts(
        [_named(row) for row in connection.execute(named.order_by(invoice.invoice_id))],
        sorted(connection.scalars(accounts)),
        payers,
        [_named(row) for row in connection.execute(same_amount.limit(2))],
    )


def _invoices() -> Select[Any]:
    invoice, account = tables.invoice.c, tables.account.c
    return select(
        invoice.invoice_id,
        invoice.number,
        invoice.account_id,
        account.name,
        invoice.currency,
        OPEN_MINOR,
    ).join_from(tables.invoice, tables.account, account.account_id == invoice.account_id)


def _named(row: Row[Any]) -> NamedInvoice:
    return NamedInvoice(*list(row))


def _waiting(connection: Connection, entry_id: str) -> tuple[Branch, BankEntry]:
    """Return an unmatched entry and its branch, locked."""
    row = connection.execute(
        select(*_ENTRY, bank_entry.c.status, *(tables.branch.c[n] for n in _BRANCH))
        .join_from(bank_entry, tables.branch)
        .where(bank_entry.c.entry_id == entry_id)
        .with_for_update()
    ).first()
    if row is None:
        raise LookupError(f"no bank entry {entry_id}")
    if row.status != UNMATCHED:
        raise PaymentRefusedError(f"bank entry {entry_id} is {row.status}: expected unmatched")
    width = len(_ENTRY)
    return Branch(*row[width + 1 :]), BankEntry(*row[:width])


_BRANCH = [field.name for field in dataclasses.fields(Branch)]


def _settle(connection: Connection, entry_id: str, **values: Any) -> None:
    connection.execute(update(bank_entry).where(bank_entry.c.entry_id == entry_id).values(**values))
