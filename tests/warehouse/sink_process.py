"""A process that runs the store over a made topic until it is killed: for test_sink_kills.

Usage: python -m tests.warehouse.sink_process DIRECTORY RECORDS SEED. Batch sizes vary by seed
and process, so that a replay that trusted its own batching would fail. Prints `done` at the end.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import polars as pl

from tests.warehouse.records_made import random_frame
from warehouse.config import EndpointConfig, SinkConfig, WarehouseConfig
from warehouse.engine import Engine
from warehouse.intent_tables import SqliteIntentStore
from warehouse.metrics import Counters
from warehouse.migrations import migrate
from warehouse.sink import Sink
from warehouse.store import chdb_path, intents_path, open_writer

STEP = 3
"""Positions of records are multiples of this: ascending, not dense."""


def record(position: int) -> pl.DataFrame:
    """Return the made record at a position; some have no rows."""
    return random_frame(position, random.Random(position).choice([0, 1, 200, 800]))


class MadeTopic:
    """Makes records when they are read, and gives as many as chance says."""

    def __init__(self, records: int, seed: int) -> None:
        self._last = records * STEP
        self._chance = random.Random(seed)

    def read(self, after_position: int, limit_rows: int) -> list[tuple[int, pl.DataFrame]]:
        """Return one to thirty records."""
        first = (after_position // STEP + 1) * STEP
        last = min(self._last, first + STEP * self._chance.randrange(30))
        return [(position, record(position)) for position in range(first, last + 1, STEP)]

    def cursor(self, position: int) -> int:
        """Return 0: positions are found by themselves."""
        return 0


def config_of(directory: Path) -> WarehouseConfig:
    """Return the settings that the killed process and the test share."""
    return WarehouseConfig(
        store_directory=str(directory),
        reader_password="r",
        sink_password="s",
        endpoint=EndpointConfig(port=0),
        sink=SinkConfig(interval_seconds=0.0),
    )


def main(directory: Path, records: int, seed: int) -> None:
    """Sink everything; say `ready`, then a line before each insert, and `done` at the end."""
    config = config_of(directory)
    engine = Engine(chdb_path(config))
    writer = open_writer(engine, config)
    migrate(writer, config.generation, 1)
    intents = SqliteIntentStore(intents_path(config))
    sink = Sink(config.sink, 1, MadeTopic(records, seed), writer, intents, Counters())
    print("ready", flush=True)
    sink.recover()
    while intents.position(sink.source) < records * STEP:
        print("recovered or stepped", flush=True)
        sink.step()
    print("done", flush=True)
    writer.close()
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
