"""One instance per data directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.instance_lock import InstanceLock, InstanceRunning, holder_of


def test_a_second_one_is_refused_and_the_message_names_pid_and_directory(tmp_path: Path) -> None:
    with InstanceLock(tmp_path):
        assert holder_of(tmp_path) == os.getpid()
        with pytest.raises(InstanceRunning) as refused:
            InstanceLock(tmp_path)
    assert f"running on {tmp_path} (pid {os.getpid()})" in str(refused.value)


def test_it_is_free_again_after_close(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path)
    lock.close()
    lock.close()
    InstanceLock(tmp_path).close()


def test_the_directory_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    with InstanceLock(tmp_path / "new" / "data"):
        assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == 0o700


def test_processes_that_inherited_it_hold_it_after_their_parent_is_gone(tmp_path: Path) -> None:
    """The parent is killed; its child lives on, so the directory is still taken."""
    code = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from infra.instance_lock import InstanceLock\n"
        f"lock = InstanceLock(Path({str(tmp_path)!r}))\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=0,"
        " pass_fds=[lock.descriptor])\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    assert int(parent.stdout.readline()) > 0
    parent.wait(20)
    with pytest.raises(InstanceRunning, match=f"pid {parent.pid}, which has ended"):
        InstanceLock(tmp_path, ending_wait_seconds=0.1)
    parent.stdin.close()
    InstanceLock(tmp_path, ending_wait_seconds=20).close()
    parent.stdout.close()
