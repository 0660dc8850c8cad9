"""Credits and what they pay: read and written under the turn at an account's money.

Each function is part of the caller's transaction. Whoever changes an account's money calls
`take_account` first, so two payments, a refund and the office's next invoice follow one another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, case, func, insert, select, update

from billing.adapters import ledger, payment_tables, tables
from billing.adapters.databases import take_turns
from billing.adapters.dossiers import OPEN_MINOR
from billing.adapters.dunning import restore_settled
from billing.allocation import OpenInvoice, Share, Wanted, allocate, status_of
from billing.payments import (
    Allocation,
    PaymentRefusedError,
    allocation_transaction,
    credit_note_transaction,
)

OFFICE = "office"
"""Who allocates credit to a new invoice."""


@dataclasses.dataclass(frozen=True, slots=True)
class Credit:
    """One row of `customer_credit`."""

    credit_id: str
    branch_id: str
    account_id: str
    kind: str
    amount_minor: int
    left_minor: int
    currency: str
    created_at: int


_CREDIT = [payment_tables.customer_credit.c[f.name] for f in dataclasses.fields(Credit)]
_ALLOCATION = [payment_tables.allocation.c[f.name] for f in dataclasses.fields(Allocation)]


def take_account(connection: Connection, account_id: str) -> None:
    """Take the turn at an account's money: behind an API command's, before its branch's ledger."""
    take_turns(connection, f"money/{account_id}")


def locked_invoice(connection: Connection, invoice_id: str) -> Row[Any]:
    """Return an invoice's row under its account's turn, and what it asks for as open_minor.

    LookupError: there is none.
    """
    table = tables.invoice
    is_this = table.c.invoice_id == invoice_id
    account_id = connection.scalar(select(table.c.account_id).where(is_this))
    if account_id is None:
        raise LookupError(f"no invoice {invoice_id}")
    take_account(connection, account_id)
    query = select(table, OPEN_MINOR.label("open_minor")).where(is_this)
    return connection.execute(query.with_for_update()).one()


def open_invoices(connection: Connection, account_id: str, currency: str) -> list[OpenInvoice]:
    """Return the account's issued invoices that ask for money or were written off, locked, by id.

    A void or a paid one, and a draft, ask for nothing.
    """
    invoice = tables.invoice.c
    query = (
        select(
            invoice.invoice_id,
            invoice.currency,
            OPEN_MINOR,
            invoice.written_off_minor,
            func.coalesce(invoice.due_on, ""),
            func.coalesce(invoice.issued_at, 0),
        )
        .where(
            invoice.account_id == account_id,
            invoice.currency == currency,
            invoice.status == "finalized",
        )
        .order_by(invoice.invoice_id)
        .with_for_update()
    )
    return [OpenInvoice(*row) for row in connection.execute(query)]


def open_credit(connection: Connection, credit: Credit) -> None:
    """Write a new credit; what its first shares take is the caller's."""
    connection.execute(insert(payment_tables.customer_credit), [dataclasses.asdict(credit)])


def find_credit(connection: Connection, credit_id: str) -> Credit | None:
    """Return a credit, or None."""
    query = select(*_CREDIT).where(payment_tables.customer_credit.c.credit_id == credit_id)
    row = connection.execute(query).first()
    return Credit(*row) if row else None


def credits_left(connection: Connection, account_id: str, currency: str) -> list[Credit]:
    """Return the account's credits of a currency that have something left, the oldest first."""
    credit = payment_tables.customer_credit.c
    query = (
        select(*_CREDIT)
        .where(credit.account_id == account_id, credit.currency == currency, credit.left_minor > 0)
        .order_by(credit.created_at, credit.credit_id)
    )
    return [Credit(*row) for row in connection.execute(query)]


def allocations_of(connection: Connection, credit_id: str) -> list[Allocation]:
    """Return what was ever allocated of a credit, undone rows too, in order."""
    table = payment_tables.allocation.c
    query = select(*_ALLOCATION).where(table.credit_id == credit_id)
    rows = connection.execute(query.order_by(table.allocated_at, table.allocation_id))
    return [Allocation(*row) for row in rows]


