"""`serve` takes the directory, prepares it, runs the processes, and refuses a second instance."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.supervisor import read_status
from tests.infra.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent

SERVE = """
import sys
from infra import cli, serve as serving

def prepare(instance):
    print("prepared", instance.secrets.api_key[:3], flush=True)

def command(name, config, flags):
    sets = [word for flag in flags for word in ("--set", flag)]
    return (sys.executable, "-m", "tests.infra.framed_child", *sets)

serving.PROCESSES = ("engine",)
serving.child_command = command
flags = [f"data_dir={sys.argv[1]}", "metrics.first_port=0", "clock.starts_at=2031-05-31T23:59:40Z"]
sys.exit(cli._told(lambda: serving.serve(None, flags, prepare=prepare,
    on_started=lambda instance: print("started", flush=True)) or 0))
"""


@contextmanager
def serving(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(data_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_prepared_then_started_then_stopped(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "prepared fr_\n"
        assert process.stdout.readline() == "started\n"
        ready = tmp_path / "engine.ready"
        wait_until(lambda: ready.exists() and ready.read_text(), "the child runs")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
    stopped_at = int((tmp_path / "engine.stopped").read_text())
    assert 0 < stopped_at - 1_938_038_380_000 < 60_000, "the child lives in the shifted time"
    status = read_status(tmp_path)
    assert status is not None
    assert status.state == "stopped"
    assert 0 <= status.started_at - 1_938_038_380_000 < 60_000
    assert json.loads((tmp_path / "clock.json").read_text())["offset_ms"] > 0


def test_a_second_instance_is_one_clear_line(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with serving(tmp_path) as second:
            output, errors = second.communicate(timeout=20)
            assert second.returncode == 1
        assert errors == (
            f"flowrate: another Flowrate is running on {tmp_path} (pid {first.pid});"
            " stop it first, or name another directory: --set data_dir=…\n"
        )
        assert output == "", "nothing was prepared"
        first.terminate()
        assert first.wait(20) == 0
