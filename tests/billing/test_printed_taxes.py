"""What an invoice prints of its taxes, of what is withheld, and of being void."""

from __future__ import annotations

import dataclasses

import pytest

from billing.accounts import Account, Subscription
from billing.adapters.pdf import render
from billing.catalog import terms_of
from billing.invoices import InvoiceInputs, RecurringInput, draft_invoice
from billing.printing import PrintedState, print_invoice
from billing.tax_rules import TaxRate, TaxRules, TaxStatus
from tests.billing.world import BRANCH, at, home_plan

CUSTOMER = Account("karim", "dhk", "Karim Traders", "company", "", "", 0)
SD = TaxRate("dhk", "internet", "sd", "", "2020-01-01", "SD", "5", 0, False)
VAT = TaxRate("dhk", "internet", "vat", "", "2020-01-01", "VAT", "15", 1, True)
PAPER = TaxStatus("s1", "karim", "exempt", "", "EX-3", "", "", "2026-01-01", "")
REVERSE = dataclasses.replace(PAPER, kind="reverse_charge", certificate="")
WITHHELD = dataclasses.replace(
    PAPER, kind="withholding", percent="10", basis="net", certificate="AIT 118"
)

# certificates, the rows under the table, what is due, and what the law wants said
PAPERS: dict[str, tuple[tuple[TaxStatus, ...], list[tuple[str, str]], str, list[str]]] = {
    "tax on tax": (
        (),
        [("SD 5 % on 1,000.00", "50.00"), ("VAT 15 % on 1,050.00", "157.50")],
        "1,207.50",
        [],
    ),
    "exempt": (
        (PAPER,),
        [
            ("SD, exempt, certificate EX-3, on 1,000.00", "0.00"),
            ("VAT, exempt, certificate EX-3, on 1,000.00", "0.00"),
        ],
        "1,000.00",
        [],
    ),
    "reverse charge": (
        (REVERSE,),
        [
            ("SD, reverse charge, on 1,000.00", "0.00"),
            ("VAT, reverse charge, on 1,000.00", "0.00"),
        ],
        "1,000.00",
        ["Reverse charge: the tax is owed by the customer."],
    ),
    "withheld": (
        (WITHHELD,),
        [
            ("SD 5 % on 1,000.00", "50.00"),
            ("VAT 15 % on 1,050.00", "157.50"),
            ("Total with tax", "1,207.50"),
            ("Withheld 10 % of the net amount (AIT 118)", "−100.00"),
        ],
        "1,107.50",
        [],
    ),
}


def paper(statuses: tuple[TaxStatus, ...]) -> str:
    """Return the document of November's fee of 1,000.00."""
    terms = terms_of(home_plan(tax_rate="0", tax_code="internet").document)
    running = Subscription("s", "dhk", "karim", "karim", "home", 1, at("2026-01-01"), None)
    inputs = InvoiceInputs(
        BRANCH,
        CUSTOMER,
        "BDT",
        at("2026-11-01"),
        at("2026-12-01"),
        [RecurringInput(running, terms, "Karim")],
        [],
        [],
        tax_rules=TaxRules("", "BIN 7", (SD, VAT), statuses),
    )
    return draft_invoice(inputs).document


@pytest.mark.parametrize("case", PAPERS)
def test_the_rows_under_the_table(case: str) -> None:
    statuses, expected, due, notices = PAPERS[case]
    state = PrintedState("DHK-INV-000001", "finalized", "2026-12-01", "2026-12-15", 0, "0" * 64)
    printed = print_invoice(paper(statuses), state)
    rows = [(row["label"], row["amount"]) for row in printed["totals"]]
    assert rows == [("Subtotal", "1,000.00"), *expected, ("Total", due)]
    assert (printed["amount_due"], printed["notices"]) == (due, notices)
    assert printed["account"]["tax_number"] == "BIN 7"
    assert render(printed).startswith(b"%PDF-")


def test_a_void_paper_says_so_and_asks_for_nothing() -> None:
    state = PrintedState("DHK-INV-000001", "void", "2026-12-01", "2026-12-15", 0, "0" * 64)
    printed = print_invoice(paper(()), state)
    assert (printed["stamp"], printed["amount_due"], printed["due"]) == ("Void", "0.00", "")
    assert render(printed).startswith(b"%PDF-")
