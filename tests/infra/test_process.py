"""The frame of a process: settings, signals, crash-only end, end with the parent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from infra.cli import ROLES as ROLE_WORDS
from infra.config import ROLES
from infra.process import child_command, metrics_port
from tests.infra.waiting import wait_until

CHILD = [sys.executable, "-m", "tests.infra.framed_child"]
ROOT = Path(__file__).parent.parent.parent


def start(
    data_dir: Path, *arguments: str, behaviour: str = "wait", name: str = "engine"
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*CHILD, "--set", f"data_dir={data_dir}", "--set", "metrics.first_port=0", *arguments],
        cwd=ROOT,
        env=os.environ | {"FLOWRATE_TEST_BEHAVIOUR": behaviour, "FLOWRATE_TEST_NAME": name},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    wait_until((tmp_path / "engine.ready").exists, "main runs")
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert (tmp_path / "engine.stopped").exists()
    assert "event=stopped" in errors


def test_supervised_it_leaves_ctrl_c_to_the_supervisor(tmp_path: Path) -> None:
    process = start(tmp_path, "--supervisor", str(os.getpid()))
    wait_until((tmp_path / "engine.ready").exists, "main runs")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.mark.parametrize("behaviour", ["raise", "raise beside a thread"])
def test_an_exception_ends_it_with_status_1(tmp_path: Path, behaviour: str) -> None:
    _, errors = (process := start(tmp_path, behaviour=behaviour)).communicate(timeout=20)
    assert process.returncode == 1
    assert "event=crashed" in errors
    assert "broken on purpose" in errors


def test_an_exception_in_a_thread_ends_it_too(tmp_path: Path) -> None:
    process = start(tmp_path, behaviour="raise in thread")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "ZeroDivisionError" in errors


def test_wrong_settings_are_status_2_without_traceback(tmp_path: Path) -> None:
    _, errors = (process := start(tmp_path, "--set", "api.nope=1")).communicate(timeout=20)
    assert process.returncode == 2
    assert errors == "flag --set: api.nope: unknown key\n"


def test_it_ends_when_the_parent_dies(tmp_path: Path) -> None:
    """A shell starts it as its supervisor and is killed; the process must be gone soon after."""
    script = (
        "import subprocess, sys, os, time\n"
        f"subprocess.Popen({CHILD!r} + ['--set', 'data_dir={tmp_path}', '--set',"
        " 'metrics.is_enabled=false', '--supervisor', str(os.getpid())])\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    ready = tmp_path / "engine.ready"
    wait_until(lambda: ready.exists() and ready.read_text(), "main runs")
    child = int(ready.read_text())
    assert Path(f"/proc/{child}").exists()
    parent.kill()
    parent.wait()
    wait_until(lambda: not _is_running(child), "the child has ended")


def test_a_parent_that_is_already_gone_ends_it_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "--supervisor", "1")
    process.communicate(timeout=20)
    assert process.returncode == 1
    assert not (tmp_path / "engine.ready").exists()


def test_metrics_and_health_are_served(tmp_path: Path) -> None:
    process = start(tmp_path, "--set", "logs.format=json")
    assert process.stderr is not None
    port = json.loads(process.stderr.readline())["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert 'flowrate_process_started_at{kind="",process="engine"}' in answer.read().decode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        assert json.load(answer) == {"process": "engine", "status": "ok", "findings": []}
    process.terminate()
    process.communicate(timeout=20)


def test_metrics_ports_follow_each_other() -> None:
    assert metrics_port("store", 9471) == 9471
    assert metrics_port("engine", 9471) == 9472
    assert metrics_port("engine", 0) == 0
    assert metrics_port("unheard-of", 9471) == 0


def test_a_role_of_a_cluster_has_the_first_port() -> None:
    roles = ["-".join(words) for words in ROLE_WORDS]
    assert sorted(roles) == sorted(ROLES)
    assert {metrics_port(role, 9471) for role in roles} == {9471}
    assert {metrics_port(role, 0) for role in roles} == {0}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_every_line_of_a_role_says_who_wrote_it(tmp_path: Path, role: str, style: str) -> None:
    process = start(
        tmp_path,
        *("--set", "mode=cluster", "--set", "cluster.database_url=postgresql://x@127.0.0.1:1/x"),
        *("--set", "cluster.spool.collector_id=ams1", "--set", f"logs.format={style}"),
        behaviour="raise",
        name=role,
    )
    _, errors = process.communicate(timeout=30)
    lines = errors.splitlines()
    assert len(lines) >= 2
    collector = {"collector_id": "ams1"} if role.startswith("collect-") else {}
    who = {
        "process": role,
        "role": role,
        "instance": f"{socket.gethostname()}:{process.pid}",
        **collector,
    }
    for line in lines:
        if style == "json":
            facts = json.loads(line)
            assert {name: facts.get(name) for name in who} == who
            assert "trace_id" not in facts
        else:
            assert " ".join(f"{name}={value}" for name, value in who.items()) in line
        assert collector or "collector_id" not in line


def test_embedded_processes_need_no_more_than_their_name(tmp_path: Path) -> None:
    _, errors = start(tmp_path, behaviour="raise").communicate(timeout=30)
    assert "process=engine from=infra.process event=started" in errors
    assert "role=" not in errors


def test_child_command_carries_the_same_settings(tmp_path: Path) -> None:
    command = child_command("web", tmp_path / "a.toml", ["api.listen_port=1"])
    assert command[1:] == (
        "-m",
        "infra.processes.web",
        "--config",
        str(tmp_path / "a.toml"),
        "--set",
        "api.listen_port=1",
    )


def _is_running(pid: int) -> bool:
    """A zombie that nobody has waited for yet does not run any more."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
