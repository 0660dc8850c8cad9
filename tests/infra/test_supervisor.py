"""The supervisor restarts what dies, says so, stops in reverse order, and leaves nobody behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.config import SupervisorConfig
from infra.supervisor import (
    Program,
    Supervisor,
    exit_text,
    read_status,
    restart_wait_seconds,
)
from tests.infra.waiting import wait_until

CONFIG = SupervisorConfig(
    restart_wait_first_seconds=0.05, restart_wait_max_seconds=0.2, stop_timeout_seconds=5
)
ROOT = Path(__file__).parent.parent.parent


def python(name: str, code: str) -> Program:
    return Program(name, (sys.executable, "-u", "-c", code), is_framed=False)


def sleeper(name: str, order: Path) -> Program:
    """A program that appends its name to `order` when it is stopped."""
    return python(
        name,
        "import signal, sys, time\n"
        "def stop(number, frame):\n"
        f"    open({str(order)!r}, 'a').write('{name} ')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        f"open({str(order.parent / name)!r} + '.ready', 'w').close()\n"
        "time.sleep(60)\n",
    )


@contextmanager
def running(supervisor: Supervisor) -> Iterator[None]:
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield
    finally:
        supervisor.stop()
        thread.join(30)
        assert not thread.is_alive()


def status_of(data_dir: Path, name: str) -> dict[str, object]:
    try:
        told = json.loads((data_dir / "supervisor.json").read_text())
    except FileNotFoundError:
        return {}
    return next(process for process in told["processes"] if process["name"] == name)


def test_a_killed_process_is_restarted_and_the_status_says_so(tmp_path: Path) -> None:
    programs = [sleeper("one", tmp_path / "order"), sleeper("two", tmp_path / "order")]
    supervisor = Supervisor(programs, tmp_path, CONFIG, now_ms=lambda: 77)
    with running(supervisor):
        wait_until((tmp_path / "two.ready").exists, "both run")
        first = status_of(tmp_path, "one")
        assert first["restarts"] == 0
        assert isinstance(first["pid"], int)
        os.kill(first["pid"], signal.SIGKILL)
        wait_until(lambda: status_of(tmp_path, "one")["restarts"] == 1, "it is restarted")
        second = status_of(tmp_path, "one")
        assert second["state"] == "running"
        assert second["pid"] != first["pid"]
        assert second["last_exit"] == "killed by SIGKILL"
        assert second["last_exit_at"] == 77
        assert second["started_at"] == 77
        assert status_of(tmp_path, "two")["restarts"] == 0


def test_stopping_goes_in_reverse_order(tmp_path: Path) -> None:
    order = tmp_path / "order"
    names = ["first", "second", "third"]
    programs = [sleeper(name, order) for name in names]
    with running(Supervisor(programs, tmp_path, CONFIG, now_ms=lambda: 0)):
        for name in names:
            wait_until((tmp_path / f"{name}.ready").exists, f"{name} runs")
    assert order.read_text().split() == ["third", "second", "first"]
    status = read_status(tmp_path)
    assert status is not None
    assert status.state == "stopped"
    assert [process.state for process in status.processes] == ["stopped"] * 3
    assert [process.last_exit for process in status.processes] == ["exit status 0"] * 3


def test_a_process_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    stubborn = python(
        "stubborn",
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(tmp_path / 'ready')!r}, 'w').close()\n"
        "time.sleep(60)\n",
    )
    config = SupervisorConfig(stop_timeout_seconds=0.3)
    with running(Supervisor([stubborn], tmp_path, config, now_ms=lambda: 0)):
        wait_until((tmp_path / "ready").exists, "it runs")
    assert status_of(tmp_path, "stubborn")["last_exit"] == "killed by SIGKILL"


def test_asked_twice_it_kills_at_once(tmp_path: Path) -> None:
    stubborn = python(
        "stubborn",
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(tmp_path / 'ready')!r}, 'w').close()\n"
        "time.sleep(60)\n",
    )
    config = SupervisorConfig(stop_timeout_seconds=60)
    supervisor = Supervisor([stubborn], tmp_path, config, now_ms=lambda: 0)
    with running(supervisor):
        wait_until((tmp_path / "ready").exists, "it runs")
        supervisor.stop()
    assert status_of(tmp_path, "stubborn")["last_exit"] == "killed by SIGKILL"


def test_one_that_dies_again_and_again_waits_longer_up_to_a_bound(tmp_path: Path) -> None:
    dying = python("dying", "raise SystemExit(7)")
    with running(Supervisor([dying], tmp_path, CONFIG, now_ms=lambda: 0)):
        wait_until(lambda: status_of(tmp_path, "dying").get("restarts", 0) == 3, "3 restarts")
        assert status_of(tmp_path, "dying")["last_exit"] == "exit status 7"


def test_the_wait_doubles_to_its_bound() -> None:
    config = SupervisorConfig(restart_wait_first_seconds=0.5, restart_wait_max_seconds=30)
    waits = [restart_wait_seconds(config, deaths) for deaths in (1, 2, 3, 6, 7, 8, 10_000)]
    assert waits == [0.5, 1, 2, 16, 30, 30, 30]


def test_a_command_that_cannot_be_started_waits_like_a_dead_one(tmp_path: Path) -> None:
    absent = Program("absent", (str(tmp_path / "nothing"),), is_framed=False)
    with running(Supervisor([absent], tmp_path, CONFIG, now_ms=lambda: 0)):
        wait_until(lambda: status_of(tmp_path, "absent").get("restarts", 0) == 2, "2 restarts")
        assert status_of(tmp_path, "absent")["last_exit"] == (
            "cannot be started: No such file or directory"
        )


def test_exit_text() -> None:
    assert exit_text(0) == "exit status 0"
    assert exit_text(3) == "exit status 3"
    assert exit_text(-9) == "killed by SIGKILL"
    assert exit_text(-60) == "killed by signal 60"


def test_no_status_yet(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None


SUPERVISE = """
import sys
from pathlib import Path
from infra.config import SupervisorConfig
from infra.instance_lock import InstanceLock
from infra.supervisor import Program, Supervisor

