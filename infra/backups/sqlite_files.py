"""Copies SQLite files while others write them: each copy is one moment of its file."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

_BUSY_TIMEOUT_SECONDS = 30.0


def copy_database(source: Path, target: Path) -> None:
    """Copy one moment of a SQLite file; its writers go on meanwhile (WAL).

    Raises sqlite3.Error where the source cannot be read or the copy is not whole.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    reader = sqlite3.connect(
        f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_SECONDS
    )
    writer = sqlite3.connect(target)
    try:
        # All pages in one step, hence under one read lock: copied in pieces, each commit of the
        # engine would begin the copy anew.
        reader.backup(writer, pages=-1)
        # A copy that needs no -wal beside it; opening it for work turns WAL on again.
        writer.execute("pragma journal_mode=delete")
        check_database(writer, source)
    finally:
        writer.close()
        reader.close()
    target.chmod(0o600)


def check_database(connection: sqlite3.Connection, name: Path) -> None:
    """Raise sqlite3.DatabaseError where the file's pages contradict each other."""
    (found,) = connection.execute("pragma quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"{name}: {found}")


def copy_segments(source: Path, target: Path, *, after: int) -> int:
    """Copy the segments of a raw log that hold blocks with number > after; return how many.

    The newest is being written and is copied as one moment of it. One that is trimmed meanwhile
    was consumed, and is left out.
    """
    paths = sorted(source.glob("*.sqlite"))
    firsts = [int(path.stem) for path in paths[1:]]
    copied = 0
    for path, following in zip(paths, [*firsts, None], strict=True):
        if following is not None and following - 1 <= after:
            continue
        copied += _copy_segment(path, target / path.name)
    return copied


def _copy_segment(source: Path, target: Path) -> bool:
    if source.with_name(f"{source.name}-wal").exists():
        copy_database(source, target)
        return True
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        return False
    target.chmod(0o600)
    return True
