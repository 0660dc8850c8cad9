"""Plans and usage in files: which form a file has, and faults that begin with its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rating.document_errors import DocumentError
from rating.plan_documents import Format, plan_of_text, read_document
from rating.plans import Plan

FORMATS: dict[str, Format] = {".toml": "toml", ".json": "json"}


class FileError(ValueError):
    """A file that cannot be used; the message names it, and field, value and what was expected."""


def read_plan(path: Path) -> Plan:
    """Return the plan in a TOML or JSON file, or raise FileError."""
    text, form = _read(path)
    try:
        return plan_of_text(text, form)
    except DocumentError as fault:
        raise FileError(f"{path}: {fault}") from None


def read_members(path: Path) -> dict[str, Any]:
    """Return the members of a TOML or JSON file, or raise FileError."""
    text, form = _read(path)
    try:
        return read_document(text, form)
    except DocumentError as fault:
        raise FileError(f"{path}: {fault}") from None


def _read(path: Path) -> tuple[str, Format]:
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise FileError(f"{path}: expected a name that ends in .toml or .json")
    try:
        return path.read_text("utf-8"), form
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: expected text in UTF-8: {error}") from None
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from None
