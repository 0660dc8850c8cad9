"""Disks that are full and have room again: a limit on file size, or a small file system."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOM_OCTETS = 1_500_000


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """A directory that takes about ROOM_OCTETS; `prepare(pid)` first, `make_room(pid)` lifts it."""

    directory: Path
    prepare: Callable[[int], None]
    make_room: Callable[[int], None]


@contextlib.contextmanager
def file_size_limit(directory: Path) -> Iterator[Disk]:
    """A process whose files may not grow (RLIMIT_FSIZE): writes fail with EFBIG."""

    def limit(pid: int, octets: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (octets, resource.RLIM_INFINITY))

    yield Disk(
        directory, lambda pid: limit(pid, ROOM_OCTETS), lambda pid: limit(pid, 1_000 * ROOM_OCTETS)
    )


@contextlib.contextmanager
def small_file_system(directory: Path) -> Iterator[Disk]:
    """A file system of its own (tmpfs): writes fail with ENOSPC; needs root to be mounted."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small file system needs root and mount(8)")
    place = directory / "small"
    place.mkdir()
    size = 20 * ROOM_OCTETS
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    ballast = place / "ballast"
    try:
        ballast.write_bytes(bytes(size - ROOM_OCTETS))
        yield Disk(place, lambda pid: None, lambda pid: ballast.unlink())
    finally:
        subprocess.run(["umount", str(place)], check=True)


DISKS = {"file size": file_size_limit, "file system": small_file_system}
