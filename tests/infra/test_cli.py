"""The command line: what it offers, and that mistakes are messages, never tracebacks."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli import DELEGATED, main

ROOT = Path(__file__).parent.parent.parent


def flowrate(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in ("init", "serve", "status", "check-settings", *(path[0] for path in DELEGATED)):
        assert f"    {word} " in text or f"    {word}\n" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("flowrate ")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from infra import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'polars', 'numpy', 'fastapi', 'chdb', 'sqlalchemy'} & set(sys.modules)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_role_told_to_stop_while_it_starts_ends_in_order() -> None:
    process = subprocess.Popen([sys.executable, "-m", "infra.cli", "worker"], cwd=ROOT)
    caught = f"/proc/{process.pid}/status"
    sigterm = 1 << (signal.SIGTERM - 1)
    while not sigterm & int(Path(caught).read_text().split("SigCgt:\t")[1].split()[0], 16):
        assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=60) == 0


def test_init_then_check_settings(tmp_path: Path) -> None:
    made = flowrate("init", "--dir", "isp", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "isp/flowrate.toml" in made.stdout
    checked = flowrate("check-settings", "--config", "isp/flowrate.toml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert str(tmp_path / "isp" / "flowrate-data") in checked.stdout
    again = flowrate("init", "--dir", "isp", cwd=tmp_path)
    assert again.returncode == 1
    assert again.stderr == "flowrate: isp/flowrate.toml exists and is left as it is\n"


@pytest.mark.parametrize("command", ["serve", "check-settings", "status"])
def test_wrong_settings_are_status_2_and_one_line_each(tmp_path: Path, command: str) -> None:
    (tmp_path / "flowrate.toml").write_text("[api]\nlisten_port = 'x'\nnope = 1\n")
    ended = flowrate(command, cwd=tmp_path)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 2
    assert "flowrate.toml: api.listen_port = 'x': expected a port, 0 to 65535" in ended.stderr


def test_status_where_nothing_ran(tmp_path: Path) -> None:
    ended = flowrate("status", "--set", f"data_dir={tmp_path}")
    assert ended.returncode == 1
    assert "nothing has run" in ended.stdout


def test_no_command_is_a_usage_error() -> None:
    ended = flowrate()
    assert ended.returncode == 2
    assert "usage: flowrate" in ended.stderr


@pytest.mark.parametrize("path", DELEGATED, ids=" ".join)
def test_each_delegated_command_exists_and_has_help(path: tuple[str, ...]) -> None:
    module, _ = DELEGATED[path]
    assert callable(importlib.import_module(module).main)
    ended = flowrate(*path, "--help")
    assert ended.returncode == 0, ended.stderr
    assert "usage" in ended.stdout
