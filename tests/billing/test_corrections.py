"""Voids and notes by clerks: what is printed, what is owed then, and what the ledger says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select

from billing.accounts import Account
from billing.adapters import tables, tax_tables
from billing.adapters.allocations import credit_of
from billing.adapters.billing_run import run_billing
from billing.adapters.corrections import issue_note, void_invoice
from billing.adapters.databases import reading, writing
from billing.adapters.ledger import broken_link, trial_balance
from billing.adapters.payments import record_payment
from billing.adapters.repositories import create
from billing.clerk_notes import CREDIT, DEBIT, NoteLine, NoteOrder, NoteRefusedError, draft_note
from billing.config import BillingConfig
from billing.invoice_states import TRANSITIONS, InvoiceStateError, next_state
from billing.invoices import ADJUSTMENT, InvoiceInputs, InvoiceLine, assemble
from billing.payments import Payment
from billing.taxes import TaxTreatment, tax_amounts
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import add_customer, at, close_month, home_plan

INVOICE = "inv_karim_2026-11-01_BDT"
NOW = at("2026-12-05", 10)


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    """Karim's November: fee 1,000.00, usage 600.00, 15 % VAT, invoiced at 1,840.00."""
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
    run_billing(engine, BillingConfig(), at("2026-12-01", 12))
    return engine


def pay(engine: Engine, amount: int) -> None:
    payment = Payment(
        "p1", "dhk", "karim", INVOICE, "bank", "r1", amount, "BDT", at("2026-12-02"), "clerk"
    )
    with writing(engine) as connection:
        record_payment(connection, payment, at("2026-12-02"))


def void(engine: Engine) -> bool:
    with writing(engine) as connection:
        return void_invoice(connection, INVOICE, "wrong customer", "Front desk", NOW)


def note(engine: Engine, kind: str, *lines: tuple[int, int], at_ms: int = NOW) -> str:
    wanted = tuple(NoteLine(*line) for line in lines)
    with writing(engine) as connection:
        order = NoteOrder(INVOICE, kind, wanted, "Outage", "Front desk")
        return issue_note(connection, order, at_ms)


def papers(engine: Engine) -> list[tuple[str, str, int, int]]:
    """Return (number, status, total, paid) of all papers in order of their numbers."""
    table = tables.invoice.c
    columns = (table.number, table.status, table.total_minor, table.paid_minor)
    with reading(engine) as connection:
        query = select(*columns).order_by(table.series.desc(), table.number)
        return [tuple(row) for row in connection.execute(query)]


