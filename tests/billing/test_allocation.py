"""Which invoices an amount pays: tables, and what holds for every amount."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.allocation import AllocationError, OpenInvoice, Wanted, allocate, status_of

OCT = OpenInvoice("oct", "BDT", 1000, 0, "2026-11-15", 1)
NOV = OpenInvoice("nov", "BDT", 500, 0, "2026-12-15", 2)
GIVEN_UP = OpenInvoice("sep", "BDT", 0, 300, "2026-10-15", 0)


@pytest.mark.parametrize(
    ("amount", "named", "keeps_rest", "paid"),
    [
        (1500, [], False, {"oct": 1000, "nov": 500}),
        (1200, [], False, {"oct": 1000, "nov": 200}),
        (1200, [("nov", None)], False, {"nov": 500, "oct": 700}),
        (1200, [("nov", None)], True, {"nov": 500}),
        (1200, [("nov", 100), ("oct", 100)], False, {"nov": 100, "oct": 100}),
        (9000, [], False, {"oct": 1000, "nov": 500}),
        (200, [("sep", None)], False, {"sep": 200}),
        (1300, [("sep", None)], False, {"sep": 300, "oct": 1000}),
    ],
)
def test_who_is_paid(
    amount: int, named: list[tuple[str, int | None]], keeps_rest: bool, paid: dict[str, int]
) -> None:
    wanted = [Wanted(*one) for one in named]
    shares = allocate(amount, [NOV, OCT, GIVEN_UP], wanted, keeps_rest=keeps_rest)
    assert {share.invoice_id: share.amount_minor for share in shares} == paid
    assert sum(s.recovered_minor for s in shares) == paid.get("sep", 0)


@pytest.mark.parametrize(
    ("amount", "named", "why"),
    [
        (100, [("dec", None)], "invoice dec: expected one that can be paid"),
        (100, [("oct", 0)], "expected an amount of 1 to 1000"),
        (2000, [("oct", 1001)], "expected an amount of 1 to 1000 .*got 1001"),
        (100, [("oct", 101)], "expected at most 100"),
        (100, [("oct", 1), ("oct", 1)], "named twice"),
    ],
)
def test_what_cannot_be_says_what_was_expected(
    amount: int, named: list[tuple[str, int | None]], why: str
) -> None:
    with pytest.raises(AllocationError, match=why):
        allocate(amount, [OCT, NOV], [Wanted(*one) for one in named])


@given(
    st.integers(1, 10**6),
    st.lists(st.tuples(st.integers(0, 10**5), st.integers(0, 10**5)), max_size=8),
    st.lists(st.integers(0, 7), max_size=4, unique=True),
    st.booleans(),
)
def test_no_invoice_gets_more_than_it_asks_for_and_no_money_is_made(
    amount: int, asked: list[tuple[int, int]], named: list[int], keeps_rest: bool
) -> None:
    invoices = [
        OpenInvoice(f"i{n}", "BDT", open_minor, off, f"2026-01-{n + 1:02}", n)
        for n, (open_minor, off) in enumerate(asked)
    ]
    wanted = [Wanted(f"i{n}") for n in named if n < len(invoices)]
    shares = allocate(amount, invoices, wanted, keeps_rest=keeps_rest)
    by_id = {invoice.invoice_id: invoice for invoice in invoices}
    for share in shares:
        invoice = by_id[share.invoice_id]
        assert 0 < share.amount_minor <= invoice.open_minor + invoice.written_off_minor
        assert 0 <= share.recovered_minor <= invoice.written_off_minor
        assert share.amount_minor - share.recovered_minor <= invoice.open_minor
    paid = sum(share.amount_minor for share in shares)
    assert paid <= amount
    if not keeps_rest:
        taken = {share.invoice_id: share.amount_minor for share in shares}
        still_open = any(i.open_minor > taken.get(i.invoice_id, 0) for i in invoices)
        assert paid == amount or not still_open, "money lay while an invoice was open"


@pytest.mark.parametrize(("paid", "status"), [(0, "finalized"), (99, "finalized"), (100, "paid")])
def test_an_invoice_is_paid_when_nothing_is_open(paid: int, status: str) -> None:
    assert status_of(100, paid) == status
