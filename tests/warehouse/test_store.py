"""The store as a process: it serves, sinks, refuses a second owner, and ends cleanly."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warehouse.config import EndpointConfig, WarehouseConfig
from warehouse.connect import WarehouseError, client
from warehouse.intent_tables import SqliteIntentStore
from warehouse.intents import Intent, Source, committed_position

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(directory: Path, port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.warehouse.store_process", str(directory), str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_rows(config: WarehouseConfig, rows: int) -> int:
    deadline = time.monotonic() + 60
    count = -1
    while time.monotonic() < deadline:
        try:
            reading = client(config)
            count = int(reading.command("SELECT count() FROM usage_rated"))
            reading.close()
            if count >= rows:
                return count
        except WarehouseError:
            pass
        time.sleep(0.1)
    return count


def test_a_store_serves_and_sinks_refuses_a_second_and_ends_cleanly(tmp_path: Path) -> None:
    config = WarehouseConfig(
        reader_password="read-secret", endpoint=EndpointConfig(port=free_port())
    )
    first = start(tmp_path, config.endpoint.port)
    try:
        assert wait_for_rows(config, 30_000) == 30_000
        second = start(tmp_path, free_port())
        _, said = second.communicate(timeout=60)
        assert second.returncode == 3
        assert "refused:" in said
        with pytest.raises(WarehouseError, match="AUTHENTICATION_FAILED"):
            client(dataclasses.replace(config, reader_password="wrong"))
        output, said = first.communicate(timeout=60)
        assert (output, first.returncode) == ("ended cleanly\n", 0), said
        assert committed_position(tmp_path / "store.sqlite", Source(1, "usage.rated", 0)) == 30
    finally:
        first.kill()
        first.wait()
    with pytest.raises(WarehouseError, match="warehouse at 127"):
        client(config)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(tmp_path, taken.getsockname()[1])
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "store endpoint 127.0.0.1:" in said


def test_a_diverged_sink_stops_while_the_endpoint_serves(tmp_path: Path) -> None:
    config = WarehouseConfig(
        reader_password="read-secret", endpoint=EndpointConfig(port=free_port())
    )
    intents = SqliteIntentStore(tmp_path / "store.sqlite")
    intents.begin(Source(1, "usage.rated", 0), Intent(1, 3, 7))
    intents.close()
    process = start(tmp_path, config.endpoint.port)
    try:
        assert wait_for_rows(config, 0) == 0
        time.sleep(0.5)
        assert wait_for_rows(config, 0) == 0
        output, said = process.communicate(timeout=60)
        assert (output, process.returncode) == ("ended cleanly\n", 0)
        assert "an operator must look" in said
    finally:
        process.kill()
        process.wait()
