"""A whole Flowrate in real processes, with the demo's simulated network, for tests to hurt.

Its settings are the demo's own but for free ports, fewer lines, a wider lateness bound, a month's
end a little further away, and a file in which the simulated NAS writes down what was acknowledged.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx

from infra.demonstration.settings import WANTED_PORTS, settings_text
from infra.simulation.network import AccountingEvent
from infra.supervisor import SupervisorStatus, read_status
from tests.infra.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 90.0
"""How long a start may take on a busy machine."""


class Installation:
    """One data directory; `start` and `stop` as an operator would, `kill` as fate would."""

    def __init__(
        self, directory: Path, *, lines: int, seconds_before: int, lateness_seconds: int
    ) -> None:
        """Write the settings; nothing runs yet."""
        self.directory = directory
        self.truth_file = directory / "truth.jsonl"
        self._process: subprocess.Popen[bytes] | None = None
        ports = free_ports()
        self._api_port, self._store_port = ports["page"], ports["store"]
        directory.mkdir(mode=0o700)
        text = settings_text(ports, lines=lines)
        for old, new in (
            ('"20 s before month end"', f'"{seconds_before} s before month end"'),
            ("lateness_bound_seconds = 10", f"lateness_bound_seconds = {lateness_seconds}"),
            ("[simulation]\n", SETTINGS_MORE.format(truth_file=json.dumps(str(self.truth_file)))),
        ):
            assert old in text, f"the demo's settings no longer have {old!r}"
            text = text.replace(old, new)
        (directory / "demo.toml").write_text(text)

    # -- processes -----------------------------------------------------------------------------

    def start(self) -> None:
        """Run `flowrate demo` and wait until every process does."""
        with (self.directory / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.cli", "demo", "--dir", str(self.directory)],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        pid = self._process.pid

        def is_up() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"ended at its start:\n{self.output()}"
            status = read_status(self.directory)
            return status is not None and status.pid == pid and status.state == "running"

        wait_until(is_up, "the supervisor to run", START_SECONDS)
        wait_until(self.answers, "the API to answer", START_SECONDS)

    def stop(self) -> int:
        """Press Ctrl-C: SIGINT to the supervisor; return its exit status."""
        assert self._process is not None, "nothing was started"
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(timeout=START_SECONDS)
        self._process = None
        return status

    def abandon(self) -> None:
        """End what a failed test has left; processes die with their supervisor."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def status(self) -> SupervisorStatus:
        """Return what the supervisor says."""
        status = read_status(self.directory)
        assert status is not None, "the supervisor has written nothing"
        return status

    def pids(self) -> dict[str, int]:
        """Return the running processes by name."""
        return {each.name: each.pid for each in self.status().processes if each.pid is not None}

    def kill(self, name: str) -> None:
        """End a process of ours with SIGKILL, as soon as it runs."""
        wait_until(lambda: name in self.pids(), f"{name} to run", START_SECONDS)
        os.kill(self.pids()[name], signal.SIGKILL)

    def output(self) -> str:
        """Return what the processes have said."""
        return (self.directory / "output.log").read_text(errors="replace")[-5_000:]

    # -- looking inside ------------------------------------------------------------------------

    @property
    def secrets(self) -> dict[str, str]:
        """The installation's passwords."""
        return tomllib.loads((self.directory / "secrets").read_text())

    def answers(self) -> bool:
        """Return whether the API answers now."""
        try:
            return bool(self.get("/v1/branches")["items"])
        except (httpx.HTTPError, FileNotFoundError):
            return False

    def get(self, path: str) -> dict[str, Any]:
        """Ask the API. Raises httpx.HTTPError where it does not answer well."""
        response = httpx.get(
            f"http://127.0.0.1:{self._api_port}{path}",
            headers={"Authorization": f"Bearer {self.secrets['api_key']}"},
            timeout=10,
        )
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def items(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield every item of a list of the API."""
        cursor = ""
        while True:
            page = self.get(f"{path}?limit=100{cursor}")
            yield from page["items"]
            if not page.get("next_cursor"):
                return
            cursor = f"&cursor={page['next_cursor']}"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query on the engine's file, read-only."""
        uri = f"{(self.directory / 'flowrate.sqlite').as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=30)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def warehouse(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query on the store."""
        client = clickhouse_connect.get_client(
            host="127.0.0.1",
            port=self._store_port,
            username="reader",
            password=self.secrets["store_reader_password"],
            autogenerate_session_id=False,
        )
        try:
            return [tuple(row) for row in client.query(query).result_rows]
        finally:
            client.close()

    def acknowledged(self) -> list[AccountingEvent]:
        """Return the accounting events that the simulated NAS got an answer for."""
        lines = self.truth_file.read_text().splitlines() if self.truth_file.exists() else []
        return [AccountingEvent(**json.loads(line)) for line in lines if line.endswith("}")]

    def count_acknowledged(self) -> int:
        """Return how many accounting events the simulated NAS got an answer for."""
        return self.truth_file.read_bytes().count(b"\n") if self.truth_file.exists() else 0

    def now_ms(self) -> int:
        """Return the instant of the installation's own, shifted clock."""
        (at,) = self.rows("select max(watermark_at) from topic_watermark")[0]
        return int(at or 0)


SETTINGS_MORE = """\
[metrics]
first_port = 0

[streams]
trim_interval_seconds = 86400.0

[simulation]
truth_file = {truth_file}
pools = 2
session_mean_seconds = 15
"""


def free_ports() -> dict[str, int]:
    """Return a free port per use; all are open at once, so that they differ."""
    opened = []
    try:
        for kind, address, _ in WANTED_PORTS.values():
            probe = socket.socket(socket.AF_INET, kind)
            opened.append(probe)
            probe.bind((address, 0))
        return {
            use: int(probe.getsockname()[1])
            for use, probe in zip(WANTED_PORTS, opened, strict=True)
        }
    finally:
        for probe in opened:
            probe.close()


def is_alive(pid: int) -> bool:
    """Return whether a process still exists (a zombie does not count)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
