"""What Flowrate says against what the auditor says: invoices, days, balances, ledger, octets."""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import polars as pl
from sqlalchemy import Connection, select

from billing.adapters import tables
from billing.adapters.databases import reading
from billing.adapters.reports import REPORTS, run_report
from billing.reports.table import Question
from tests.simulation.auditor import Auditor, Bill, Period
from tests.simulation.business import Business
from tests.simulation.truth import FOREVER
from tests.simulation.world import World

Found = Iterator[str]
"""Differences, one sentence each."""

Bills = dict[tuple[str, int], Bill]
"""(account, start of the period) -> bill."""


def differences(world: World, business: Business, periods: list[Period]) -> list[str]:
    """Return every difference between the books and the truth, for closed periods ascending."""
    found: list[str] = []
    bills = owed(business.auditor, periods)
    with reading(world.database) as connection:
        found += invoice_differences(connection, bills)
        found += day_differences(connection)
        found += _balances(connection, business, world.now_ms())
        found += _ledger(connection, business.auditor, bills)
        found += report_differences(connection, periods)
    rated = world.machine.rated()
    found += _octets(rated, world, business)
    found += _charges(rated, business.auditor, periods)
    return found


def report_differences(connection: Connection, periods: list[Period]) -> Found:
    """Hold every report of the periods' days, and of a month behind them, against the ledger."""
    first, last = (
        datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).date()
        for at in (periods[0][0], periods[-1][1] + 30 * 86_400_000)
    )
    for name in REPORTS:
        for tie in run_report(connection, name, Question(first, last)).ties:
            if tie.difference_minor:
                yield f"report {name} says {tie.report_minor} where the ledger says {tie}"


# -- invoices ----------------------------------------------------------------------------------


def owed(auditor: Auditor, periods: list[Period]) -> Bills:
    """Return every bill that the auditor expects."""
    expected = {}
    for number, period in enumerate(periods):
        earlier = periods[number - 1] if number else None
        leavers = auditor.owing_late(period, earlier) if earlier else []
        for account in [*auditor.accounts(period), *leavers]:
            expected[account, period[0]] = auditor.bill(account, period, earlier)
    return expected


def invoice_differences(connection: Connection, expected: Bills) -> Found:
    """Compare the finalized invoices with what is owed."""
    made = bills_of(connection)
    for name in sorted({*expected, *made}):
        if name not in made:
            yield f"{name}: no finalized invoice"
        elif name not in expected:
            yield f"{name}: an invoice that nobody owes"
        else:
            for difference in _bill(expected[name], made[name]):
                yield f"invoice of {name}: {difference}"


def _bill(truth: Bill, made: Bill) -> Found:
    for line in sorted({*truth.lines, *made.lines}):
        wanted, got = truth.lines.get(line), made.lines.get(line)
        if wanted != got:
            yield f"line {line}: (quantity, minor) should be {wanted}, is {got}"
    if truth.taxes != made.taxes:
        yield f"tax by percent should be {dict(truth.taxes)}, is {dict(made.taxes)}"
    if truth.total_minor != made.total_minor:
        yield f"total should be {truth.total_minor}, is {made.total_minor}"


def bills_of(connection: Connection) -> Bills:
    """Return the finalized invoices in the auditor's form."""
    made = {}
    invoice, line = tables.invoice, tables.invoice_line
    for row in connection.execute(select(invoice).where(invoice.c.status != "draft")):
        lines: dict[Any, tuple[int, int]] = defaultdict(lambda: (0, 0))
        taxes: dict[int, int] = defaultdict(int)
        query = select(line).where(line.c.invoice_id == row.invoice_id)
        for part in connection.execute(query):
            if part.kind == "tax":
                taxes[int(part.tax_rate)] += part.amount_minor
                continue
            evidence = part.evidence
            if isinstance(evidence, str):
                evidence = json.loads(evidence)
            measure = evidence["plan_id"] if part.kind == "recurring" else part.meter_id
            name = (part.kind, part.rating_key, evidence.get("segment_number", 0), measure)
            had = lines[name]
            lines[name] = (had[0] + part.quantity, had[1] + part.amount_minor)
        made[row.account_id, row.period_start_at] = Bill(
            {name: values for name, values in lines.items() if values != (0, 0)},
            {percent: tax for percent, tax in taxes.items() if tax},
            row.total_minor,
        )
    return made


# -- days, balances, ledger --------------------------------------------------------------------

_SEGMENT = ("rating_key", "period_start_at", "segment_number", "meter_id")


def day_differences(connection: Connection) -> Found:
    """The days of a closed segment add up to its line, late revisions of both included."""
    charge, day = tables.usage_charge.c, tables.usage_day.c
    lines: dict[tuple[Any, ...], tuple[int, int]] = {}
    query = select(tables.usage_charge).order_by(charge.revision)
    for row in connection.execute(query):
        lines[tuple(getattr(row, n) for n in _SEGMENT)] = (row.quantity, row.amount_minor)
    quantity: dict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    amount: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in connection.execute(select(tables.usage_day).order_by(day.revision)):
        name = tuple(getattr(row, n) for n in _SEGMENT)
        quantity[name][row.day_on] = row.quantity
        amount[name] += row.amount_minor
    for name, line in sorted(lines.items()):
        days = (sum(quantity[name].values()), amount[name])
        if days != line:
            yield f"days of {name} add up to {days}, their line is {line}"


