"""A ClickHouse server for tests: the store's endpoint over chDB, empty, without a sink.

Usage: python -m tests.warehouse.endpoint_process DIRECTORY PORT. Serves until it is killed; its
users are `reader` with password `r` and `sink` with `s`.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

from warehouse.config import EndpointConfig, WarehouseConfig
from warehouse.endpoint import Endpoint, EndpointServer
from warehouse.engine import Engine
from warehouse.metrics import Counters


def config_of(port: int) -> WarehouseConfig:
    """Return the settings of a client of the server on a port."""
    return WarehouseConfig(
        reader_password="r", sink_password="s", endpoint=EndpointConfig(port=port)
    )


def main(directory: Path, port: int) -> None:
    """Serve, whatever the directory has already; say `serving` once."""
    config = dataclasses.replace(config_of(port), store_directory=str(directory))
    engine = Engine(directory / "chdb")
    server = EndpointServer(config, Endpoint(config, engine, Counters()))
    server.start()
    print("serving", flush=True)
    while server.is_alive:
        time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
