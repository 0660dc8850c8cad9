"""The project's own files: packages listed as they are, a lock anyone can use, no private path."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.tidy.rules import MACHINE_PATH, find_in_text
from tests.tidy.sources import PACKAGES, ROOT

EXPECTED_FILES = (
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "flowrate.example.toml",
    "requirements.lock",
)
TEXT_SUFFIXES = {".md", ".toml", ".cfg", ".ini", ".sh", ".html", ".css", ".js", ".typ", ".json"}
INDEX = re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host|https?://|@ file:")


def packages_in(root: Path) -> set[str]:
    """Return the dotted names of the folders under the product's packages that are packages."""
    return {
        ".".join(path.parent.relative_to(root).parts)
        for package in PACKAGES
        for path in (root / package).rglob("__init__.py")
    }


def project() -> dict[str, object]:
    content: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return content


def test_every_package_is_listed_and_every_listed_one_exists() -> None:
    tool = project()["tool"]
    assert isinstance(tool, dict)
    assert set(tool["setuptools"]["packages"]) == packages_in(ROOT)


def test_packages_are_found_by_their_init(tmp_path: Path) -> None:
    (tmp_path / "rating" / "curves").mkdir(parents=True)
    (tmp_path / "rating" / "__init__.py").touch()
    assert packages_in(tmp_path) == {"rating"}
    (tmp_path / "rating" / "curves" / "__init__.py").touch()
    assert packages_in(tmp_path) == {"rating", "rating.curves"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_with_modules_is_a_package(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    bare = [folder for folder in folders if not (folder / "__init__.py").exists()]
    known = [ROOT / "infra/migrations", ROOT / "infra/migrations/versions"]
    assert [folder for folder in bare if folder not in known] == []


@pytest.mark.parametrize("name", EXPECTED_FILES)
def test_the_project_explains_itself(name: str) -> None:
    assert (ROOT / name).stat().st_size > 100


def test_the_changelog_speaks_of_this_version() -> None:
    about = project()["project"]
    assert isinstance(about, dict)
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert any(about["version"] in heading or heading == "Unreleased" for heading in headings)


def test_the_lock_names_no_index_and_hashes_everything() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not INDEX.search(text)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in entry and "==" in entry for entry in entries)


@pytest.mark.parametrize(
    "line", ["--index-url x", "--find-links x", "a @ file:///x", "a @ https://x"]
)
def test_an_index_in_the_lock_would_be_found(line: str) -> None:
    assert INDEX.search(line)


def test_the_lock_holds_every_direct_dependency() -> None:
    about = project()["project"]
    assert isinstance(about, dict)
    direct = [*about["dependencies"], *about["optional-dependencies"]["dev"]]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    assert {re.split(r"[\[<>=]", name)[0] for name in direct} <= locked


def test_no_file_holds_a_path_of_one_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.splitlines() if Path(name).suffix in TEXT_SUFFIXES]
    findings = [
        finding
        for name in [*names, "Makefile", ".ci/run"]
        if (ROOT / name).exists()
        for finding in find_in_text(
            name, (ROOT / name).read_text(encoding="utf-8"), MACHINE_PATH, "path of one machine"
        )
    ]
    assert not findings, "\n" + "\n".join(findings)
