"""How long a report over a month of many invoices takes, from the database to the file.

Run ``python -m tests.benchmarks.bench_reports [invoices]``. Each invoice has a fee and usage, two
lines and one ledger transaction, in SQLite. Prints seconds per report and lines per second.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import Connection, insert

from billing.accounts import Account
from billing.adapters import tables
from billing.adapters.databases import open_database, reading, writing
from billing.adapters.report_files import to_csv
from billing.adapters.reports import run_report
from billing.adapters.repositories import create
from billing.reports.table import Question
from infra.migrate import migrate
from tests.billing import world
from tests.billing.world import add_subscription, at, home_plan

ACCOUNTS = 1_000
START_AT, END_AT = at("2026-11-01"), at("2026-12-01")
FEE, USAGE = 100_000, 12_345


def fill(connection: Connection, invoices: int) -> None:
    """Write invoices of November with their lines and postings, issued on its days."""
    create(connection, world.BRANCH)
    create(connection, home_plan())
    for number in range(ACCOUNTS):
        name = f"acc{number:04d}"
        create(connection, Account(name, "dhk", name, "person", "", "", 0))
        add_subscription(connection, name, name, since="2026-01-01")
    codes = {"revenue_recurring": "income", "unbilled": "asset", "receivable": "asset"}
    connection.execute(
        insert(tables.ledger_account),
        [
            {"ledger_account_id": f"dhk/{code}", "branch_id": "dhk", "code": code, "kind": kind,
             "name": code, "account_id": None}
            for code, kind in codes.items()
        ],
    )  # fmt: skip
    for first in range(0, invoices, 10_000):
        _write(connection, range(first, min(first + 10_000, invoices)))


def _write(connection: Connection, numbers: range) -> None:
    ids = [f"inv_{number:08d}" for number in numbers]
    common = {"branch_id": "dhk", "currency": "BDT"}
    connection.execute(
        insert(tables.invoice),
        [
            {"invoice_id": i, "account_id": f"acc{n % ACCOUNTS:04d}", "series": "INV",
             "number": i, "status": "finalized", "period_start_at": START_AT,
             "period_end_at": END_AT + n, "issued_at": START_AT + n % 30 * 86_400_000,
             "due_on": "2026-12-15", "subtotal_minor": FEE + USAGE, "tax_minor": 0,
             "total_minor": FEE + USAGE, "hash": "", "document": "", **common}
            for n, i in zip(numbers, ids, strict=True)
        ],
    )  # fmt: skip
    evidence = '{"plan_id":"home","plan_version":1}'
    connection.execute(
        insert(tables.invoice_line),
        [
            {"invoice_id": i, "line": line, "kind": kind, "description": "", "rating_key": "",
             "meter_id": "", "quantity": 1, "unit": "", "amount_minor": amount, "tax_rate": "0",
             "evidence": evidence, "income": income}
            for i in ids
            for line, kind, amount, income in (
                (1, "recurring", FEE, "revenue_recurring"), (2, "usage", USAGE, ""),
            )
        ],
    )  # fmt: skip
    connection.execute(
        insert(tables.ledger_transaction),
        [
            {"transaction_id": f"invoice:{i}", "branch_id": "dhk", "source": "invoice",
             "idempotency_key": i, "occurred_at": END_AT, "description": "",
             "chain_number": n + 1, "chain_hash": "", "recorded_at": 0}
            for n, i in zip(numbers, ids, strict=True)
        ],
    )  # fmt: skip
    legs = ((1, "receivable", FEE + USAGE), (2, "unbilled", -USAGE), (3, "revenue_recurring", -FEE))
    connection.execute(
        insert(tables.ledger_entry),
        [
            {"transaction_id": f"invoice:{i}", "line": line, "ledger_account_id": f"dhk/{code}",
             "amount_minor": amount, "currency": "BDT"}
            for i in ids
            for line, code, amount in legs
        ],
    )  # fmt: skip


def main(invoices: int = 500_000) -> None:
    """Fill a database and time the revenue report, as a sum and as a file of its details."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory) / 'flowrate.sqlite'}"
        migrate(url)
        engine = open_database(url, synchronous="normal")
        with writing(engine) as connection:
            fill(connection, invoices)
        first, last = datetime.date(2026, 11, 1), datetime.date(2026, 11, 30)
        for has_details in (False, True):
            begun = time.perf_counter()
            with reading(engine) as connection:
                question = Question(first, last, has_details=has_details)
                table = run_report(connection, "revenue", question)
            read = time.perf_counter() - begun
            octets = len(to_csv(table))
            whole = time.perf_counter() - begun
            print(
                f"{'details' if has_details else 'summary'}: {2 * invoices:,} lines,"
                f" {table.rows.height:,} rows in {read:.1f} s, with CSV of {octets:,} octets"
                f" {whole:.1f} s, {2 * invoices / whole:,.0f} lines/s"
            )
        engine.dispose()


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
