"""`flowrate audit verify` on a database in a data directory: whole, tampered with, made anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from billing.accounts import Account
from billing.adapters import ledger
from billing.adapters.databases import open_database, writing
from billing.adapters.repositories import create
from billing.ledger import CASH, RECEIVABLE, Transaction, entries_of
from infra.cli import main
from infra.migrate import migrate
from infra.settings import load_settings
from infra.wiring.paths import database_url
from tests.billing.world import BRANCH


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = database_url(load_settings(None, [f"data_dir={tmp_path}"]))
    migrate(found)
    with writing(open_database(found)) as connection:
        create(connection, BRANCH)
        create(connection, Account("karim", "dhk", "Karim", "person", "", "", 0))
        for key in "ab":
            amounts = {CASH: 1, RECEIVABLE: -1}
            entries = entries_of("dhk", "karim", "BDT", amounts)
            ledger.post(connection, [Transaction("dhk", "test", key, 0, "sale", entries)], 5)
    return found


def run(tmp_path: Path, *words: str) -> int:
    return main(["audit", "verify", "--set", f"data_dir={tmp_path}", *words])


def test_it_names_the_first_broken_row(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    assert "ledger/dhk: whole, 2 rows, ends with " in capsys.readouterr().out
    with writing(open_database(url)) as connection:
        connection.execute(text("update ledger_transaction set description = 'x'"))
    assert run(tmp_path) == 1
    assert capsys.readouterr().out == (
        "ledger/dhk: row 1 (test:a) was altered, inserted or moved\n"
    )


def test_a_kept_head_is_compared(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--json") == 0
    kept = json.loads(capsys.readouterr().out)
    assert kept["breaks"] == []
    file = tmp_path / "kept.json"
    file.write_text(json.dumps(kept))
    assert run(tmp_path, "--against", str(file)) == 0
    kept["heads"]["ledger/dhk"]["hash"] = "0" * 64
    file.write_text(json.dumps(kept))
    capsys.readouterr()
    assert run(tmp_path, "--against", str(file), "--json") == 1
    [found] = json.loads(capsys.readouterr().out)["breaks"]
    assert (found["number"], found["row"]) == (2, "test:b")
    file.write_text("[]")
    assert run(tmp_path, "--against", str(file)) == 1
    assert "expected the output of `flowrate audit verify --json`" in capsys.readouterr().err