def balances(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        found = trial_balance(connection, "dhk")
        assert sum(found.values()) == 0
        assert broken_link(connection, "dhk") is None
    return {code: amount for (code, _), amount in found.items() if amount}


# Steps, and then the papers and the ledger: what a clerk sees.
STORIES: dict[str, tuple[list[Any], list[tuple[str, str, int, int]], dict[str, int]]] = {
    "a void invoice asks for nothing and its number stays used": (
        [void],
        [("DHK-INV-000001", "void", 184000, 0)],
        {},
    ),
    "what was paid on a void invoice is credit": (
        [lambda e: pay(e, 184000), void],
        [("DHK-INV-000001", "void", 184000, 0)],
        {"bank": 184000, "customer_credit": -184000},
    ),
    "a whole credit settles the invoice and mirrors it": (
        [lambda e: note(e, CREDIT)],
        [("DHK-INV-000001", "paid", 184000, 184000), ("DHK-CRN-000001", "paid", -184000, 0)],
        {},
    ),
    "a part of one line with its tax": (
        [lambda e: note(e, CREDIT, (1, 20000))],
        [("DHK-INV-000001", "finalized", 184000, 23000), ("DHK-CRN-000001", "paid", -23000, 0)],
        {
            "receivable": 161000,
            "tax_payable": -21000,
            "revenue_recurring": -80000,
            "revenue_usage": -60000,
        },
    ),
    "a credit of what was paid is the customer's": (
        [lambda e: pay(e, 184000), lambda e: note(e, CREDIT, (2, 60000))],
        [("DHK-INV-000001", "paid", 184000, 184000), ("DHK-CRN-000001", "paid", -69000, 0)],
        {
            "bank": 184000,
            "customer_credit": -69000,
            "tax_payable": -15000,
            "revenue_recurring": -100000,
        },
    ),
    "a part, then all that is left": (
        [lambda e: note(e, CREDIT, (1, 20000)), lambda e: note(e, CREDIT)],
        [
            ("DHK-INV-000001", "paid", 184000, 184000),
            ("DHK-CRN-000001", "paid", -23000, 0),
            ("DHK-CRN-000002", "paid", -161000, 0),
        ],
        {},
    ),
    "a debit note asks for more": (
        [lambda e: note(e, DEBIT, (1, 10000))],
        [
            ("DHK-INV-000001", "finalized", 184000, 0),
            ("DHK-DBN-000001", "finalized", 11500, 0),
        ],
        {
            "receivable": 195500,
            "tax_payable": -25500,
            "revenue_recurring": -110000,
            "revenue_usage": -60000,
        },
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_what_a_clerk_corrects(engine: Engine, story: str) -> None:
    steps, expected, ledger = STORIES[story]
    for step in steps:
        step(engine)
    assert papers(engine) == expected
    assert balances(engine) == ledger


REFUSALS: dict[str, tuple[list[Any], Any, str]] = {
    "more than was billed": (
        [],
        lambda e: note(e, CREDIT, (1, 100001)),
        "100001 is more than is left to be credited, 100000",
    ),
    "more than is left": (
        [lambda e: note(e, CREDIT, (1, 60000))],
        lambda e: note(e, CREDIT, (1, 40001)),
        "40001 is more than is left to be credited, 40000",
    ),
    "a line of tax": ([], lambda e: note(e, CREDIT, (3, 1)), "no line 3 that can be corrected"),
    "nothing is left": ([lambda e: note(e, CREDIT)], lambda e: note(e, CREDIT), "nothing is left"),
    "a credit of a void invoice": ([void], lambda e: note(e, CREDIT), "is void: expected"),
    "a void of a corrected invoice": (
        [lambda e: note(e, CREDIT, (1, 1))],
        void,
        "corrected by notes",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_refused(engine: Engine, case: str) -> None:
    steps, refused, words = REFUSALS[case]
    for step in steps:
        step(engine)
    before = papers(engine), balances(engine)
    with pytest.raises((NoteRefusedError, InvoiceStateError), match=words):
        refused(engine)
    assert (papers(engine), balances(engine)) == before, "a refusal leaves no number and no row"


def test_a_second_void_changes_nothing(engine: Engine) -> None:
    assert void(engine)
    assert not void(engine)
    with reading(engine) as connection:
        [row] = connection.execute(select(tables.invoice)).all()
        assert (row.number, row.status) == ("DHK-INV-000001", "void")
        assert credit_of(connection, "karim") == {}


def test_a_void_period_is_not_billed_again(engine: Engine) -> None:
    void(engine)
    assert run_billing(engine, BillingConfig(), at("2026-12-06")) == {}
    assert len(papers(engine)) == 1
    assert balances(engine) == {}


def test_late_usage_after_a_credit_is_billed_as_ever(engine: Engine) -> None:
    note(engine, CREDIT)
    with writing(engine) as connection:
        world.revise_month(
            connection, "karim", "2026-11", revision=1, gigabytes=640, minor=70000,
            day_minor=10000, closed_at=at("2026-12-10"),
        )  # fmt: skip
        close_month(connection, "karim", "2026-12", gigabytes=1, minor=0)
    run_billing(engine, BillingConfig(), at("2027-01-01", 12))
    assert balances(engine) == {
        "receivable": 126500, "tax_payable": -16500,
        "revenue_recurring": -100000, "revenue_usage": -10000,
    }  # fmt: skip


def test_two_notes_of_one_moment_are_two(engine: Engine) -> None:
    first, second = (note(engine, CREDIT, (1, 1), at_ms=at("2027-01-01")) for _ in range(2))
    assert (first, second) == (f"{INVOICE}_note_1", f"{INVOICE}_note_2")
    with writing(engine) as connection:
        close_month(connection, "karim", "2026-12", gigabytes=1, minor=0)
    run_billing(engine, BillingConfig(), at("2027-01-01", 12))
    assert [number for number, *_ in papers(engine)].count("DHK-INV-000002") == 1, (
        "a note at a month's end is no invoice of that month"
    )


def test_a_debit_note_is_due_like_its_invoice(engine: Engine) -> None:
    note(engine, DEBIT, (1, 10000))
    table = tables.invoice.c
    with reading(engine) as connection:
        [due_on] = connection.scalars(select(table.due_on).where(table.series == "DBN"))
    assert due_on == "2026-12-19", "14 days after the fifth"


def test_a_credit_gives_back_taxes_by_code_and_what_was_withheld(new_database: NewDatabase) -> None:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan(tax_rate="0", tax_code="internet"))
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
        for tax_id, percent, position in (("sd", "5", 0), ("vat", "15", 1)):
            connection.execute(
                insert(tax_tables.tax_rate).values(
                    branch_id="dhk",
                    tax_code="internet",
                    tax_id=tax_id,
                    place="",
                    valid_from_on="2020-01-01",
                    name=tax_id.upper(),
                    percent=percent,
                    position=position,
                    is_compound=position == 1,
                    created_by="",
                    created_at=0,
                )
            )
        connection.execute(
            insert(tax_tables.tax_status).values(
                status_id="w1",
                account_id="karim",
                branch_id="dhk",
                kind="withholding",
                tax_id="",
                certificate="C-7",
                percent="10",
                basis="net",
                valid_from_on="2026-01-01",
                valid_until_on="2026-11-30",
                created_by="",
                created_at=0,
            )
        )
    run_billing(engine, BillingConfig(), at("2026-12-01", 12))
    assert balances(engine)["tax_withheld"] == 16000
    note(engine, CREDIT, (1, 50000))
    found = balances(engine)
    assert (found["tax_payable.sd"], found["tax_payable.vat"]) == (-5500, -17325)
    assert found["tax_withheld"] == 11000
    note(engine, CREDIT)
    assert balances(engine) == {}


VAT = TaxTreatment("15", False)
INCLUDED = TaxTreatment("7.7", True)


@given(
    st.lists(
        st.tuples(st.sampled_from([VAT, INCLUDED]), st.integers(1, 999)), min_size=1, max_size=4
    ),
    st.data(),
)
def test_parts_give_back_exactly_what_the_whole_asked_for(
    billed: list[tuple[TaxTreatment, int]], data: st.DataObject
) -> None:
    account = Account("karim", "dhk", "Karim", "person", "", "", 0)
    inputs = InvoiceInputs(world.BRANCH, account, "BDT", 1, 2, [], [], [])
    lines = [
        InvoiceLine(ADJUSTMENT, "x", "", "", 1, "", amount, tax.percent, {}, tax)
        for tax, amount in billed
    ]
    invoice = assemble("inv", inputs, lines, tax_amounts(billed))
    credited: dict[int, int] = {}
    total = tax = 0
    for part in range(3):
        wanted = []
        for number, (_, amount) in enumerate(billed, 1):
            left = amount - credited.get(number, 0)
            some = left if part == 2 else data.draw(st.integers(0, left))
            if some:
                wanted.append(NoteLine(number, some))
        if not wanted:
            continue
        given_back = draft_note(
            "n",
            dataclasses.replace(inputs, is_note=True),
            ("inv", invoice.document),
            wanted,
            "why",
            credited,
        )
        for want in wanted:
            credited[want.number] = credited.get(want.number, 0) + want.amount_minor
        total += given_back.total_minor
        tax += given_back.tax_minor
    assert (total, tax) == (-invoice.total_minor, -invoice.tax_minor)


def test_only_what_the_table_says_can_happen() -> None:
    events = {event for _, event in TRANSITIONS}
    for state in ("draft", "finalized", "paid", "void"):
        for event in events:
            if (state, event) in TRANSITIONS:
                assert next_state("i", state, event) == TRANSITIONS[state, event]
            else:
                with pytest.raises(InvoiceStateError, match=f"i is {state}: to {event} it"):
                    next_state("i", state, event)
    assert not any(state == "void" for state, _ in TRANSITIONS), "what is void stays void"
