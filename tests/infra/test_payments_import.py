"""`flowrate payments import`: a statement once, whole or not at all; it says what became of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from billing.accounts import Account
from billing.adapters.audit import verify
from billing.adapters.bank_tables import bank_entry
from billing.adapters.databases import open_database, reading, writing
from billing.adapters.repositories import create
from infra.cli import main
from infra.migrate import migrate
from infra.settings import load_settings
from infra.wiring.paths import database_url
from tests.billing.test_bank_statements import BOMB, HEAD, TAIL, entry, transfer
from tests.billing.world import BRANCH


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = database_url(load_settings(None, [f"data_dir={tmp_path}"]))
    migrate(found)
    with writing(open_database(found)) as connection:
        create(connection, BRANCH)
        create(connection, Account("karim", "dhk", "Karim", "person", "", "", 0))
    return found


def run(tmp_path: Path, content: str, *words: str) -> int:
    file = tmp_path / "statement.xml"
    file.write_text(content)
    where = ["--branch", "dhk", "--set", f"data_dir={tmp_path}"]
    return main(["payments", "import", str(file), *where, *words])


def test_a_statement_is_imported_once(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    details = transfer("a", "for karim", "100.00") + transfer("b", "who knows", "50.00").replace(
        "DE99", "DE88"
    )
    content = HEAD + entry("150.00", details) + TAIL
    assert run(tmp_path, content, "--by", "Rina") == 0
    assert capsys.readouterr().out.endswith("statement.xml: 1 matched, 1 unmatched\n")
    assert run(tmp_path, content, "--by", "Rina") == 0
    assert capsys.readouterr().out.endswith("statement.xml: 2 known before\n")
    with reading(open_database(url)) as connection:
        found = verify(connection, {})
        assert found.breaks == ()
        assert found.heads["audit"].number == 2, "each entry is in the audit log, once"


@pytest.mark.parametrize(
    ("content", "words", "why"),
    [
        (BOMB, [], "statement.xml: the document has a DOCTYPE"),
        (HEAD + entry("1.00") + entry("ten") + TAIL, [], "entry 2: Amt: expected a plain decimal"),
        (HEAD + TAIL, ["--set", "office.payments.statement_octets_max=10"], "expected at most 10"),
        (HEAD + TAIL, ["--branch", "ctg"], "--branch 'ctg': expected a branch that is there"),
        (HEAD + TAIL, ["--format", "x"], "format 'x': expected one of the settings' (none)"),
    ],
)
def test_what_cannot_be_imported_says_why_and_imports_nothing(
    tmp_path: Path,
    url: str,
    capsys: pytest.CaptureFixture[str],
    content: str,
    words: list[str],
    why: str,
) -> None:
    assert run(tmp_path, content, *words) == 1
    assert why in capsys.readouterr().err
    with reading(open_database(url)) as connection:
        assert connection.scalar(select(func.count()).select_from(bank_entry)) == 0
