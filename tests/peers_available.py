"""Real programs that tests talk to: skipped by name where absent, a failure where required."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

IN_CACHE = {"goflow2": "goflow2-v*", "netflow": "netflow-*/bin/python"}
"""Peers that are no packages of the system: where `infra/peers/install` puts them, in its cache."""


def find_peer(program: str) -> str | None:
    """Return the program's path, None where it is absent; of netflow, the Python that has it."""
    if program in IN_CACHE:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        found = sorted((Path(home) / "flowrate").glob(IN_CACHE[program]))
        return str(found[-1]) if found else None
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which(program, path=search)


def require_peer(program: str) -> str:
    """Return the program's path; skip where absent, fail under REQUIRE_PEERS=1."""
    path = find_peer(program)
    if path is None:
        _absent(program)
    assert path is not None
    return path


def require_path(path: Path, name: str) -> None:
    """Go on where path, which belongs to peer name, exists; else as `require_peer`."""
    if not path.exists():
        _absent(name)


def _absent(name: str) -> None:
    message = f"peer {name} is not installed (infra/peers/install installs it)"
    if os.environ.get("REQUIRE_PEERS") == "1":
        pytest.fail(message)
    pytest.skip(message)
