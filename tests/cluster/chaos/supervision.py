"""Roles as systemd would run them: what ends is started again, half a second later."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.processes import die_with_the_starter

ROOT = Path(__file__).parent.parent.parent.parent
RESTART_SECONDS = 0.5
STOP_SECONDS = 30.0


class Supervised:
    """One process that shall run; `look_after` starts it again where it has ended."""

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        """Start nothing yet; output goes to `<name>.log` in directory."""
        self.name = name
        self.log_file = directory / f"{name}.log"
        self._command = tuple(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_at: float | None = None
        self._is_killed = False
        self.starts = 0
        self.own_ends: list[int] = []
        """Exit statuses of its ends that we did not cause by a kill."""

    def start(self) -> None:
        """Start it; from the main thread."""
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_the_starter,
            )
        self.starts += 1
        self._ended_at = None
        self._is_killed = False

    def look_after(self) -> None:
        """Start it again where it has ended and waited long enough."""
        if self._process is None or self._process.poll() is None:
            return
        if self._ended_at is None:
            self._ended_at = time.monotonic()
            if not self._is_killed:
                self.own_ends.append(self._process.returncode)
        if time.monotonic() >= self._ended_at + RESTART_SECONDS:
            self.start()

    @property
    def runs(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL it."""
        self._is_killed = True
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP it."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT it."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def stop(self) -> int | None:
        """Ask it to end in order and return its exit status; None where it did not run."""
        if self._process is None:
            return None
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._process = None
        return status

    def abandon(self) -> None:
        """End it at once, for good."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def output(self) -> str:
        """Return everything that it has said."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