def standing_shares(allocations: Sequence[Allocation]) -> list[Share]:
    """Return what each invoice holds of one credit now, by invoice."""
    sums: dict[str, tuple[int, int]] = {}
    for allocation in allocations:
        amount, recovered = sums.get(allocation.invoice_id, (0, 0))
        sums[allocation.invoice_id] = (
            amount + allocation.amount_minor,
            recovered + allocation.recovered_minor,
        )
    return [Share(key, *found) for key, found in sorted(sums.items()) if found[0]]


def write_shares(
    connection: Connection, credit: Credit, shares: Sequence[Share], by: str, at: int
) -> list[Allocation]:
    """Write shares of a credit (negative: given back) with what they do to invoices and credit.

    Posts nothing. The credit is read anew: its left amount is the row's.
    """
    if not shares:
        return []
    table = payment_tables.allocation
    number = connection.scalar(
        select(func.count()).select_from(table).where(table.c.credit_id == credit.credit_id)
    )
    rows = [
        Allocation(
            f"{credit.credit_id}/{(number or 0) + place}",
            credit.branch_id,
            credit.account_id,
            credit.credit_id,
            share.invoice_id,
            share.amount_minor,
            share.recovered_minor,
            credit.currency,
            share.amount_minor,
            credit.currency,
            "",
            at,
            by,
        )
        for place, share in enumerate(shares, 1)
    ]
    connection.execute(insert(table), [dataclasses.asdict(row) for row in rows])
    for row in rows:
        _move_invoice(connection, row)
    move_credit(connection, credit.credit_id, -sum(row.taken_minor for row in rows))
    return rows


def take_back(
    connection: Connection, credit: Credit, shares: Sequence[Share], by: str, at: int
) -> list[Allocation]:
    """Undo what standing shares of a credit pay, so that it is credit again. Posts nothing."""
    turned = [Share(s.invoice_id, -s.amount_minor, -s.recovered_minor) for s in shares]
    return write_shares(connection, credit, turned, by, at)


def move_credit(connection: Connection, credit_id: str, amount_minor: int) -> None:
    """Add an amount to what is left of a credit; a negative one is taken."""
    table = payment_tables.customer_credit
    connection.execute(
        update(table)
        .where(table.c.credit_id == credit_id)
        .values(left_minor=table.c.left_minor + amount_minor)
    )


def _move_invoice(connection: Connection, row: Allocation) -> None:
    """Change what an invoice has been paid, and its state with it."""
    table = tables.invoice
    is_this = table.c.invoice_id == row.invoice_id
    before = connection.execute(
        select(table.c.total_minor, table.c.paid_minor, table.c.paid_at, table.c.status)
        .where(is_this)
        .with_for_update()
    ).one()
    paid = before.paid_minor + row.amount_minor
    values: dict[str, Any] = {
        "paid_minor": paid,
        "written_off_minor": table.c.written_off_minor - row.recovered_minor,
    }
    if before.status in ("finalized", "paid"):
        status = status_of(before.total_minor, paid)
        values["status"] = status
        values["paid_at"] = (before.paid_at or row.allocated_at) if status == "paid" else None
    connection.execute(update(table).where(is_this).values(**values))


def allocate_credit(
    connection: Connection,
    credit: Credit,
    wanted: Sequence[Wanted],
    by: str,
    at: int,
    *,
    keeps_rest: bool = False,
) -> list[Allocation]:
    """Allocate what is left of a credit and post it; AllocationError as `allocate`."""
    if credit.left_minor <= 0:
        return []
    invoices = open_invoices(connection, credit.account_id, credit.currency)
    shares = allocate(credit.left_minor, invoices, wanted, keeps_rest=keeps_rest)
    rows = write_shares(connection, credit, shares, by, at)
    restore_settled(connection, credit.account_id, at)
    ledger.post(connection, [allocation_transaction(row) for row in rows], at)
    return rows


