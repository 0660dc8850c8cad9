"""`flowrate rerate`: what it tells, what it writes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from billing.adapters.databases import open_database, writing
from billing.adapters.repositories import create
from infra.cli import main
from infra.migrate import migrate
from tests.billing import world
from tests.billing.world import GB, add_customer, close_month, home_plan

WORDS = ["rerate", "--plan", "home", "--version", "1", "--from", "2026-11-01", "--to", "2026-11-30"]


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    """Karim and Rahima used 620 and 510 GB of November at 5.00 above 500 GB."""
    url = f"sqlite:///{tmp_path / 'flowrate.sqlite'}"
    migrate(url)
    engine = open_database(url, synchronous="normal")
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        for name, gigabytes, minor in (("karim", 620, 60000), ("rahima", 510, 5000)):
            add_customer(connection, name)
            close_month(connection, name, "2026-11", gigabytes=gigabytes, minor=minor)
        connection.exec_driver_sql(
            "update usage_charge set amount_exact = (amount_minor / 100) || '/1'"
        )
    engine.dispose()
    return ["--set", f"data_dir={tmp_path}"]


def corrected(directory: Path, price: str, **changes: str) -> list[str]:
    """Write the plan at another price; return the words that name its file."""
    document = json.loads(home_plan().document) | changes
    document["meters"][0]["curve"] |= {"unit_price": price, "unit": GB}
    file = directory / "corrected.json"
    file.write_text(json.dumps(document))
    return ["--corrected", str(file)]


def test_a_dry_run_tells_and_writes_nothing(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, *corrected(tmp_path, "2.50"), *settings]
    expected = [
        "karim (Karim), data, 2026-11-01: 600.00 to 300.00, -300.00 BDT",
        "rahima (Rahima), data, 2026-11-01: 50.00 to 25.00, -25.00 BDT",
    ]
    for _ in range(2):
        assert main([*words, "--dry-run"]) == 0
        *lines, last = capsys.readouterr().out.splitlines()
        assert lines == expected
        assert last == "2 counters change, 0 stay; nothing was written (--dry-run)"
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        *expected,
        "2 counters change, 0 stay; 2 charges stand on the accounts' next invoices",
    ]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "0 counters change, 2 stay; 0 charges stand on the accounts' next invoices"
    ]


def test_what_is_refused_is_said(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, *corrected(tmp_path, "2.50", recurring_fee="900")]
    assert main([*words, *settings]) == 1
    assert (
        "corrected.json: recurring_fee: expected 1000 as in version 1, got 900"
        in capsys.readouterr().err
    )
    words = [*WORDS, *corrected(tmp_path, "2.50"), "--version", "9"]
    assert main([*words, *settings]) == 1
    assert "plan 'home' has no version 9" in capsys.readouterr().err
    assert main([*WORDS, "--corrected", str(tmp_path / "none.toml"), *settings]) == 1
    assert "none.toml" in capsys.readouterr().err


def test_what_cannot_be_reproduced_is_left_and_named(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'flowrate.sqlite'}")
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "update usage_charge set amount_exact = '601/1' where rating_key = 'karim'"
        )
    engine.dispose()
    assert main([*WORDS, *corrected(tmp_path, "2.50"), *settings]) == 1
    said = capsys.readouterr()
    assert "does not reproduce what was billed" in said.err
    assert "1 counters change, 0 stay; 1 charges" in said.out
