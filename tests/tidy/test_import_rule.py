"""The import rule catches what it forbids: a project with one bad import each is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.sources import PACKAGES, ROOT


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the real contracts over a project at root."""
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """A project with the real folders and contracts and no imports."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for package in (
        *PACKAGES,
        *(f"{name}/adapters" for name in ("billing", "collectors", "streams")),
        "infra/wiring",
    ):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    return tmp_path


def test_an_empty_project_passes(skeleton: Path) -> None:
    ended = lint(skeleton)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_all_bad_imports_are_refused(skeleton: Path) -> None:
    bad = {
        "rating/money.py": ("import billing", "rating.money -> billing"),
        "collectors/flows.py": ("import billing", "collectors.flows -> billing"),
        "api/usage.py": ("import streams", "api.usage -> streams"),
        "streams/runner.py": ("import faust", "streams.runner -> faust"),
        "infra/office.py": ("import billing.adapters", "infra.office -> billing.adapters"),
        "rating/rows.py": ("import sqlalchemy", "rating.rows -> sqlalchemy"),
        "api/sql.py": ("import chdb", "api.sql -> chdb"),
    }
    for name, (line, _) in bad.items():
        (skeleton / name).write_text(line)
    ended = lint(skeleton)
    assert ended.returncode == 1
    for _, finding in bad.values():
        assert finding in ended.stdout, ended.stdout


def test_the_allowed_ones_pass(skeleton: Path) -> None:
    (skeleton / "streams/cluster.py").write_text("import faust")
    (skeleton / "infra/wiring/store.py").write_text(
        "import billing.adapters\nimport streams.adapters"
    )
    (skeleton / "warehouse/store.py").write_text("import chdb\nimport rating")
    ended = lint(skeleton)
    assert ended.returncode == 0, ended.stdout + ended.stderr
