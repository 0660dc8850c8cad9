"""Whether a database's books can be believed: the ledger's balance and its hash chains."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sqlalchemy import Connection, create_engine, func, select

from billing.adapters import ledger, tables


@dataclasses.dataclass(frozen=True, slots=True)
class Books:
    """What a look at the books gave: schema revision, newest link per branch, what is wrong."""

    schema_revision: str
    chain_heads: dict[str, int]
    findings: tuple[str, ...]


def examine_file(path: Path) -> Books:
    """Examine the books of a SQLite file that nobody writes, and leave it as it is to the octet.

    Raises sqlalchemy.exc.DBAPIError where it cannot be read.
    """
    engine = create_engine(f"sqlite:///file:{path.absolute()}?mode=ro&immutable=1&uri=true")
    try:
        with engine.connect() as connection:
            return examine_books(connection)
    finally:
        engine.dispose()


def _read_heads(connection: Connection) -> tuple[str, dict[str, int]]:
    """Return the schema's revision and the newest chain number per branch."""
    revision = connection.exec_driver_sql("select version_num from alembic_version").scalar_one()
    transaction = tables.ledger_transaction.c
    heads = connection.execute(
        select(transaction.branch_id, func.max(transaction.chain_number)).group_by(
            transaction.branch_id
        )
    )
    return str(revision), {str(branch): int(number) for branch, number in heads}


def examine_books(connection: Connection) -> Books:
    """Read every branch's ledger: entries sum to zero per currency, no transaction was altered.

    Raises sqlalchemy.exc.DBAPIError where the database cannot be read.
    """
    revision, heads = _read_heads(connection)
    findings = []
    for branch_id in sorted(heads):
        totals: dict[str, int] = {}
        for (_, currency), amount in ledger.trial_balance(connection, branch_id).items():
            totals[currency] = totals.get(currency, 0) + amount
        findings += [
            f"branch {branch_id}: the ledger's {currency} sums to {total}, not to 0"
            for currency, total in sorted(totals.items())
            if total
        ]
        broken = ledger.broken_link(connection, branch_id)
        if broken is not None:
            findings.append(f"branch {branch_id}: transaction {broken} was altered")
    return Books(revision, heads, tuple(findings))
