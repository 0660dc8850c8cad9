"""Worker processes of a test's cluster, each started again when it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.processes import die_with_the_starter

ROOT = Path(__file__).parent.parent.parent


class Workers:
    """Worker processes of one cluster, each started again when it ends."""

    def __init__(self, directory: Path, settings: Path) -> None:
        """Start none."""
        self._directory = directory
        self._settings = settings
        self.processes: list[subprocess.Popen[bytes]] = []
        self.restarts = 0

    def start(self, count: int) -> None:
        """Start so many more."""
        for _ in range(count):
            self.processes.append(self._start(len(self.processes)))

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        with (self._directory / f"worker-{number}.log").open("ab") as output:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "infra.cli", "worker"),
                    *("--config", str(self._settings)),
                    *("--set", f"data_dir={self._directory / f'w{number}'}"),
                ],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_the_starter,
            )

    def look_after(self) -> None:
        """Start again what has ended."""
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                self.restarts += 1
                self.processes[number] = self._start(number)

    def output(self) -> str:
        """Return the end of what each has said."""
        logs = sorted(self._directory.glob("worker-*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-3000:]}" for log in logs)

    def stop(self) -> None:
        """Ask all to end, and wait for it."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
