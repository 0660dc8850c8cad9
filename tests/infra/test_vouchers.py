"""`flowrate vouchers` on a data directory of its own."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from billing.adapters.databases import writing
from billing.adapters.repositories import create
from infra.settings import load_settings
from infra.vouchers import main
from infra.wiring.databases import business_database
from infra.wiring.preparation import prepare_data_directory
from tests.billing import world


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Return what every command line begins with here."""
    words = ["--set", f"data_dir={tmp_path / 'data'}"]
    settings = load_settings(None, words[1:])
    prepare_data_directory(settings)
    engine = business_database(settings, "test")
    with writing(engine) as connection:
        create(connection, world.BRANCH)
    engine.dispose()
    return words


def make(words: list[str], out: Path, **changes: str) -> int:
    given = {"branch": "dhk", "name": "Cards", "amount": "99.50", "quantity": "3"} | changes
    flags = [word for name, value in given.items() for word in (f"--{name}", value)]
    return main([*words, "create", *flags, "--out", str(out)])


def test_a_batch_from_making_to_void(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "codes.csv"
    assert make(words, out, expires="2099-01-01T00:00+06:00") == 0
    assert out.stat().st_mode & 0o777 == 0o600
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    batch_id = rows[0]["batch_id"]
    assert [(row["serial"], row["amount"], row["currency"]) for row in rows] == [
        (str(serial), "99.50", "BDT") for serial in (1, 2, 3)
    ]
    assert len({row["code"] for row in rows}) == 3
    assert main([*words, "sell", batch_id, "--paid", "280"]) == 0
    assert main([*words, "void", batch_id, "--serial", "2"]) == 0
    capsys.readouterr()
    assert main([*words, "show", batch_id]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert f"{batch_id}, dhk, 3 x 99.50 BDT, 0 redeemed, expires 2098-12-31T18:00:00Z" in head
    assert [line.split() for line in lines] == [["1", "valid"], ["2", "void"], ["3", "valid"]]
    assert main([*words, "void", batch_id]) == 0
    assert main([*words, "list"]) == 0
    assert "void since" in capsys.readouterr().out.splitlines()[-1]
    assert main([*words, "sell", batch_id, "--paid", "280"]) == 1
    assert "The batch is void." in capsys.readouterr().err


def test_a_file_that_is_there_stays_and_no_batch_is_made(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "codes.csv"
    out.write_text("mine")
    assert make(words, out) == 1
    assert out.read_text() == "mine"
    assert str(out) in capsys.readouterr().err
    assert main([*words, "list"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quantity": "0"}, "quantity: "),
        ({"quantity": "10001"}, "/quantity: expected at most 10000"),
        ({"amount": "five"}, "/amount: expected an amount of BDT"),
        ({"branch": "moon"}, "'moon'"),
    ],
)
def test_what_cannot_be_made_is_said(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    said: str,
) -> None:
    assert make(words, tmp_path / "codes.csv", **changes) == 1
    assert said in capsys.readouterr().err
