"""The ledger's tables: append once, sum, and check the chain."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, tuple_

from billing.adapters import audit_tables, tables
from billing.adapters.databases import take_turns, upsert
from billing.audit import StoredLink, first_break
from billing.ledger import (
    ChainLink,
    Entry,
    LedgerAccount,
    Transaction,
    chain,
    chart_line,
    link,
)

_KEYS_PER_QUERY = 400  # SQLite's oldest limit is 999 parameters; two per key


def post(connection: Connection, transactions: Sequence[Transaction], recorded_at: int) -> int:
    """Append those transactions that are not in the ledger yet; return how many were new.

    A repeat of a business key is no second posting, whatever its amounts. The transactions of
    each branch join its hash chain in the order given. recorded_at is the processing time (ms)
    and not under the hash. Holds the turn at the branches' ledgers until the caller's commit: a
    chain without gaps has one writer at a time.
    """
    take_turns(connection, *(f"ledger/{transaction.branch_id}" for transaction in transactions))
    known = _known_keys(connection, transactions)
    fresh: dict[tuple[str, str], Transaction] = {}
    for transaction in transactions:
        key = (transaction.source, transaction.idempotency_key)
        if key not in known:
            fresh.setdefault(key, transaction)
    ordered = sorted(fresh.values(), key=lambda t: t.branch_id)  # stable: order within a branch
    _open_accounts(connection, [e.account for t in ordered for e in t.entries])
    for branch_id, group in itertools.groupby(ordered, key=lambda t: t.branch_id):
        linked = list(chain(chain_head(connection, branch_id), group))
        connection.execute(
            insert(tables.ledger_transaction),
            [_transaction_row(transaction, at, recorded_at) for transaction, at in linked],
        )
        connection.execute(
            insert(tables.ledger_entry),
            [row for transaction, _ in linked for row in _entry_rows(transaction)],
        )
        move_head(connection, chain_name(branch_id), linked[-1][1])
    return len(ordered)


def post_new(connection: Connection, transaction: Transaction, recorded_at: int) -> None:
    """Post a transaction that must be new: its business row is written in the same commit.

    ValueError where its business key was posted before.
    """
    if post(connection, [transaction], recorded_at) != 1:
        raise ValueError(f"{transaction.transaction_id} was posted before")


def chain_name(branch_id: str) -> str:
    """Return the name of a branch's chain among `audit_tables.chain_head`."""
    return f"ledger/{branch_id}"


def chain_head(connection: Connection, branch_id: str) -> ChainLink | None:
    """Return the last link of a branch's chain, or None where its ledger is empty."""
    return read_head(connection, chain_name(branch_id))


def read_head(connection: Connection, chain: str) -> ChainLink | None:
    """Return where a chain ends, or None where it has no row."""
    head = audit_tables.chain_head.c
    row = connection.execute(select(head.number, head.hash).where(head.chain == chain)).first()
    return ChainLink(row[0], row[1]) if row else None


def move_head(connection: Connection, chain: str, end: ChainLink) -> None:
    """Record a chain's new end, in the transaction that appends its row."""
    values = {"number": end.number, "hash": end.hash}
    row = upsert(connection, audit_tables.chain_head).values(chain=chain, **values)
    connection.execute(row.on_conflict_do_update(index_elements=["chain"], set_=values))


def trial_balance(connection: Connection, branch_id: str) -> dict[tuple[str, str], int]:
    """Return the balance per (chart code, currency) of a branch; each currency sums to zero."""
    entry, account = tables.ledger_entry.c, tables.ledger_account.c
    query = (
        select(account.code, entry.currency, func.sum(entry.amount_minor))
        .join_from(tables.ledger_entry, tables.ledger_account)
        .where(account.branch_id == branch_id)
        .group_by(account.code, entry.currency)
        .order_by(account.code, entry.currency)
    )
    return {(code, currency): int(total) for code, currency, total in connection.execute(query)}


def customer_balance(connection: Connection, account_id: str, code: str) -> dict[str, int]:
    """Return a customer's balance of one chart code per currency, debit positive."""
    entry, account = tables.ledger_entry.c, tables.ledger_account.c
    query = (
        select(entry.currency, func.sum(entry.amount_minor))
        .join_from(tables.ledger_entry, tables.ledger_account)
        .where(account.account_id == account_id, account.code == code)
        .group_by(entry.currency)
    )
    return {currency: int(total) for currency, total in connection.execute(query)}


def broken_link(connection: Connection, branch_id: str) -> int | None:
    """Return the chain number of a branch's first altered or missing transaction, or None."""
    name = chain_name(branch_id)
    found = first_break(name, chain_rows(connection, branch_id), read_head(connection, name))
    return found.number if found else None


