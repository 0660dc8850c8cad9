"""One instance per data directory: an flock on instance.lock that names its holder.

Child processes inherit the open lock, so the directory stays taken until the last process of an
instance has ended, even where the supervisor itself was killed.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

FILE_NAME = "instance.lock"


class InstanceRunning(Exception):  # noqa: N818 - a finding about the machine, shown as it is
    """Another instance has the data directory; str() is the message for the operator."""


class InstanceLock:
    """The lock on one data directory, held from construction until `close` or the process's end.

    Raises InstanceRunning where another instance holds it. Where that instance's supervisor is
    dead and only its last processes are still ending, waits up to `ending_wait_seconds` first.
    """

    def __init__(self, data_dir: Path, *, ending_wait_seconds: float = 5.0) -> None:
        """Take the lock; the data directory is made (mode 0700) where it is absent."""
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = data_dir / FILE_NAME
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + ending_wait_seconds
        while not self._try_lock():
            holder = holder_of(data_dir)
            if (holder and is_alive(holder)) or time.monotonic() > deadline:
                os.close(self.descriptor)
                raise InstanceRunning(_refusal(data_dir, holder))
            time.sleep(0.05)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let the lock go, once every inheriting process has ended too. May be repeated."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> InstanceLock:
        """Return the held lock."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the lock go."""
        self.close()

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def holder_of(data_dir: Path) -> int | None:
    """Return the process id written in the lock file; None where there is none."""
    try:
        return int((data_dir / FILE_NAME).read_text())
    except (OSError, ValueError):
        return None


def is_alive(pid: int) -> bool:
    """Return whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _refusal(data_dir: Path, holder: int | None) -> str:
    if holder is None or is_alive(holder):
        by = f"pid {holder}" if holder else "a process that has not said its pid"
        return (
            f"another Flowrate is running on {data_dir} ({by});"
            " stop it first, or name another directory: --set data_dir=…"
        )
    return (
        f"processes of an earlier Flowrate (pid {holder}, which has ended) still run on"
        f" {data_dir}; try again in a moment"
    )
