"""The doctor beside a whole running instance: the network of the demo, its NAS set wrongly."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.demonstration.settings import choose_ports, settings_text

PATIENCE_SECONDS = 300


@contextlib.contextmanager
def running_demo(directory: Path) -> Iterator[Path]:
    """Run the demo with a NAS whose settings say that Input is download; yield its settings."""
    file = directory / "demo.toml"
    text = settings_text(choose_ports(), lines=12)
    assert text.count('vendor = "mikrotik"') == 1
    swapped = text.replace('vendor = "mikrotik"', 'vendor = "mikrotik"\nswap_input_output = true')
    file.write_text(swapped)
    file.chmod(0o600)
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "demo", "--dir", str(directory)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield file
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def doctor(file: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit status and the findings by subject."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "doctor", "--json", "--config", str(file)],
        capture_output=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    told = json.loads(done.stdout)
    assert told["status"] == done.returncode
    return done.returncode, {each["subject"]: each for each in told["findings"]}


def test_a_swapped_nas_is_found_by_its_subscribers_flows(tmp_path: Path) -> None:
    with running_demo(tmp_path) as file:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, found = doctor(file)
            direction = found.get("demo-nas direction")
            if direction and direction["level"] == "fail":
                break
            if time.monotonic() > until:
                pytest.fail(f"{found}\n{(tmp_path / 'output').read_text()[-2000:]}")
            time.sleep(5)
        files = {path.name for path in tmp_path.iterdir()}
    assert status == 2
    assert "swap_input_output = false" in direction["advice"]
    assert [p for p in ("engine", "radius", "receive") if found[p]["level"] != "ok"] == []
    listening = [each for each in found.values() if each["seen"] == "listening"]
    assert len(listening) == 5
    assert found["demo-nas unit"]["level"] == "ok"
    assert found["demo-nas gigawords"]["level"] == "ok"
    assert found["NAS"]["seen"] == "1 within 5 s"
    assert found["exporter"]["level"] == "ok"
    assert found["engine in radius.accounting"]["level"] == "ok"
    assert found["clock.starts_at"]["level"] == "warn"
    assert not [name for name in files if name.startswith(".doctor-")]
