"""Statements of account: every movement once, a running balance, and the ledger's own closing."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from billing.accounts import Account
from billing.adapters import ledger
from billing.adapters.allocations import credit_of
from billing.adapters.corrections import issue_note, void_invoice
from billing.adapters.databases import reading, writing
from billing.adapters.payments import record_payment
from billing.adapters.pdf import STATEMENT_TEMPLATE, render
from billing.adapters.statements import read_movements, read_statements
from billing.clerk_notes import CREDIT, NoteLine, NoteOrder
from billing.payments import Payment
from billing.printed_statements import print_statement
from billing.statements import Movement, Statement, statements_of
from tests.billing.conftest import NewDatabase
from tests.billing.payment_desk import invoice_id, open_desk
from tests.billing.world import BRANCH, at


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    """Three invoices of 1,150.00 issued on 1 December; paid 3,000.00, credited, one void."""
    engine = new_database()
    open_desk(engine)
    payment = Payment(
        "p1", "dhk", "karim", None, "bank", "r1", 300000, "BDT", at("2026-12-02"), "clerk"
    )
    order = NoteOrder(invoice_id("nov"), CREDIT, (NoteLine(1, 50000),), "Outage", "clerk")
    with writing(engine) as connection:
        record_payment(connection, payment, at("2026-12-02"))
        issue_note(connection, order, at("2026-12-03"))
        void_invoice(connection, invoice_id("sep"), "wrong", "clerk", at("2026-12-04"))
    return engine


def ask(engine: Engine, first: str, last: str) -> Statement:
    with reading(engine) as connection:
        [statement] = read_statements(connection, "karim", first, last)
    return statement


def shown(statement: Statement) -> list[tuple[Any, ...]]:
    return [
        (line.day[-2:], line.kind, line.reference, line.amount_minor, line.balance_minor)
        for line in statement.lines
    ]


def test_every_movement_with_its_balance(engine: Engine) -> None:
    statement = ask(engine, "2026-12-01", "2026-12-31")
    assert shown(statement) == [
        ("01", "Invoice", "DHK-INV-000001", 115000, 115000),
        ("01", "Invoice", "DHK-INV-000002", 115000, 230000),
        ("01", "Invoice", "DHK-INV-000003", 115000, 345000),
        ("02", "Payment", "bank r1", -300000, 45000),
        ("03", "Credit note", "DHK-CRN-000001", -57500, -12500),
        ("04", "Void", "DHK-INV-000001", -115000, -127500),
    ]
    assert (statement.opening_minor, statement.closing_minor) == (0, -127500)
    assert (statement.debits_minor, statement.credits_minor) == (345000, -472500)


def test_a_later_statement_opens_where_an_earlier_closes(engine: Engine) -> None:
    early, late = ask(engine, "2026-12-01", "2026-12-02"), ask(engine, "2026-12-03", "2026-12-31")
    assert early.closing_minor == late.opening_minor == 45000
    assert [line.kind for line in late.lines] == ["Credit note", "Void"]
    assert ask(engine, "2027-01-01", "2027-01-31").lines == ()


def test_the_closing_balance_is_the_ledgers(engine: Engine) -> None:
    with reading(engine) as connection:
        owed = ledger.customer_balance(connection, "karim", "receivable").get("BDT", 0)
        credit = credit_of(connection, "karim").get("BDT", 0)
    assert ask(engine, "2026-01-01", "2026-12-31").closing_minor == owed - credit


def test_another_customer_has_no_line_of_it(engine: Engine) -> None:
    with reading(engine) as connection:
        assert read_movements(connection, "rahima") == []


DAYS = ("2026-11-30", "2026-12-01", "2026-12-02", "2026-12-31", "2027-01-01")


@given(
    st.lists(
        st.tuples(st.sampled_from(DAYS), st.sampled_from(("BDT", "USD")), st.integers(-500, 500))
    ),
    st.randoms(use_true_random=False),
)
def test_lines_lead_from_opening_to_closing_in_any_order(
    rows: list[tuple[str, str, int]], chance: Any
) -> None:
    movements = [
        Movement(f"t{n}", "payment", day, n, currency, amount)
        for n, (day, currency, amount) in enumerate(rows)
    ]
    found = statements_of(movements, "2026-12-01", "2026-12-31")
    shuffled = list(movements)
    chance.shuffle(shuffled)
    assert statements_of(shuffled, "2026-12-01", "2026-12-31") == found
    for statement in found:
        mine = [m for m in movements if m.currency == statement.currency]
        balances = [statement.opening_minor, *(line.balance_minor for line in statement.lines)]
        for (before, after), line in zip(
            itertools.pairwise(balances), statement.lines, strict=True
        ):
            assert after - before == line.amount_minor
        assert statement.closing_minor == sum(m.amount_minor for m in mine if m.day < "2027")


def test_the_paper_has_every_amount_in_the_branchs_language(engine: Engine) -> None:
    statement = ask(engine, "2026-12-01", "2026-12-31")
    account = Account("karim", "dhk", "মোঃ করিম", "person", "", "", 0)
    for language, kind in (("en", "Credit note"), ("bn", "ক্রেডিট নোট"), ("xx", "Credit note")):
        branch = dataclasses.replace(BRANCH, language=language)
        days = (statement.first_on, statement.last_on)
        printed = print_statement(branch, account, days, [statement])
        [part] = printed["statements"]
        assert part["lines"][4]["kind"] == kind
        assert (part["lines"][4]["credit"], part["closing"]) == ("575.00", "1,275.00")
        assert part["is_credit"]
        assert render(printed, STATEMENT_TEMPLATE) == render(printed, STATEMENT_TEMPLATE)
