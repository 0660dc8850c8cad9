"""An empty warehouse in a process of its own, until its input closes: stands for ClickHouse."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.processes import free_port
from warehouse.config import EndpointConfig, WarehouseConfig
from warehouse.metrics import Counters
from warehouse.store import Store

ROOT = Path(__file__).parent.parent.parent
SINK_PASSWORD = "sink-secret"
READER_PASSWORD = "read-secret"


def config_of(directory: Path, port: int) -> WarehouseConfig:
    """Return the settings of a store and of its clients."""
    return WarehouseConfig(
        store_directory=str(directory),
        reader_password=READER_PASSWORD,
        sink_password=SINK_PASSWORD,
        endpoint=EndpointConfig(port=port),
    )


@contextlib.contextmanager
def store_alone(directory: Path) -> Iterator[WarehouseConfig]:
    """Run a store and give its settings."""
    config = config_of(directory, free_port())
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.deploy.store_alone", directory, str(config.endpoint.port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield config
        process.communicate("", timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    with Store(config_of(Path(sys.argv[1]), int(sys.argv[2])), Counters(), now_ms=1):
        print("open", flush=True)
        sys.stdin.read()
