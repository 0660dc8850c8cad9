"""Reads the deployment files, and finds the tools and schemas that they are checked with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cli import DELEGATED, ROLES
from infra.settings import Settings, load_settings

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "infra/deploy"
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowrate/deploy-tools"


def read_yaml(text: str) -> list[dict[str, Any]]:
    """Return the documents of a YAML text that hold something."""
    return [document for document in yaml.safe_load_all(text) if document]


def schema_file(pattern: str) -> Path:
    """Return a fetched schema; skip where it cannot be had, fail under REQUIRE_PEERS=1."""
    if not list(TOOLS.glob(pattern)):
        fetched = subprocess.run(
            [ROOT / "infra/peers/deploy-tools"], capture_output=True, text=True, check=False
        )
        if fetched.returncode:
            message = f"no {pattern}: infra/peers/deploy-tools: {fetched.stderr.strip()}"
            (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)(message)
    return sorted(TOOLS.glob(pattern))[-1]


def kustomize() -> str:
    """Return the program's path; skip where `infra/peers/deploy-tools --kustomize` has not run."""
    found = sorted(TOOLS.glob("kustomize-v*"))
    if not found:
        pytest.skip("kustomize is not installed (infra/peers/deploy-tools --kustomize)")
    return str(found[-1])


def command_path(words: Sequence[str]) -> tuple[str, ...]:
    """Return the subcommand that words call; AssertionError where `flowrate` has none such."""
    known = (*DELEGATED, *ROLES)
    found = [path for path in known if tuple(words[: len(path)]) == path]
    assert found, f"flowrate {' '.join(words)}: no such command"
    return max(found, key=len)


def settings_of(variables: Mapping[str, str], file: Path | None = None) -> Settings:
    """Return the settings that a process gets from its variables; SettingsError: it cannot run."""
    ours = {name: value for name, value in variables.items() if name.startswith("FLOWRATE_")}
    return load_settings(file, (), ours)


def secret_settings(directory: Path) -> Path:
    """Return a settings file with what deployments keep secret."""
    path = directory / "flowrate.toml"
    path.write_text('[cluster]\ndatabase_url = "postgresql://flowrate:secret@postgres/flowrate"\n')
    return path
