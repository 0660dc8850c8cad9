"""Reads what moved a customer's account: postings to the receivable and to the credit."""

from __future__ import annotations

from sqlalchemy import BigInteger, Connection, cast, func, select

from billing.adapters import tables
from billing.ledger import CUSTOMER_CREDIT, RECEIVABLE
from billing.proration import local_day
from billing.statements import Movement, Statement, statements_of

_PAPERS = ("invoice", "invoice_void", "write_off")
"""Sources whose postings have the id of a paper as their key."""


def read_statements(
    connection: Connection, account_id: str, first_on: str, last_on: str
) -> list[Statement]:
    """Return an account's statements over local days, both included, one per currency."""
    return statements_of(read_movements(connection, account_id), first_on, last_on)


def read_movements(connection: Connection, account_id: str) -> list[Movement]:
    """Return all that ever changed what an account owes."""
    transaction, entry = tables.ledger_transaction.c, tables.ledger_entry.c
    owner, invoice = tables.ledger_account.c, tables.invoice.c
    amount = cast(func.sum(entry.amount_minor), BigInteger)  # PostgreSQL sums to decimals
    head = (
        transaction.transaction_id,
        transaction.source,
        transaction.idempotency_key,
        transaction.chain_number,
        transaction.occurred_at,
        transaction.description,
        tables.branch.c.timezone,
        entry.currency,
    )
    moved = (
        select(*head, amount.label("amount_minor"))
        .select_from(tables.ledger_entry)
        .join(tables.ledger_transaction)
        .join(tables.ledger_account)
        .join(tables.branch, tables.branch.c.branch_id == transaction.branch_id)
        .where(owner.account_id == account_id, owner.code.in_((RECEIVABLE, CUSTOMER_CREDIT)))
        .group_by(*head)
        .having(amount != 0)
        .subquery()
    )
    query = select(moved, invoice.number, invoice.series, invoice.issued_at).join_from(
        moved,
        tables.invoice,
        (invoice.invoice_id == moved.c.idempotency_key) & moved.c.source.in_(_PAPERS),
        isouter=True,
    )
    found: list[Movement] = []
    for row in connection.execute(query):
        is_paper = row.source == "invoice" and row.issued_at is not None
        at = row.issued_at if is_paper else row.occurred_at
        found.append(
            Movement(
                row.transaction_id,
                row.source,
                local_day(at, row.timezone).isoformat(),
                row.chain_number,
                row.currency,
                row.amount_minor,
                row.number or "",
                row.series or "",
                row.description,
            )
        )
    return found
