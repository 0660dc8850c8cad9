"""The wheel holds everything and runs from a venv of its own; the Dockerfile is linted."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.deploy.deployment_files import DEPLOY, ROOT

PACKAGES = (
    "rating", "billing", "collectors", "streams", "warehouse", "api", "dashboards", "infra",
)  # fmt: skip
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
ALONE = ("--no-deps", "--no-index")
NOT_IN_THE_WHEEL = re.compile(r"infra/(deploy|peers)/")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy of its tracked and new files, without a network."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked("LICENSE", "pyproject.toml", *PACKAGES):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    directory = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [*PIP, "wheel", *ALONE, "--no-build-isolation", "--wheel-dir", directory, source],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = directory.glob("flowrate-*-py3-none-any.whl")
    return path


def tracked(*paths: str) -> list[str]:
    """Return the files of the project below some paths, whether committed yet or not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {name for name in tracked(*PACKAGES) if not NOT_IN_THE_WHEEL.match(name)}
    assert wanted - held == set()
    kinds = {Path(name).suffix for name in wanted}
    assert {".sql", ".typ", ".html", ".css", ".js", ".mako"} <= kinds, "not Python alone"
    tests = [name for name in held if name.startswith("tests/")]
    assert not tests


def test_flowrate_runs_from_a_venv_that_has_only_the_wheel(wheel: Path, tmp_path: Path) -> None:
    directory = tmp_path / "venv"
    venv.create(directory, with_pip=False)
    python = directory / "bin/python"
    installed = subprocess.run(
        [*PIP, "--python", python, "install", *ALONE, wheel],
        capture_output=True,
        text=True,
    )
    assert installed.returncode == 0, installed.stderr
    helped = run(directory / "bin/flowrate", "--help", cwd=tmp_path)
    assert "Usage rating and billing" in helped
    # The dependencies are the development venv's; the project's packages must be the wheel's.
    (site,) = (Path(path) for path in sys.path if path.endswith("site-packages"))
    code = (
        "import sys; sys.path.append(sys.argv[1]); import infra.migrate as m, infra.cli as c;"
        " print(m.__file__); m.migrate('sqlite:///made.sqlite');"
        " from billing.adapters.pdf import TEMPLATE; print(TEMPLATE.stat().st_size)"
    )
    printed = run(python, "-c", code, str(site), cwd=tmp_path).split()
    assert printed[0].startswith(str(directory)), "not the checkout"
    assert int(printed[1]) > 0
    assert (tmp_path / "made.sqlite").stat().st_size > 10_000


def run(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env={"PATH": "/usr/bin"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def pins(path: Path) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9.-]+)==(\S+)", path.read_text(), re.MULTILINE)
    return dict(found)


def test_the_images_lock_is_the_development_lock_without_its_tools() -> None:
    ours, all_ = pins(DEPLOY / "docker/requirements.lock"), pins(ROOT / "requirements.lock")
    assert {name: all_.get(name) for name in ours} == ours
    assert "pytest" in all_
    assert not {"pytest", "ruff", "mypy", "setuptools", "playwright"} & set(ours)
    text = (DEPLOY / "docker/requirements.lock").read_text()
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\S)", text.strip()))


def test_the_dockerfile_has_no_lint() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    linted = subprocess.run(
        [hadolint, DEPLOY / "docker/Dockerfile"], capture_output=True, text=True
    )
    assert linted.stdout + linted.stderr == ""
    bad = subprocess.run(
        [hadolint, "-"],
        input="FROM debian\nRUN apt-get install x\n",
        capture_output=True,
        text=True,
    )
    assert "DL3006" in bad.stdout, "hadolint finds what is wrong"


def test_the_image_is_nobody_special_and_asks_its_own_health() -> None:
    text = (DEPLOY / "docker/Dockerfile").read_text()
    runtime = text[text.rindex("\nFROM ") :]
    assert "\nUSER 10001:10001\n" in runtime
    assert 'ENTRYPOINT ["/usr/bin/tini", "--", "flowrate"]' in runtime
    assert "/health" in runtime
    assert "build-essential" not in runtime
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+", image) for image in stages)
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
