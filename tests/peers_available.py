"""Real programs that tests talk to: skipped by name where absent, a failure where required."""

from __future__ import annotations

import os
import shutil

import pytest


def require_peer(program: str) -> str:
    """Return the program's path; skip where absent, fail under REQUIRE_PEERS=1."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    path = shutil.which(program, path=search)
    if path is None:
        message = f"peer {program} is not installed (infra/peers/install installs it)"
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path
