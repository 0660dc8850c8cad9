"""`flowrate init`: a commented flowrate.toml and the secrets of a new data directory.

The file is generated from the config dataclasses, so it always lists every key with its meaning
and default; flowrate.example.toml is the same text.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.schema import Key, keys_of, section_doc
from infra.secrets import FILE_NAME as SECRETS_FILE
from infra.secrets import open_secrets
from infra.settings import DEFAULT_FILE, Settings, load_settings

WIDTH = 98

HEADER = """\
# Flowrate's settings. Every key stands here with its default, commented out: remove the `#` in
# front of a key to change it. A variable FLOWRATE_SECTION__KEY beats this file, a flag
# --set section.key=value beats both. `flowrate check-settings` says what is wrong with it.
"""


def write_settings(directory: Path) -> list[str]:
    """Write flowrate.toml and make the secrets; return one sentence per thing done.

    FileExistsError where the directory has a flowrate.toml; it is left as it is.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / DEFAULT_FILE
    with path.open("x", encoding="utf-8") as file:
        file.write(example_text())
    settings = load_settings(path)
    open_secrets(settings.data_dir)
    return [
        f"{path}: every setting with its default, commented out",
        f"{settings.data_dir / SECRETS_FILE}: passwords and the first API key (only you can read"
        " it)",
        "Tell it about your routers ([[collectors.radius.clients]]), then:"
        f" flowrate serve --config {path}",
    ]


def example_text() -> str:
    """Return the commented flowrate.toml; it is valid TOML that sets nothing."""
    return "\n".join([HEADER, *_section_lines(Settings, ())]).rstrip() + "\n"


def _section_lines(section: type, path: tuple[str, ...]) -> Iterator[str]:
    """Yield a section: its keys, then its lists of tables, then its nested sections."""
    keys = list(keys_of(section).values())
    leaves = [key for key in keys if key.section is None and key.row is None]
    if path and leaves:
        yield f"[{'.'.join(path)}]"
    if path and section_doc(section) and leaves:
        yield from _comment(section_doc(section))
        yield ""
    for key in leaves:
        yield from _comment(key.doc)
        yield f"#{key.name} = {to_toml(key.default)}" if key.default is not None else _unset(key)
        yield ""
    for key in keys:
        if key.row is not None:
            yield from _row_lines(key, path)
    for key in keys:
        if key.section is not None:
            yield from _section_lines(key.section, (*path, key.name))


def _row_lines(key: Key, path: tuple[str, ...]) -> Iterator[str]:
    """Yield the default entries of a list of tables, or one to fill in, commented out.

    Only the first entry explains its keys. A required key shows an empty value.
    """
    assert key.row is not None
    yield from _comment(key.doc)
    columns = keys_of(key.row).values()
    entries = key.default or (None,)
    for number, entry in enumerate(entries):
        yield f"#[[{'.'.join((*path, key.name))}]]"
        for column in columns:
            if number == 0:
                yield from _comment(f"{column.doc}{' Required.' if column.is_required else ''}")
            value = column.default if entry is None else getattr(entry, column.name)
            if value is None and column.is_required:
                value = "" if column.type is str else 0
            yield _unset(column) if value is None else f"#{column.name} = {to_toml(value)}"
        yield ""


def _unset(key: Key) -> str:
    return f"#{key.name} =   (unset)"


def _comment(text: str) -> list[str]:
    return [
        f"# {line}"
        for line in textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    ]


def to_toml(value: Any) -> str:
    """Return a default as a TOML value; TypeError for a type that has no form here."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:_}" if value >= 100_000 else str(value)
        case float():
            return repr(value)
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False)
        case list() | tuple():
            return f"[{', '.join(to_toml(item) for item in value)}]"
        case dict():
            pairs = (f"{json.dumps(name)} = {to_toml(item)}" for name, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        case _:
            raise TypeError(f"no TOML form for {type(value).__name__}")
