"""What goes wrong while a simulated ISP lives on a cluster, as a seed says."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from typing import Protocol

from tests.cluster.workers import Workers

SESSION_TIMEOUT_SECONDS = 6.0
"""Of a worker, by default: one that is silent for longer loses its partitions."""
_KINDS = ("worker killed", "worker paused", "collector killed")
_WEIGHTS = (5, 3, 3)
_GAP_SECONDS = (1.0, 4.0)
_PAUSE_SECONDS = (1.0, 2 * SESSION_TIMEOUT_SECONDS)


class Patient(Protocol):
    """What has workers to hurt, and a collector that may die at its next block."""

    workers: Workers

    def let_collector_die(self) -> None:
        """Kill the collector while it takes its next block."""
        ...


class Faults:
    """Kills and pauses at random moments for so many seconds; `step` does what is due."""

    def __init__(self, seed: int, seconds: float) -> None:
        """Begin with the first step."""
        self._chance = random.Random(f"faults {seed}")
        self._seconds = seconds
        self._until: float | None = None
        self._next = 0.0
        self._asleep: dict[int, float] = {}
        self.done: Counter[str] = Counter()

    def step(self, patient: Patient) -> None:
        """Wake who has slept long enough, and hurt somebody where it is time."""
        now = time.monotonic()
        for pid, until in list(self._asleep.items()):
            if now >= until:
                self._wake(pid)
        if self._until is None:
            self._until = now + self._seconds
        if now < self._next or now > self._until:
            return
        self._next = now + self._chance.uniform(*_GAP_SECONDS)
        [kind] = self._chance.choices(_KINDS, _WEIGHTS)
        if kind == "collector killed":
            patient.let_collector_die()
            self.done[kind] += 1
            return
        process = self._chance.choice(patient.workers.processes)
        if process.poll() is not None or process.pid in self._asleep:
            return
        self.done[kind] += 1
        if kind == "worker killed":
            process.kill()
        else:
            os.kill(process.pid, signal.SIGSTOP)
            self._asleep[process.pid] = now + self._chance.uniform(*_PAUSE_SECONDS)

    def _wake(self, pid: int) -> None:
        del self._asleep[pid]
        os.kill(pid, signal.SIGCONT)

    def end(self) -> None:
        """Wake everybody; nothing happens any more."""
        self._until = 0.0
        for pid in list(self._asleep):
            self._wake(pid)
