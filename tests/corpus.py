"""Where the recorded captures and worked examples lie, and what to do where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(
    os.environ.get("FLOWRATE_CORPUS") or Path(__file__).parent.parent.parent / "shared/corpus"
)


def corpus_path(relative: str) -> Path:
    """Return a file or folder of the corpus; skip where absent, fail under REQUIRE_CORPUS=1."""
    path = ROOT / relative
    if not path.exists():
        message = f"corpus file {relative} not found (FLOWRATE_CORPUS names the folder)"
        if os.environ.get("REQUIRE_CORPUS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path


def corpus_present() -> bool:
    """Return whether the corpus is there, for parametrising over its cases at collection."""
    return (ROOT / "expected.json").exists()
