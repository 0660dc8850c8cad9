"""The systemd units: verified and scored by systemd's own tools; the role script runs roles."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from collectors.config import FlowReceiverConfig, RadiusConfig
from infra.cli import ROLES
from tests.deploy.deployment_files import DEPLOY
from tests.peers_available import require_peer

FOLDER = DEPLOY / "systemd"
UNITS = ("flowrate.service", "flowrate@.service")
EXPOSURE_MOST = 2.0


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with programs where they expect them."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("flowrate", "flowrate-role"):
        shutil.copy("/bin/true", programs / name)
    for unit in UNITS:
        text = (FOLDER / unit).read_text()
        (tmp_path / unit).write_text(text.replace("/opt/flowrate/bin", str(programs)))
    shutil.copy(tmp_path / UNITS[1], tmp_path / "flowrate@worker-1.service")
    return tmp_path


def test_systemd_understands_every_line(units: Path) -> None:
    analyze = require_peer("systemd-analyze")
    for unit in ("flowrate.service", "flowrate@worker-1.service"):
        assert complaints(analyze, units / unit) == []
    broken = units / "flowrate.service"
    broken.write_text(broken.read_text().replace("NoNewPrivileges", "NoNewPrivilege"))
    assert complaints(analyze, broken), "systemd-analyze finds what is wrong"


def complaints(analyze: str, unit: Path) -> list[str]:
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True)
    return [line for line in verified.stderr.splitlines() if "flowrate" in line]


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_hardly_exposed(unit: str, units: Path) -> None:
    analyze = require_peer("systemd-analyze")
    scored = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", units / unit],
        capture_output=True,
        text=True,
    )
    found = re.search(r"exposure level for \S+: (\d+\.\d+)", scored.stdout)
    assert found, scored.stderr
    assert float(found[1]) <= EXPOSURE_MOST


@pytest.mark.parametrize("path", ROLES, ids=" ".join)
def test_an_instance_runs_the_role_it_is_named_after(path: tuple[str, ...], tmp_path: Path) -> None:
    script = tmp_path / "flowrate-role"
    shutil.copy(FOLDER / "flowrate-role", script)
    (tmp_path / "flowrate").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / "flowrate").chmod(0o755)
    for instance in ("-".join(path), f"{'-'.join(path)}-2"):
        told = subprocess.run([script, instance, "--config", "f"], capture_output=True, text=True)
        assert told.stdout == f"{' '.join(path)} --config f\n"
    wrong = subprocess.run([script, "engine"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "no such role" in wrong.stderr


def test_the_kernel_allows_the_receive_buffers_that_are_asked_for() -> None:
    text = (FOLDER / "sysctl.conf").read_text()
    allowed = int(re.findall(r"^net\.core\.rmem_max = (\d+)$", text, re.MULTILINE)[0])
    asked = (FlowReceiverConfig().receive_buffer_octets, RadiusConfig().receive_buffer_octets)
    assert allowed >= max(asked)


def test_the_system_user_and_its_folders_are_declared(tmp_path: Path) -> None:
    for program, name in (("systemd-sysusers", "sysusers.d"), ("systemd-tmpfiles", "tmpfiles.d")):
        folder = tmp_path / "usr/lib" / name
        folder.mkdir(parents=True)
        source = FOLDER / f"{name.removesuffix('.d')}.conf"
        shutil.copy(source, folder / "flowrate.conf")
        (tmp_path / "etc").mkdir(exist_ok=True)
        words = [require_peer(program), f"--root={tmp_path}"]
        words += ["--create"] if "tmpfiles" in program else []
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "flowrate:" in (tmp_path / "etc/passwd").read_text()
    assert (tmp_path / "var/lib/flowrate").stat().st_mode & 0o777 == 0o700
