"""Keeps a list of processes running, and says in supervisor.json how they are.

A process that ends unasked is started again after a wait that doubles at each death in a row.
Stopping goes in the reverse order of starting: SIGTERM, then SIGKILL after a timeout. Children
live in sessions of their own, so a terminal's Ctrl-C reaches the supervisor alone, and they end
when the supervisor dies (`infra.process.end_with_parent`).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from infra.config import SupervisorConfig
from infra.files import replace_whole
from infra.instance_lock import is_alive

LOG = logging.getLogger(__name__)

FILE_NAME = "supervisor.json"
POLL_SECONDS = 0.1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """One process to keep running.

    Where `is_framed`, the command runs `infra.process.run_process`, and is told the supervisor's
    pid and the inherited lock.
    """

    name: str
    command: tuple[str, ...]
    is_framed: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessStatus:
    """How one process is: state is running, waiting (to be restarted) or stopped.

    restarts counts since the supervisor started; last_exit says how the previous run ended
    ("killed by SIGKILL", "exit status 1"), "" while there was none. Instants in ms.
    """

    name: str
    state: str
    pid: int | None
    restarts: int
    started_at: int | None
    last_exit: str
    last_exit_at: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class SupervisorStatus:
    """What supervisor.json holds; state is running, stopping or stopped. Instants in ms."""

    pid: int
    state: str
    started_at: int
    processes: tuple[ProcessStatus, ...]


class Supervisor:
    """Starts, restarts and stops programs until it is told to stop.

    now_ms dates the status (Flowrate's clock); waits are measured by the monotonic clock.
    inherited descriptors stay open in every child (the instance lock).
    """

    def __init__(
        self,
        programs: Sequence[Program],
        data_dir: Path,
        config: SupervisorConfig,
        now_ms: Callable[[], int],
        inherited: Sequence[int] = (),
    ) -> None:
        """Start nothing yet; `run` does."""
        self.config = config
        self.now_ms = now_ms
        self.inherited = tuple(inherited)
        self.path = data_dir / FILE_NAME
        self.started_at = now_ms()
        self._children = [_Child(program) for program in programs]
        self._stop = threading.Event()
        self._is_hurried = False

    def run(self, on_started: Callable[[], None] = lambda: None) -> None:
        """Start everything, keep it running until `stop`, then stop everything.

        Runs in the main thread: Linux ends children with the thread that started them.
        on_started is called once after the first start of all.
        """
        try:
            for child in self._children:
                if not self._stop.is_set():
                    self._start(child)
            self._write("running")
            if not self._stop.is_set():
                on_started()
            while not self._stop.wait(POLL_SECONDS):
                if self._look_after_children():
                    self._write("running")
        finally:
            self._stop_children()

    def stop(self) -> None:
        """Ask `run` to stop everything; asked a second time, everything is killed at once."""
        self._is_hurried = self._stop.is_set()
        self._stop.set()

    def stop_on_signals(self) -> None:
        """Stop at SIGINT (Ctrl-C), SIGTERM and SIGHUP; a second one kills."""

        def asked(number: int, frame: FrameType | None) -> None:
            self.stop()

        for number in STOP_SIGNALS:
            signal.signal(number, asked)

    def status(self, state: str = "running") -> SupervisorStatus:
        """Return how everything is now."""
        return SupervisorStatus(
            pid=os.getpid(),
            state=state,
            started_at=self.started_at,
            processes=tuple(child.status() for child in self._children),
        )

    def _start(self, child: _Child) -> None:
        command = list(child.program.command)
        if child.program.is_framed:
            command += ["--supervisor", str(os.getpid())]
            for descriptor in self.inherited:
                command += ["--lock-descriptor", str(descriptor)]
        try:
            child.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=self.inherited,
            )
        except OSError as error:
            self._plan_restart(child, f"cannot be started: {error.strerror}")
            return
        child.started_at = self.now_ms()
        child.started_monotonic = time.monotonic()
        LOG.info("process started", extra={"program": child.program.name, "pid": child.process.pid})

    def _look_after_children(self) -> bool:
        """Notice deaths and restart what is due; return whether anything changed."""
        has_changed = False
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._plan_restart(child, exit_text(child.process.returncode))
                has_changed = True
            elif child.process is None and time.monotonic() >= child.restart_monotonic:
                child.restarts += 1
                self._start(child)
                has_changed = True
        return has_changed

    def _plan_restart(self, child: _Child, last_exit: str) -> None:
        lived = time.monotonic() - child.started_monotonic
        if child.process is None or lived < self.config.stable_after_seconds:
            child.deaths_in_a_row += 1
        else:
            child.deaths_in_a_row = 1
        wait = restart_wait_seconds(self.config, child.deaths_in_a_row)
        child.process = None
        child.last_exit = last_exit
        child.last_exit_at = self.now_ms()
        child.restart_monotonic = time.monotonic() + wait
        LOG.error(
            "process ended unasked and is restarted",
            extra={"program": child.program.name, "how": last_exit, "wait_seconds": wait},
        )

    def _stop_children(self) -> None:
        self._write("stopping")
        for child in reversed(self._children):
            if child.process is None:
                continue
            how = self._stop_child(child.process)
            LOG.info("process stopped", extra={"program": child.program.name, "how": how})
            child.process = None
            child.last_exit = how
            child.last_exit_at = self.now_ms()
            self._write("stopping")
        for child in self._children:
            child.is_stopped = True
        self._write("stopped")

    def _stop_child(self, process: subprocess.Popen[bytes]) -> str:
        """End one process and return how it ended."""
        if process.poll() is None:
            process.send_signal(signal.SIGKILL if self._is_hurried else signal.SIGTERM)
        deadline = time.monotonic() + self.config.stop_timeout_seconds
        while process.poll() is None:
            if self._is_hurried or time.monotonic() > deadline:
                process.kill()
                process.wait()
                break
            time.sleep(POLL_SECONDS / 5)
        return exit_text(process.returncode)

    def _write(self, state: str) -> None:
        """Replace supervisor.json at once, so that a reader sees one whole status.

        A full disk costs the status, not the service.
        """
        text = json.dumps(dataclasses.asdict(self.status(state)), indent=1) + "\n"
        try:
            replace_whole(self.path, text)
        except OSError as error:
            LOG.warning("status not written", extra={"reason": error.strerror})


@dataclasses.dataclass(slots=True)
class _Child:
    """One program's present process and its history."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    deaths_in_a_row: int = 0
    started_at: int | None = None
    started_monotonic: float = 0.0
    restart_monotonic: float = 0.0
    last_exit: str = ""
    last_exit_at: int | None = None
    is_stopped: bool = False

    def status(self) -> ProcessStatus:
        waiting = "stopped" if self.is_stopped else "waiting"
        return ProcessStatus(
            name=self.program.name,
            state="running" if self.process is not None else waiting,
            pid=self.process.pid if self.process is not None else None,
            restarts=self.restarts,
            started_at=self.started_at,
            last_exit=self.last_exit,
            last_exit_at=self.last_exit_at,
        )


def restart_wait_seconds(config: SupervisorConfig, deaths_in_a_row: int) -> float:
    """Return the wait before the start that follows the n-th death in a row (n from 1)."""
    doublings = min(deaths_in_a_row - 1, 30)
    return min(
        config.restart_wait_first_seconds * float(2**doublings), config.restart_wait_max_seconds
    )


def exit_text(status: int) -> str:
    """Return how a process ended, from Popen's returncode: "exit status 1", "killed by SIGKILL"."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def read_status(data_dir: Path) -> SupervisorStatus | None:
    """Return the status last written in a data directory; None where there is none.

    Where the supervisor was killed, its last word says "running": its state is then "gone" and its
    processes' states are "stopped".
    """
    try:
        told: Mapping[str, Any] = json.loads((data_dir / FILE_NAME).read_text())
    except (OSError, ValueError):
        return None
    status = SupervisorStatus(
        pid=told["pid"],
        state=told["state"],
        started_at=told["started_at"],
        processes=tuple(ProcessStatus(**process) for process in told["processes"]),
    )
    if status.state == "stopped" or is_alive(status.pid):
        return status
    return dataclasses.replace(
        status,
        state="gone",
        processes=tuple(
            dataclasses.replace(process, state="stopped", pid=None) for process in status.processes
        ),
    )
