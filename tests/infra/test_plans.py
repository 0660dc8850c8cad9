"""`flowrate plans` and `flowrate quote`: documents in files, and into the database once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from api.problems import Problem
from billing.adapters import tables
from billing.adapters.databases import reading
from infra import plans, quote
from infra.plan_files import read_plan
from infra.wiring.plans import import_plans
from tests.api import sample
from tests.api.conftest import world  # noqa: F401 (a fixture)

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PLAN = EXAMPLES / "plan.toml"


def test_check_says_which_files_are_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, unnamed = tmp_path / "wrong.json", tmp_path / "plan.yaml"
    wrong.write_text('{"plan_id": "a", "name": "A", "currency": "XXX"}', encoding="utf-8")
    assert plans.main(["check", str(PLAN)]) == 0
    assert "home-50, Home 50: a plan that can be sold" in capsys.readouterr().out
    assert (
        plans.main(["check", str(PLAN), str(wrong), str(unnamed), str(tmp_path / "no.toml")]) == 1
    )
    assert capsys.readouterr().err.splitlines() == [
        f"{wrong}: currency = \"XXX\": unknown currency 'XXX'",
        f"{unnamed}: expected a name that ends in .toml or .json",
        f"{tmp_path / 'no.toml'}: No such file or directory",
    ]


def test_an_import_makes_a_version_once(world: sample.World, tmp_path: Path) -> None:  # noqa: F811
    branch = _branch(world)
    found = [(PLAN, read_plan(PLAN))]
    assert import_plans(world.services, branch, found) == [f"{PLAN}: imported as home-50 version 1"]
    assert import_plans(world.services, branch, found) == [
        f"{PLAN}: unchanged, it is home-50 version 1"
    ]
    dearer = tmp_path / "dearer.toml"
    dearer.write_text(PLAN.read_text("utf-8").replace('"700"', '"750"'), encoding="utf-8")
    assert import_plans(world.services, branch, [(dearer, read_plan(dearer))]) == [
        f"{dearer}: imported as home-50 version 2"
    ]
    with reading(world.engine) as connection:
        plan = tables.plan.c
        count = select(func.count()).where(plan.plan_id == "home-50")
        assert connection.scalar(count) == 2


def test_an_import_into_no_branch_is_refused(world: sample.World) -> None:  # noqa: F811
    with pytest.raises(Problem, match="no branch 'nowhere'"):
        import_plans(world.services, "nowhere", [(PLAN, read_plan(PLAN))])


def test_a_quote_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--plan", str(PLAN), "--usage", str(EXAMPLES / "usage.toml")]
    assert quote.main(words) == 0
    text = capsys.readouterr().out
    assert "next 16.66 GB × 5.00 per GB" in text
    assert text.count("577.50") == 1
    assert quote.main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["total_minor"] == 57_750
    assert document["periods"][0]["lines"][1]["steps"][3]["text"].startswith("next 16.66 GB")


def test_a_quote_names_the_file_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = tmp_path / "usage.json"
    usage.write_text('{"usage": [{"octets": 1}]}', encoding="utf-8")
    assert quote.main(["--plan", str(PLAN), "--usage", str(usage)]) == 1
    assert capsys.readouterr().err.startswith(f"{usage}: usage[0].octets = 1: unknown")


def _branch(world: sample.World) -> str:  # noqa: F811
    with reading(world.engine) as connection:
        return str(connection.scalar(select(tables.branch.c.branch_id).limit(1)))
