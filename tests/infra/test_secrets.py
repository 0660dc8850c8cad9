"""Secrets are made once, kept, completed, and read by their owner alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from infra.secrets import SecretsError, open_secrets


def test_made_once_and_kept(tmp_path: Path) -> None:
    made = open_secrets(tmp_path / "data")
    assert open_secrets(tmp_path / "data") == made
    values = dataclasses.astuple(made)
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 for value in values)
    assert (tmp_path / "data" / "secrets").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secrets"]


def test_two_directories_have_different_ones(tmp_path: Path) -> None:
    assert open_secrets(tmp_path / "a").api_key != open_secrets(tmp_path / "b").api_key


def test_they_never_show_in_a_repr(tmp_path: Path) -> None:
    made = open_secrets(tmp_path)
    assert not any(value in repr(made) for value in dataclasses.astuple(made))


def test_a_missing_one_is_added_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.touch(0o600)
    path.write_text('api_key = "chosen by hand"\nfurther = "kept"\n')
    made = open_secrets(tmp_path)
    assert made.api_key == "chosen by hand"
    assert made.store_sink_password
    assert 'further = "kept"' in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    open_secrets(tmp_path)
    (tmp_path / "secrets").chmod(0o644)
    with pytest.raises(SecretsError, match=r"mode 0644\): chmod 600"):
        open_secrets(tmp_path)


@pytest.mark.parametrize("text", ["api_key = ", "api_key = 5", 'api_key = ""'])
def test_a_file_that_cannot_be_understood_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(SecretsError, match="secrets: "):
        open_secrets(tmp_path)
