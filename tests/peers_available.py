"""Real programs that tests talk to: skipped by name where absent, a failure where required."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def require_peer(program: str) -> str:
    """Return the program's path; skip where absent, fail under REQUIRE_PEERS=1."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    path = shutil.which(program, path=search)
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
