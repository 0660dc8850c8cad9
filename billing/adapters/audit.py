"""The audit log in the database: what a command changed, recorded row by row, and its chain.

`recorded` watches a connection: each INSERT, UPDATE and DELETE of a business table is noted with
the rows it touches, so a command cannot forget to say what it did. What the stages write, the
ledger (a chain of its own) and what follows from other rows is not noted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, event, insert, select
from sqlalchemy.sql.dml import Delete, Insert, Update

from billing.adapters import audit_tables, ledger, tables
from billing.adapters.databases import take_turns
from billing.audit import (
    AUDIT_CHAIN,
    AuditEntry,
    Break,
    Change,
    StoredLink,
    audit_link,
    change_of,
    encode_changes,
    first_break,
)
from billing.ledger import ChainLink

NOT_AUDITED = frozenset(
    {table.name for table in tables.ROW_TABLES.values()}
    | {
        "audit_entry",
        "chain_head",
        "directory_entry",
        "document_series",
        "ledger_account",
        "ledger_entry",
        "ledger_transaction",
        "office_cursor",
    }
)
"""Tables whose rows are no administrative change, have a chain of their own, or follow from one."""

_ENTRY = [audit_tables.audit_entry.c[f.name] for f in dataclasses.fields(AuditEntry)]
_Key = tuple[Any, ...]


class Recorder:
    """The rows that a transaction has touched so far, each as it was before."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._before: dict[tuple[str, _Key], Mapping[str, Any] | None] = {}

    def note(
        self,
        connection: Connection,
        statement: Any,
        multiparams: Any,
        params: Any,
        _options: Any,
    ) -> None:
        """Look at a statement before it runs (SQLAlchemy's ``before_execute``)."""
        if not isinstance(statement, (Insert, Update, Delete)):
            return
        table = statement.table
        if not isinstance(table, Table) or table.metadata is not tables.metadata:
            return
        if table.name in NOT_AUDITED:
            return
        given = list(multiparams) or [dict(params)]
        if isinstance(statement, Insert):
            self._note_inserted(connection, statement, given)
            return
        condition = statement.whereclause
        for one in given:
            query = select(table)
            query = query if condition is None else query.where(condition)
            for row in connection.execute(query, one):
                self._remember(table, dict(row._mapping))

    def _note_inserted(
        self, connection: Connection, statement: Insert, given: Sequence[Mapping[str, Any]]
    ) -> None:
        """Remember that the rows were not there, or (an upsert) what they were."""
        table = statement.table
        assert isinstance(table, Table)
        said = statement.compile(dialect=connection.dialect).params
        values = {name: value for name, value in said.items() if value is not None}
        for one in given:
            row = {**values, **one}
            keys = {column.name: row.get(column.name) for column in table.primary_key}
            if None in keys.values():
                continue
            before = _row(connection, table, keys)
            if before is None:
                self._before.setdefault((table.name, tuple(keys.values())), None)
            else:
                self._remember(table, before)

    def _remember(self, table: Table, row: Mapping[str, Any]) -> None:
        key = tuple(row[column.name] for column in table.primary_key)
        self._before.setdefault((table.name, key), row)

    def changes(self, connection: Connection) -> list[Change]:
        """Return what has become of the touched rows, in the order in which they were touched."""
        found: list[Change] = []
        for (name, key), before in self._before.items():
            table = tables.metadata.tables[name]
            names = dict(zip((c.name for c in table.primary_key), key, strict=True))
            change = change_of(name, names, before, _row(connection, table, names))
            if change is not None:
                found.append(change)
        return found


def _row(connection: Connection, table: Table, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
    where = [table.c[name] == value for name, value in key.items()]
    row = connection.execute(select(table).where(*where)).first()
    return dict(row._mapping) if row else None


@contextmanager
def recorded(connection: Connection) -> Iterator[Recorder]:
    """Note what the statements inside change; the caller writes the entry before it commits."""
    recorder = Recorder()
    event.listen(connection, "before_execute", recorder.note)
    try:
        yield recorder
    finally:
        event.remove(connection, "before_execute", recorder.note)


def write_entry(
    connection: Connection, recorder: Recorder, actor: tuple[str, str, str], action: str, at: int
) -> int | None:
    """Append what a command changed to the chain; return its number, None where it did nothing.

    actor is (id, name, branch or ""). Takes the chain's turn, the last of a transaction's, and
    holds it to the commit.
    """
    changes = recorder.changes(connection)
    if not changes:
        return None
    actor_id, actor_name, branch_id = actor
    entry = AuditEntry(at, actor_id, actor_name, branch_id, action, encode_changes(changes))
    take_turns(connection, AUDIT_CHAIN)
    linked = audit_link(ledger.read_head(connection, AUDIT_CHAIN), entry)
    connection.execute(
        insert(audit_tables.audit_entry),
        [dataclasses.asdict(entry) | {"chain_number": linked.number, "chain_hash": linked.hash}],
    )
    ledger.move_head(connection, AUDIT_CHAIN, linked)
    return linked.number


@dataclasses.dataclass(frozen=True, slots=True)
class Verification:
    """What a look at every chain gave: the heads, and the first broken row of each that has one."""

    heads: Mapping[str, ChainLink]
    breaks: tuple[Break, ...]


def verify(connection: Connection, remembered: Mapping[str, ChainLink]) -> Verification:
    """Check the audit log and every branch's ledger; remembered are heads that somebody kept.

    Reads all of it once, in order.
    """
    table = audit_tables.chain_head
    heads = {
        row.chain: ChainLink(row.number, row.hash)
        for row in connection.execute(select(table).order_by(table.c.chain))
    }
    branches = set(connection.scalars(select(tables.ledger_transaction.c.branch_id).distinct()))
    names = {AUDIT_CHAIN, *heads, *remembered, *(ledger.chain_name(one) for one in branches)}
    breaks: list[Break] = []
    for name in sorted(names):
        rows = _audit_rows(connection) if name == AUDIT_CHAIN else _ledger_rows(connection, name)
        found = first_break(name, rows, heads.get(name), remembered.get(name))
        if found is not None:
            breaks.append(found)
    return Verification(heads, tuple(breaks))


def _audit_rows(connection: Connection) -> Iterator[StoredLink]:
    table = audit_tables.audit_entry.c
    query = select(table.chain_number, table.chain_hash, *_ENTRY).order_by(table.chain_number)
    for row in connection.execute(query).yield_per(1000):
        entry = AuditEntry(*row[2:])

        def expected(previous: ChainLink | None, entry: AuditEntry = entry) -> ChainLink:
            return audit_link(previous, entry)

        yield StoredLink(f"{entry.action} by {entry.actor_name}", ChainLink(*row[:2]), expected)


def _ledger_rows(connection: Connection, chain: str) -> Iterator[StoredLink]:
    return ledger.chain_rows(connection, chain.removeprefix(ledger.chain_name("")))
