"""Flowrate's commands as an operator runs them: other processes, their words and exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.infra.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent


def run_flowrate(
    *words: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, as `flowrate` with these words."""
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *words],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@contextmanager
def serving(*words: str, until: Callable[[], bool], seconds: float) -> Iterator[None]:
    """Run `flowrate serve` until something holds, then give way, then stop it in order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "serve", *words], cwd=ROOT, start_new_session=True
    )
    try:
        wait_until(until, "what serve is run for", seconds)
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
