"""`flowrate reports`: what it writes, what it refuses, and what it says of the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import update

from billing.adapters import tables
from billing.adapters.databases import open_database, writing
from infra.cli import main
from infra.migrate import migrate
from tests.billing import report_world

RANGE = ["--from", "2026-10-01", "--to", "2026-12-31"]


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    """An installation's data directory with the reports' small ISP in it."""
    url = f"sqlite:///{tmp_path / 'flowrate.sqlite'}"
    migrate(url)
    engine = open_database(url, synchronous="normal")
    report_world.live(engine)
    with writing(engine) as connection:
        table = tables.account
        nasty = update(table).where(table.c.account_id == "karim").values(name="=1+1")
        connection.execute(nasty)
    engine.dispose()
    return ["--set", f"data_dir={tmp_path}"]


def test_a_csv_of_aging(settings: list[str], tmp_path: Path) -> None:
    out = tmp_path / "aging.csv"
    assert main(["reports", "aging", *RANGE, "--out", str(out), "--branch", "ktm", *settings]) == 0
    text = out.read_bytes().decode("utf-8-sig").splitlines()
    assert text[0].startswith("branch_id,account_id,account_name,currency,not_due,days_0_30")
    assert text[1:] == ["ktm,maya,Maya,NPR,0.00,1725.00,1813.55,0.00,0.00,0.00,3538.55"]


def test_json_to_standard_output(
    settings: list[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    words = ["reports", "unbilled", *RANGE, "--format", "json", "--details", *settings]
    assert main([*words, "--where", "account_id=karim"]) == 0
    [row] = json.loads(capfdbinary.readouterr().out)["rows"]
    assert (row["account_name"], row["unbilled_minor"]) == ("=1+1", 977)


def test_a_difference_to_the_ledger_is_told(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'flowrate.sqlite'}")
    with writing(engine) as connection:
        entry = tables.ledger_entry
        connection.execute(
            update(entry).where(entry.c.ledger_account_id == "dhk/unbilled/karim",
                                entry.c.amount_minor == 900).values(amount_minor=901)
        )  # fmt: skip
    engine.dispose()
    out = str(tmp_path / "out.parquet")
    assert (
        main(["reports", "unbilled", *RANGE, "--format", "parquet", "--out", out, *settings]) == 0
    )
    assert "branch dhk: unbilled is 977 here and 978 in the ledger (BDT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "2026-09-01"], "to: expected 2026-10-01 or later"),
        (["--branch", "nowhere"], "branch 'nowhere' does not exist"),
        (["--where", "plan_id"], "--where plan_id: expected COLUMN=VALUE"),
        (["--where", "colour=red"], "colour: expected one of"),
        (["--out", "/nowhere/at/all"], "/nowhere/at/all: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_said(
    settings: list[str], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["reports", "revenue", *RANGE, *words, *settings]) == 1
    assert said in capsys.readouterr().err


def test_a_day_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["reports", "revenue", "--from", "2026-13-01", "--to", "2026-12-31"])
    assert "'2026-13-01': expected a day such as 2026-11-30" in capsys.readouterr().err
