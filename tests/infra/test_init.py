"""`flowrate init` writes every setting with its meaning and default, and the secrets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from infra.init import example_text, write_settings
from infra.schema import walk
from infra.settings import Settings, load_settings

ROOT = Path(__file__).parent.parent.parent


def test_the_example_in_the_repository_is_what_init_writes() -> None:
    kept = (ROOT / "flowrate.example.toml").read_text()
    assert kept == example_text(), "run `make example` to write flowrate.example.toml anew"


def test_the_example_sets_nothing(tmp_path: Path) -> None:
    write_settings(tmp_path)
    bare = tmp_path / "bare.toml"
    bare.write_text("")
    written = load_settings(tmp_path / "flowrate.toml", environment={})
    assert written == load_settings(bare, environment={})


def test_each_key_uncommented_is_its_default(tmp_path: Path) -> None:
    """Uncommenting every single key (not the example rows) changes nothing."""
    lines = []
    in_row = False
    for line in example_text().splitlines():
        if line.startswith("#[["):
            in_row = True
        elif not line:
            in_row = False
        elif re.match(r"#\w+ =", line) and not in_row and "(unset)" not in line:
            lines.append(line[1:])
        elif line.startswith("["):
            lines.append(line)
    text = "\n".join(lines)
    assert tomllib.loads(text)["api"]["listen_port"] == Settings().api.listen_port
    path = tmp_path / "flowrate.toml"
    path.write_text(text)
    bare = tmp_path / "bare.toml"
    bare.write_text("")
    assert load_settings(path, environment={}) == load_settings(bare, environment={})


def test_every_key_is_there_with_its_meaning() -> None:
    text = example_text()
    for path, key in walk(Settings):
        assert re.search(rf"^#(\[\[.*)?{key.name}\b", text, re.MULTILINE), path
        assert key.doc, f"{'.'.join(path)} has no docstring under its field"


def test_init_makes_secrets_that_only_the_owner_reads(tmp_path: Path) -> None:
    write_settings(tmp_path)
    secrets = tmp_path / "flowrate-data" / "secrets"
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert secrets.parent.stat().st_mode & 0o777 == 0o700


def test_init_leaves_an_existing_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "flowrate.toml"
    path.write_text("# mine")
    with pytest.raises(FileExistsError):
        write_settings(tmp_path)
    assert path.read_text() == "# mine"
