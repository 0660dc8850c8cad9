"""A small disk of its own under a directory, which can be filled and given room again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

SIZE_OCTETS = 64_000_000
_BLOCK_OCTETS = 1_000_000


class SmallDisk:
    """A tmpfs; `is_mounted` tells whether this machine let us."""

    def __init__(self, directory: Path) -> None:
        """Mount it on directory, which is made."""
        self._directory = directory
        self._ballast = directory / "ballast"
        directory.mkdir(mode=0o700, parents=True)
        self.is_mounted = False
        if os.geteuid() == 0 and shutil.which("mount"):
            command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_OCTETS},mode=700", "tmpfs"]
            mounted = subprocess.run([*command, str(directory)], capture_output=True, check=False)
            self.is_mounted = mounted.returncode == 0

    def fill(self) -> None:
        """Leave not one octet."""
        with self._ballast.open("wb", buffering=0) as file:
            size = _BLOCK_OCTETS
            while size:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 10

    def make_room(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self._directory)], check=False)