def find_transactions(connection: Connection, transaction_ids: Sequence[str]) -> list[Transaction]:
    """Return transactions by id, in the order of their branches' chains; unknown ids are left out.

    ValueError where somebody altered the rows so that they no longer balance.
    """
    columns = tables.ledger_transaction.c
    found: list[Transaction] = []
    for start in range(0, len(transaction_ids), _KEYS_PER_QUERY):
        some = transaction_ids[start : start + _KEYS_PER_QUERY]
        rows = connection.execute(_entries_query().where(columns.transaction_id.in_(some)))
        groups = itertools.groupby(rows, key=lambda row: tuple(row[:_HEAD]))
        found += [_transaction(head, group) for head, group in groups]
    return found


def chain_rows(connection: Connection, branch_id: str) -> Iterator[StoredLink]:
    """Yield a branch's transactions as links of its chain, ascending; streams one pass."""
    query = _entries_query().where(tables.ledger_transaction.c.branch_id == branch_id)
    rows = connection.execute(query).yield_per(1000)
    for head, group in itertools.groupby(rows, key=lambda row: tuple(row[:_HEAD])):
        entries = list(group)

        def expected(
            previous: ChainLink | None,
            head: Sequence[Any] = head,
            entries: Sequence[Row[Any]] = entries,
        ) -> ChainLink:
            return link(previous, _transaction(head, entries))

        yield StoredLink(f"{head[3]}:{head[4]}", ChainLink(head[1], head[2]), expected)


_HEAD = 7
"""How many of `_entries_query`'s columns belong to the transaction, before those of its entry."""


def _entries_query() -> Select[Any]:
    """Return the query of entries with their transactions, in the order of the chains."""
    transaction, entry, account = (
        tables.ledger_transaction.c,
        tables.ledger_entry.c,
        tables.ledger_account.c,
    )
    return (
        select(
            transaction.branch_id,
            transaction.chain_number,
            transaction.chain_hash,
            transaction.source,
            transaction.idempotency_key,
            transaction.occurred_at,
            transaction.description,
            account.branch_id,
            account.code,
            account.account_id,
            entry.amount_minor,
            entry.currency,
        )
        .select_from(tables.ledger_transaction)
        .join(tables.ledger_entry)
        .join(tables.ledger_account)
        .order_by(transaction.branch_id, transaction.chain_number, entry.line)
    )


def _transaction(head: Sequence[Any], rows: Iterable[Row[Any]]) -> Transaction:
    """Return a transaction from its own columns and its entries' rows."""
    branch_id, _, _, source, key, occurred_at, description = head
    entries = tuple(
        Entry(LedgerAccount(*row[_HEAD : _HEAD + 3]), *row[_HEAD + 3 :]) for row in rows
    )
    return Transaction(branch_id, source, key, occurred_at, description, entries)


def _known_keys(
    connection: Connection, transactions: Sequence[Transaction]
) -> set[tuple[str, str]]:
    """Return which business keys the ledger holds already."""
    table = tables.ledger_transaction.c
    keys = [(t.source, t.idempotency_key) for t in transactions]
    known: set[tuple[str, str]] = set()
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        some = keys[start : start + _KEYS_PER_QUERY]
        query = select(table.source, table.idempotency_key).where(
            tuple_(table.source, table.idempotency_key).in_(some)
        )
        known |= {(source, key) for source, key in connection.execute(query)}
    return known


def _open_accounts(connection: Connection, accounts: Sequence[LedgerAccount]) -> None:
    """Insert the ledger accounts that do not exist yet."""
    wanted = {account.ledger_account_id: account for account in accounts}
    table = tables.ledger_account
    ids = sorted(wanted)
    found: set[str] = set()
    for start in range(0, len(ids), _KEYS_PER_QUERY):
        some = ids[start : start + _KEYS_PER_QUERY]
        query = select(table.c.ledger_account_id).where(table.c.ledger_account_id.in_(some))
        found |= set(connection.scalars(query))
    missing = [wanted[key] for key in ids if key not in found]
    if missing:
        connection.execute(
            insert(table),
            [
                {
                    "ledger_account_id": account.ledger_account_id,
                    "branch_id": account.branch_id,
                    "code": account.code,
                    "kind": chart_line(account.code).kind,
                    "name": chart_line(account.code).name,
                    "account_id": account.account_id,
                }
                for account in missing
            ],
        )


def _transaction_row(
    transaction: Transaction, at: ChainLink, recorded_at: int
) -> Mapping[str, Any]:
    """Return the row of a transaction."""
    return {
        "transaction_id": transaction.transaction_id,
        "branch_id": transaction.branch_id,
        "source": transaction.source,
        "idempotency_key": transaction.idempotency_key,
        "occurred_at": transaction.occurred_at,
        "description": transaction.description,
        "chain_number": at.number,
        "chain_hash": at.hash,
        "recorded_at": recorded_at,
    }


def _entry_rows(transaction: Transaction) -> list[Mapping[str, Any]]:
    """Return the rows of a transaction's entries, numbered from 1."""
    return [
        {
            "transaction_id": transaction.transaction_id,
            "line": line,
            "ledger_account_id": entry.account.ledger_account_id,
            "amount_minor": entry.amount_minor,
            "currency": entry.currency,
        }
        for line, entry in enumerate(transaction.entries, 1)
    ]
