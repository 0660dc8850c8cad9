"""Small files are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.files import create_whole, replace_whole


def test_the_first_to_create_wins(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    assert create_whole(path, "one")
    assert not create_whole(path, "two")
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["kept"]


def test_replacing_makes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    replace_whole(path, "one")
    replace_whole(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["kept"]


def test_a_full_disk_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept"
    replace_whole(path, "one")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        replace_whole(path, "two")
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["kept"]
