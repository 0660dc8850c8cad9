"""FreeRADIUS as a program that a test starts with a configuration of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers_available import require_peer

_HEAD = """
prefix = /usr
libdir = {libdir}
raddbdir = {directory}
logdir = {directory}
run_dir = {directory}
pidfile = {directory}/radiusd.pid
modconfdir = {directory}
"""


def configure(directory: Path, text: str, **values: object) -> None:
    """Write the configuration into a folder: where everything lies, then the text.

    The text is a format string, of the values and of ``directory``.
    """
    libdir = next(Path("/usr/lib").glob("freeradius*"), Path("/usr/lib/freeradius"))
    whole = (_HEAD + text).format(libdir=libdir, directory=directory, **values)
    (directory / "radiusd.conf").write_text(whole)


@contextlib.contextmanager
def freeradius(directory: Path, text: str, **values: object) -> Iterator[None]:
    """Run FreeRADIUS in a folder, configured as `configure` says; it is ready within."""
    program = require_peer("freeradius")
    directory.mkdir(exist_ok=True)
    configure(directory, text, **values)
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, "-f", "-X", "-d", str(directory), "-n", "radiusd"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"LC_ALL": "C"},
        )
        try:
            _wait_until_ready(process, directory / "output")
            yield
        finally:
            process.terminate()
            process.wait(10)


def _wait_until_ready(process: subprocess.Popen[bytes], output: Path) -> None:
    for _ in range(200):
        text = output.read_text(errors="replace")
        if "Ready to process requests" in text:
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"FreeRADIUS did not start:\n{output.read_text(errors='replace')[-3000:]}")
