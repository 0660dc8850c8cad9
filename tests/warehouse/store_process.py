"""Runs `warehouse.store.run` over an SQLite-free topic until stdin closes: for test_store."""

from __future__ import annotations

import dataclasses
import sys
import threading
from pathlib import Path

from tests.warehouse.records_made import MemoryTopic, random_frame
from warehouse import store
from warehouse.config import EndpointConfig, SinkConfig, WarehouseConfig


def main(directory: str, port: int) -> None:
    """Serve on the port with 30,000 rows in the topic; end when stdin does."""
    config = WarehouseConfig(
        store_directory=directory,
        reader_password="read-secret",
        sink_password="sink-secret",
        endpoint=EndpointConfig(port=port),
        sink=SinkConfig(interval_seconds=0.05, retry_seconds=0.1),
    )
    topic = MemoryTopic([(n, random_frame(n, 1000)) for n in range(1, 31)])
    stop = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    try:
        store.run(config, topic, now_ms=lambda: 1, stop=stop)
    except (RuntimeError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        sys.exit(3)
    print("ended cleanly", flush=True)


if __name__ == "__main__":
    assert dataclasses.is_dataclass(WarehouseConfig)
    assert Path(sys.argv[1]).exists()
    main(sys.argv[1], int(sys.argv[2]))
