"""Small files that are whole or absent, whoever reads them and whenever we die."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def create_whole(path: Path, text: str) -> bool:
    """Make a file (mode 0600) with its text at once; False where it exists already.

    Of several processes that try, one wins. Raises OSError; then nothing has changed.
    """
    partial = _partial(path, text)
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink()
    return True


def replace_whole(path: Path, text: str) -> None:
    """Make or replace a file (mode 0600): a reader sees the old text or the new one.

    Raises OSError; then the old file stands.
    """
    partial = _partial(path, text)
    try:
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _partial(path: Path, text: str) -> Path:
    """Return a durable file of this text beside the path, under a name of its own."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.unlink(name)
        raise
    return Path(name)