def give_back(connection: Connection, credit: Credit, by: str, at: int) -> list[Allocation]:
    """Take back all that a credit pays, so that it is credit again, and post it."""
    shares = standing_shares(allocations_of(connection, credit.credit_id))
    rows = take_back(connection, credit, shares, by, at)
    ledger.post(connection, [allocation_transaction(row) for row in rows], at)
    return rows


def settle_from_credit(
    connection: Connection,
    invoice: Mapping[str, Any],
    by: str,
    at: int,
    wanted: Sequence[Wanted] = (),
) -> list[Allocation]:
    """Let a new invoice take the account's credit, the oldest first; a negative one gives credit.

    invoice has the columns of its row; wanted are the invoices that the credit pays first. The
    caller has taken the account's turn.
    """
    total, currency = invoice["total_minor"], invoice["currency"]
    account_id, invoice_id = invoice["account_id"], invoice["invoice_id"]
    branch_id = invoice["branch_id"]
    if total < 0:
        credit = Credit(
            invoice_id, branch_id, account_id, "credit_note", -total, -total, currency, at
        )
        open_credit(connection, credit)
        posting = credit_note_transaction(invoice_id, branch_id, account_id, currency, -total, at)
        ledger.post(connection, [posting], at)
        return allocate_credit(connection, credit, wanted, by, at)
    found: list[Allocation] = []
    left = total
    for credit in credits_left(connection, account_id, currency):
        if left <= 0:
            break
        share = Share(invoice_id, min(left, credit.left_minor))
        rows = write_shares(connection, credit, [share], by, at)
        ledger.post(connection, [allocation_transaction(row) for row in rows], at)
        left -= share.amount_minor
        found += rows
    return found


def free_invoice(connection: Connection, invoice_id: str, by: str, at: int) -> list[Allocation]:
    """Give all that an invoice was paid back to the account as credit: it asks for nothing now.

    For whoever voids an invoice, before its row changes. The caller has the account's turn.
    """
    table = payment_tables.allocation.c
    sums = connection.execute(
        select(
            table.credit_id,
            func.sum(table.amount_minor).label("amount"),
            func.sum(table.recovered_minor).label("recovered"),
        )
        .where(table.invoice_id == invoice_id)
        .group_by(table.credit_id)
        .having(func.sum(table.amount_minor) != 0)
        .order_by(table.credit_id)
    ).all()
    found: list[Allocation] = []
    for row in sums:
        credit = find_credit(connection, row.credit_id)
        assert credit is not None, "an allocation refers to its credit"
        share = Share(invoice_id, int(row.amount), int(row.recovered))
        found += take_back(connection, credit, [share], by, at)
    ledger.post(connection, [allocation_transaction(row) for row in found], at)
    return found


def take_credit(
    connection: Connection, account_id: str, currency: str, amount_minor: int, credit_id: str = ""
) -> list[tuple[Credit, int]]:
    """Take an amount out of credits, the oldest first (or out of one), and say what of which.

    PaymentRefusedError where less is left. The caller has the account's turn.
    """
    left = credits_left(connection, account_id, currency)
    if credit_id:
        left = [credit for credit in left if credit.credit_id == credit_id]
    there = sum(credit.left_minor for credit in left)
    if amount_minor > there:
        of = f"payment {credit_id}" if credit_id else f"account {account_id}"
        raise PaymentRefusedError(
            f"amount_minor: expected at most {there} ({currency} minor units, what {of} has"
            f" as credit), got {amount_minor}"
        )
    parts: list[tuple[Credit, int]] = []
    for credit in left:
        part = min(amount_minor, credit.left_minor)
        if part:
            parts.append((credit, part))
            amount_minor -= part
            move_credit(connection, credit.credit_id, -part)
    return parts


def credit_of(connection: Connection, account_id: str) -> dict[str, int]:
    """Return the account's credit per currency, in minor units; nothing where there is none."""
    credit = payment_tables.customer_credit.c
    query = (
        select(credit.currency, func.sum(case((credit.left_minor > 0, credit.left_minor), else_=0)))
        .where(credit.account_id == account_id)
        .group_by(credit.currency)
        .order_by(credit.currency)
    )
    return {currency: int(left) for currency, left in connection.execute(query) if left}