data_dir = Path(sys.argv[1])
command = (sys.executable, "-m", "tests.infra.framed_child", "--set", f"data_dir={data_dir}",
           "--set", "metrics.is_enabled=false")
lock = InstanceLock(data_dir)
supervisor = Supervisor([Program("engine", command)], data_dir,
                        SupervisorConfig(restart_wait_first_seconds=0.05), lambda: 5,
                        inherited=[lock.descriptor])
supervisor.stop_on_signals()
supervisor.run(lambda: print("started", flush=True))
"""


@contextmanager
def supervising(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(data_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        ready = data_dir / "engine.ready"
        wait_until(lambda: ready.exists() and ready.read_text(), "the child runs")
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_stops_everything_cleanly(
    tmp_path: Path, number: signal.Signals
) -> None:
    with supervising(tmp_path) as process:
        os.killpg(process.pid, number)
        assert process.wait(20) == 0
    assert (tmp_path / "engine.stopped").exists(), "the child stopped by itself, unhurt"
    assert status_of(tmp_path, "engine")["last_exit"] == "exit status 0"


def test_children_of_a_killed_supervisor_end_and_the_directory_is_free_again(
    tmp_path: Path,
) -> None:
    with supervising(tmp_path) as process:
        child = int((tmp_path / "engine.ready").read_text())
        process.kill()
        process.wait()
        wait_until(lambda: not Path(f"/proc/{child}").exists(), "the child has ended")
    status = read_status(tmp_path)
    assert status is not None
    assert status.state == "gone"
    assert status.processes[0].state == "stopped"
    (tmp_path / "engine.ready").unlink()
    with supervising(tmp_path) as again:
        again.terminate()
        assert again.wait(20) == 0


def test_a_second_instance_is_refused_and_told_the_pid(tmp_path: Path) -> None:
    with supervising(tmp_path) as process:
        second = subprocess.run(
            [sys.executable, "-c", SUPERVISE, str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert f"another Flowrate is running on {tmp_path} (pid {process.pid})" in second.stderr
