"""Two years of books against the auditors of five offices: bills, balances, ledger, reports."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from sqlalchemy import Connection, select

from billing.adapters import ledger, tables
from billing.adapters.databases import reading
from tests.simulation.books import PROCESSING
from tests.simulation.comparison import (
    Bills,
    Found,
    day_differences,
    invoice_differences,
    owed,
    report_differences,
)
from tests.simulation.years import HOUR_MS, Office, Years


def years_differences(years: Years) -> list[str]:
    """Return every difference between the books and what the auditors say."""
    bills: Bills = {}
    for office in years.offices:
        bills |= owed(office.auditor, years.periods(office))
    found: list[str] = []
    with reading(years.database) as connection:
        found += invoice_differences(connection, bills)
        found += day_differences(connection)
        found += _balances(connection, years)
        found += _ledger(connection, years, bills)
        found += _numbers(connection)
        found += report_differences(connection, years.periods(years.offices[0]))
        for office in years.offices:
            broken = ledger.broken_link(connection, office.branch.branch_id)
            if broken is not None:
                found.append(f"the ledger of {office.branch.branch_id} breaks at {broken}")
    return found


def fingerprint(years: Years) -> str:
    """Return a hash over every row of the books, processing columns too."""
    digest = hashlib.sha256()
    with reading(years.database) as connection:
        for table in (*PROCESSING, tables.document_series):
            for row in connection.execute(select(table).order_by(*table.primary_key.columns)):
                digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()


def _balances(connection: Connection, years: Years) -> Found:
    shown = {row.rating_key: row.amount_minor for row in connection.execute(select(tables.balance))}
    for office in years.offices:
        auditor = office.auditor
        for key in sorted({sale.key for sale in auditor.sales if sale.tariff.is_prepaid}):
            wanted = auditor.balance_minor(key, years.now_ms())
            if shown.pop(key, None) != wanted:
                yield f"balance of {key} should be {wanted}"
    for key, amount in shown.items():
        if amount:
            yield f"{key} has a balance of {amount} and no prepaid plan"


def _ledger(connection: Connection, years: Years, bills: Bills) -> Found:
    """Hold what each account owes, tax, prepaid money and unbilled usage against the ledger."""
    entry, account = tables.ledger_entry.c, tables.ledger_account.c
    query = select(
        entry.transaction_id,
        account.branch_id,
        account.code,
        account.account_id,
        entry.currency,
        entry.amount_minor,
    ).join_from(tables.ledger_entry, tables.ledger_account)
    by_transaction: dict[tuple[str, str], int] = defaultdict(int)
    books: dict[tuple[str, str], int] = defaultdict(int)
    for transaction_id, branch_id, code, owner, currency, amount_minor in connection.execute(query):
        by_transaction[transaction_id, currency] += amount_minor
        # What an account owes is its receivable less its credit, however payments are allocated.
        code = "receivable" if code == "customer_credit" else code
        books[code, owner or branch_id] += amount_minor
    for transaction_id, rest in by_transaction.items():
        if rest:
            yield f"ledger transaction {transaction_id} is out by {rest}"
    wanted: dict[tuple[str, str], int] = defaultdict(int)
    for office in years.offices:
        _expect(wanted, office, bills, years)
    for name in sorted({*wanted, *books}):
        if name[0] in _CODES and wanted[name] != books[name]:
            yield f"ledger account {name} should stand at {wanted[name]}, stands at {books[name]}"


_CODES = ("receivable", "prepaid", "tax_payable")


def _expect(wanted: dict[tuple[str, str], int], office: Office, bills: Bills, years: Years) -> None:
    accounts = set(office.accounts.values())
    for key in {sale.key for sale in office.auditor.sales}:
        [owner] = {sale.account for sale in office.auditor.sales if sale.key == key}
        wanted["prepaid", owner] -= office.auditor.top_ups.get(key, 0)
        wanted["prepaid", owner] += _spent(office, key, years)
    for (owner, _), bill in bills.items():
        if owner in accounts:
            wanted["receivable", owner] += bill.total_minor
            wanted["tax_payable", office.branch.branch_id] -= sum(bill.taxes.values())
    for owner, amount_minor in office.paid.items():
        wanted["receivable", owner] -= amount_minor


def _spent(office: Office, key: str, years: Years) -> int:
    """Return what all days posted so far took from a balance, with what came late for them.

    A day is posted when it is over and the wait for late usage too; what comes later, at the next
    full hour.
    """
    auditor, now_at = office.auditor, years.now_ms()
    day_at = posted_at = auditor.period_of(years.began_at)[0]
    while auditor.close_at((0, day_at)) <= now_at:
        posted_at, day_at = day_at, auditor.day_after(day_at)
    before = max(auditor.close_at((0, posted_at)), now_at // HOUR_MS * HOUR_MS)
    spent = 0
    for period in [*years.periods(office), auditor.period_of(posted_at)]:
        for stay in auditor.stays(key, period):
            if stay.sale.tariff.is_prepaid and stay.from_at < posted_at:
                spent += auditor.spent_minor(stay, period, posted_at, before)
    return spent


def _numbers(connection: Connection) -> Found:
    """Invoice numbers of each branch and series have no gap and no double."""
    invoice = tables.invoice.c
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    query = select(invoice.branch_id, invoice.series, invoice.number)
    for branch_id, series, number in connection.execute(query.where(invoice.status != "draft")):
        found[branch_id, series].append(int(number.rpartition("-")[2]))
    for name, numbers in found.items():
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            yield f"numbers of {name} are {sorted(numbers)}"
