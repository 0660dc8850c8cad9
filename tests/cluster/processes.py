"""Processes that a test starts, freezes and kills: none outlives the test."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PORTS = range(20_000, 32_000)
"""Below Linux's ephemeral ports, so that nobody is given ours while a server is down."""


class UnreadyError(Exception):
    """A server that did not answer in time, or ended; the text has the end of its log."""


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as attempt:
            # As servers do: connections of the one before may still be in TIME_WAIT.
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free TCP port on 127.0.0.1")


_libc = ctypes.CDLL(None, use_errno=True)


def die_with_the_starter() -> None:
    """Runs in the child: Linux kills it once the thread that started it is gone."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def as_user(user: str | None) -> dict[str, Any]:
    """Return subprocess's arguments that run a program as user, without our groups; None is us."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


class ServerProcess:
    """One server on this machine, with its children, its log file and its end.

    Start it from the test's main thread: the kernel ties its life to the thread that started it.
    """

    def __init__(self, name: str, directory: Path, user: str | None = None) -> None:
        """Take the directory of the log file, `<name>.log`, and whom to run as; None is us."""
        self.name = name
        self.log_file = directory / f"{name}.log"
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(
        self,
        command: Sequence[str],
        answers: Callable[[], bool],
        timeout_seconds: float = 150.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start command and wait until answers() is true; UnreadyError where that never happens."""
        assert not self.is_running, f"{self.name} runs already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=None if environment is None else {**os.environ, **environment},
                # Away from the terminal's group: Ctrl-C is the test's to handle.
                start_new_session=True,
                preexec_fn=die_with_the_starter,
                **as_user(self._user),
            )
        deadline = time.monotonic() + timeout_seconds
        while not answers():
            if not self.is_running or time.monotonic() > deadline:
                self.kill()
                log_end = self.log_file.read_text(errors="replace")[-2000:]
                raise UnreadyError(f"{self.name} does not answer:\n{log_end}")
            time.sleep(0.1)

    def stop(self, number: signal.Signals, timeout_seconds: float = 60.0) -> None:
        """Ask it to end and wait; one that does not end in time is killed."""
        if self._process is None:
            return
        if self.is_running:
            self.resume()
            self._process.send_signal(number)
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None

    def kill(self) -> None:
        """SIGKILL it and its children, as the machine's end would; returns once all are gone."""
        if self._process is None:
            return
        family = self._freeze()
        for pid in reversed(family):
            _signal(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        self._frozen = []
        while any(is_alive(pid) for pid in family):
            time.sleep(0.01)

    def pause(self) -> None:
        """SIGSTOP it and its children: it holds its connections and answers nobody."""
        self._frozen = self._freeze()

    def resume(self) -> None:
        """SIGCONT what `pause` stopped."""
        for pid in self._frozen:
            _signal(pid, signal.SIGCONT)
        self._frozen = []

    def _freeze(self) -> list[int]:
        """Stop the process, then its children, so that none is born unseen; return all."""
        family = [self.pid]
        for pid in family:
            _signal(pid, signal.SIGSTOP)
            family += children(pid)
        return family


def children(pid: int) -> list[int]:
    """Return the child processes of every thread of pid."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in file.read_text().split()]
        except OSError:
            continue
    return found


def is_alive(pid: int) -> bool:
    """Whether pid runs; one that only waits for its parent to notice does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