def _balances(connection: Connection, business: Business, now: int) -> Found:
    auditor = business.auditor
    query = select(tables.balance)
    shown = {row.rating_key: row.amount_minor for row in connection.execute(query)}
    prepaid = {sale.key for sale in auditor.sales if sale.tariff.is_prepaid}
    for key in sorted({*shown, *prepaid}):
        wanted = auditor.balance_minor(key, now) if key in prepaid else 0
        if shown.get(key, 0) != wanted:
            yield f"balance of {key} should be {wanted}, is {shown.get(key)}"


def _ledger(connection: Connection, auditor: Auditor, bills: Bills) -> Found:
    """Every transaction balances; receivables, unbilled usage, prepaid and tax are as billed."""
    entry, account = tables.ledger_entry.c, tables.ledger_account.c
    query = select(
        entry.transaction_id, account.code, account.account_id, entry.amount_minor
    ).join_from(tables.ledger_entry, tables.ledger_account)
    by_transaction: dict[str, int] = defaultdict(int)
    books: dict[tuple[str, str], int] = defaultdict(int)
    for transaction_id, code, owner, amount_minor in connection.execute(query):
        by_transaction[transaction_id] += amount_minor
        books[code, owner or ""] += amount_minor
    for transaction_id, rest in by_transaction.items():
        if rest:
            yield f"ledger transaction {transaction_id} is out by {rest}"
    wanted: dict[tuple[str, str], int] = defaultdict(int)
    for sale in auditor.sales:
        wanted["prepaid", sale.account] -= auditor.top_ups.get(sale.key, 0)
        wanted["cash", ""] += auditor.top_ups.get(sale.key, 0)
    for (owner, _), bill in bills.items():
        wanted["receivable", owner] += bill.total_minor
        wanted["tax_payable", ""] -= sum(bill.taxes.values())
        paid = bill.lines.get(("adjustment", "", 0, ""), (0, 0))[1]
        wanted["prepaid", owner] -= paid
    codes = ("receivable", "prepaid", "tax_payable", "cash", "unbilled")
    for name in sorted({*wanted, *books}):
        if name[0] in codes and wanted[name] != books[name]:
            yield f"ledger account {name} should stand at {wanted[name]}, stands at {books[name]}"


# -- rated usage -------------------------------------------------------------------------------


def _octets(rated: pl.DataFrame, world: World, business: Business) -> Found:
    """Not an octet more or less was rated than the network moved; what moved before a line's
    first minute with us is nobody's, and kept."""
    volume = rated.filter(pl.col("meter_id") == "volume")
    logins = {key: login for login, key in business.keys.items()}
    sums = volume.group_by("subscriber_id", "source").agg(pl.col("octets_up", "octets_down").sum())
    made = {(logins.get(row[0], ""), row[1]): (row[2], row[3]) for row in sums.iter_rows()}
    since = {m.login: m.from_at for m in reversed(business.auditor.memberships)}
    nobodys = [0, 0]
    for login in world.truth.logins():
        wanted = world.truth.counted(login, since[login], FOREVER, FOREVER)[:2]
        before = world.truth.counted(login, 0, since[login], FOREVER)
        nobodys = [nobodys[0] + before[0], nobodys[1] + before[1]]
        if made.get((login, "accounting"), (0, 0)) != wanted:
            got = made.get((login, "accounting"))
            yield f"octets (up, down) of {login} should be {wanted}, are {got}"
    if made.get(("", "accounting"), (0, 0)) != tuple(nobodys):
        yield f"nobody's octets should be {nobodys}, are {made.get(('', 'accounting'))}"
    for login in world.truth.static_prefixes:
        classes = world.truth.flowed(login, 0, FOREVER, FOREVER).values()
        wanted = (sum(up for up, _ in classes), sum(down for _, down in classes))
        if made.get((login, "flows"), (0, 0)) != wanted:
            got = made.get((login, "flows"))
            yield f"octets (up, down) of {login} should be {wanted}, are {got}"


def _charges(rated: pl.DataFrame, auditor: Auditor, periods: list[Period]) -> Found:
    """The charges on the wire add up to the exact price of everything, to 18 decimals."""
    for period in periods:
        rows = rated.filter(
            (pl.col("meter_id") != "volume") & (pl.col("period_start_at") == period[0])
        )
        made: dict[tuple[str, str], int] = defaultdict(int)
        for key, meter, charge in rows.select("rating_key", "meter_id", "charge").iter_rows():
            made[key, meter] += int(charge.scaleb(18))
        wanted = auditor.exact_charges(period)
        for name in sorted({*wanted, *(n for n, units in made.items() if units)}):
            if wanted.get(name, 0) != made[name]:
                yield f"charges of {name} should be {wanted.get(name, 0)}e-18, are {made[name]}"
