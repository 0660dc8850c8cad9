"""A collector without sockets: blocks come through a pipe and go through the real spool to Kafka.

`Collector` is the test's side; it sends a block again when the process died or refused it, as a
NAS without an answer does. `python -m tests.cluster.collector` is the process, wired as `flowrate
collect` is.
"""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from collectors.metrics import Counters
from infra.process import Context, run_process
from infra.wiring.paths import ACCOUNTING_LOG, FLOW_LOG
from infra.wiring.spooling import open_spool

ROOT = Path(__file__).parent.parent.parent
LOGS = (FLOW_LOG, ACCOUNTING_LOG)
KINDS = ("data", "marker")
_HEADER = struct.Struct(">BBqI")
"""Index of the log, index of the kind, received_at, octets of the body that follows."""
_READY, _TAKEN, _REFUSED = b"r", b"+", b"-"
_RETRY_SECONDS = 0.1
_PATIENCE_SECONDS = 90.0


class Collector:
    """One collector process for both raw logs; it may be killed and goes on from its spool."""

    def __init__(self, directory: Path, settings: Path) -> None:
        """Start it under a settings file; its spool lies in directory."""
        self._directory = directory
        self._settings = settings
        self.restarts = 0
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._directory / "collector.log").open("ab") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.cluster.collector"),
                    *("--config", str(self._settings)),
                    *("--set", f"data_dir={self._directory / 'collector'}"),
                ],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        assert process.stdout is not None
        assert process.stdout.read(1) == _READY, self.output()
        return process

    def output(self) -> str:
        """Return the end of what it has said."""
        return (self._directory / "collector.log").read_text(errors="replace")[-3000:]

    def append(
        self, log: str, kind: str, received_at: int, body: bytes, *, dies: bool = False
    ) -> None:
        """Append a block or marker, again until it is taken; dies: it is killed meanwhile."""
        header = _HEADER.pack(LOGS.index(log), KINDS.index(kind), received_at, len(body))
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            answer = self._ask(header + body, dies=dies)
            if answer == _TAKEN:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"a block is not taken:\n{self.output()}")
            if answer == _REFUSED:
                time.sleep(_RETRY_SECONDS)
                continue
            self._process.wait()
            self.restarts += 1
            self._process = self._start()
            dies = False

    def _ask(self, request: bytes, *, dies: bool) -> bytes:
        """Return the answer to a request; nothing where the process is dead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except BrokenPipeError:
            return b""
        if dies:
            self._process.kill()
        return self._process.stdout.read(1)

    def close(self) -> None:
        """Let it end in order: it publishes what is left."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(context: Context) -> None:
    """Append what comes on standard input until it ends, one octet of answer for each block."""
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(open_spool(context, log, Counters())) for log in LOGS]
        _answer(_READY)
        while header := _read(sys.stdin.buffer, _HEADER.size):
            log, kind, received_at, octets = _HEADER.unpack(header)
            body = _read(sys.stdin.buffer, octets)
            try:
                writers[log].append(KINDS[kind], received_at, body)
            except OSError:
                _answer(_REFUSED)
                continue
            _answer(_TAKEN)


def _read(source: BinaryIO, octets: int) -> bytes:
    """Return so many octets, or nothing where the input has ended."""
    found = source.read(octets)
    return found if len(found) == octets else b""


def _answer(octet: bytes) -> None:
    sys.stdout.buffer.write(octet)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    run_process("collector", main)
