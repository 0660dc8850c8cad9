"""The PDF: the same input gives the same octets, and no name is ever markup."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from billing.adapters import tables
from billing.adapters.billing_run import run_billing
from billing.adapters.databases import reading, writing
from billing.adapters.pdf import invoice_input, invoice_pdf, render
from billing.adapters.repositories import create
from billing.config import BillingConfig
from billing.printing import format_money
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import add_customer, at, close_month, home_plan

HOSTILE = 'Karim *bold* #read("/etc/passwd") $x$ @cite <tag> \\ `raw` // মোঃ করিম'


def one_invoice(engine: Engine, language: str) -> tuple[bytes, bytes]:
    with writing(engine) as connection:
        create(connection, dataclasses.replace(world.BRANCH, language=language))
        create(connection, home_plan())
        add_customer(connection, "karim")
        connection.execute(update(tables.account).values(name=HOSTILE))
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
    run_billing(engine, BillingConfig(), at("2026-12-01", 12))
    with reading(engine) as connection:
        invoice_id = "inv_karim_2026-11-01_BDT"
        return invoice_pdf(connection, invoice_id), render(invoice_input(connection, invoice_id))


@pytest.mark.parametrize("language", ["en", "bn", "xx"])
def test_equal_input_gives_equal_octets(new_database: NewDatabase, language: str) -> None:
    first, second = one_invoice(new_database(), language)
    assert first.startswith(b"%PDF-")
    assert first == second


def test_names_are_text_and_amounts_are_there(new_database: NewDatabase, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    file = tmp_path / "invoice.pdf"
    file.write_bytes(one_invoice(new_database(), "en")[0])
    text = subprocess.run(
        ["pdftotext", "-raw", str(file), "-"], capture_output=True, text=True, check=True
    ).stdout
    text = " ".join(text.split())
    assert 'Karim *bold* #read("/etc/passwd") $x$ @cite <tag> \\ `raw` //' in text
    for expected in ("DHK-INV-000001", "620.00 GB", "600.00", "1,840.00", "15 December 2026"):
        assert expected in text


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (184000, "BDT", "1,840.00"),
        (-5, "BDT", "−0.05"),
        (1234567, "JPY", "1,234,567"),
        (1234567, "KWD", "1,234.567"),
        (0, "BDT", "0.00"),
    ],
)
def test_money(minor: int, currency: str, text: str) -> None:
    assert format_money(minor, currency) == text


NOTES = {
    "more came late": (70000, ["Debit note", "DHK-DBN-000001", "Amount due", "115.00"]),
    "less than billed": (50000, ["Credit note", "DHK-CRN-000001", "Credited to you", "115.00"]),
}


@pytest.mark.parametrize("case", NOTES)
def test_a_note_says_what_it_is_and_what_it_corrects(new_database: NewDatabase, case: str) -> None:
    minor, expected = NOTES[case]
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim")
        connection.execute(update(tables.subscription).values(ends_at=at("2026-10-20")))
        add_customer(connection, "rahima")
        for name in ("karim", "rahima"):
            close_month(connection, name, "2026-10", gigabytes=620, minor=60000)
    run_billing(engine, BillingConfig(), at("2026-11-01", 12))
    with writing(engine) as connection:
        world.revise_month(
            connection, "karim", "2026-10", revision=1, gigabytes=640, minor=minor,
            day_minor=minor - 60000, closed_at=at("2026-11-10"),
        )  # fmt: skip
        close_month(connection, "rahima", "2026-11", gigabytes=1, minor=0)
    run_billing(engine, BillingConfig(), at("2026-12-01", 12))
    with reading(engine) as connection:
        printed = invoice_input(connection, "note_karim_2026-11-01_BDT")
    shown = [printed[name] for name in ("title", "number", "amount_label", "amount_due")]
    assert shown == expected
    assert printed["corrects"] == "DHK-INV-000001"
    assert printed["period"] == "", "it is no service period"
    assert render(printed).startswith(b"%PDF-")
