"""The passwords and keys that this machine makes for itself, in one file only its owner reads.

The file `secrets` lies in the data directory, mode 0600, as TOML. What is missing is made; what
is there is never changed, so an operator may write another value by hand.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import stat
import tomllib
from pathlib import Path

from infra.files import create_whole, replace_whole

FILE_NAME = "secrets"
TOKEN_OCTETS = 24


class SecretsError(Exception):
    """The secrets file cannot be used; str() is the message for the operator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Secrets:
    """What the processes share and nobody else may know."""

    store_sink_password: str = dataclasses.field(repr=False)
    """Password of the store's user `sink`, which writes."""
    store_reader_password: str = dataclasses.field(repr=False)
    """Password of the store's user `reader`: API, CLI and Grafana."""
    api_key: str = dataclasses.field(repr=False)
    """The first API key, for `Authorization: Bearer`; further ones are rows of api_key."""
    page_session_key: str = dataclasses.field(repr=False)
    """Key that signs the cookies and login links of the pages."""


def open_secrets(data_dir: Path) -> Secrets:
    """Return the data directory's secrets, making those that are missing.

    SecretsError where others can read the file or it cannot be understood. Two processes that
    make it at once agree on one of them.
    """
    path = data_dir / FILE_NAME
    kept = _read(path)
    names = [field.name for field in dataclasses.fields(Secrets)]
    missing = [name for name in names if name not in kept]
    if missing:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = {name: kept.get(name) or _token(name) for name in names}
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in (made | kept).items())
        if kept:
            replace_whole(path, text)
        else:
            create_whole(path, text)
        return open_secrets(data_dir)
    return Secrets(**{name: kept[name] for name in names})


def _token(name: str) -> str:
    prefix = "fr_" if name == "api_key" else ""
    return prefix + secrets.token_urlsafe(TOKEN_OCTETS)


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read().decode()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SecretsError(f"{path}: cannot be read: {error}") from None
    if mode & 0o077:
        raise SecretsError(f"{path}: others may read it (mode {mode:04o}): chmod 600 {path}")
    try:
        kept = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SecretsError(f"{path}: not valid TOML: {error}") from None
    wrong = [name for name, value in kept.items() if not isinstance(value, str) or not value]
    if wrong:
        raise SecretsError(f"{path}: {', '.join(wrong)}: expected text in quotes")
    return kept
