"""What chDB takes on this machine, as JSON: `python -m tests.benchmarks.cluster_chdb ROWS|FILE`.

ROWS are made at random, FILE is a parquet file of rated usage.

A plain insert into a table with the columns and the order of rated usage, then the whole sink with
its intents, base table and rollups; each [rows/s, CPU seconds per million], and octets a row that
the sink's tables have on disk.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from tests.benchmarks.bench_sink import made_topic
from tests.warehouse.records_made import MemoryTopic
from warehouse.config import EndpointConfig, SinkConfig, WarehouseConfig
from warehouse.intent_tables import SqliteIntentStore
from warehouse.intents import Source
from warehouse.metrics import Counters
from warehouse.sink import Sink, rated_frame
from warehouse.store import Store, open_writer
from warehouse.tables import USAGE_RATED

BATCH_ROWS = 100_000
RECORD_ROWS = 5_000


def insert(writer: Any, topic: MemoryTopic, directory: Path) -> None:
    """Insert the topic's rows, so many at a time, into a table without rollups."""
    base, order = USAGE_RATED.physical(1), ", ".join(USAGE_RATED.order_by)
    writer.command(f"create table plain as {base} engine = MergeTree order by ({order})")
    source, position = Source(1, "usage.rated", 0), 0
    while records := topic.read(position, BATCH_ROWS):
        frame = rated_frame(records, source)
        writer.insert_arrow("plain", frame.to_arrow(compat_level=pl.CompatLevel.oldest()))
        position = records[-1][0]


def sink(writer: Any, topic: MemoryTopic, directory: Path) -> None:
    """Sink the topic, with intents in the directory."""
    intents = SqliteIntentStore(directory / "intents.sqlite")
    whole = Sink(SinkConfig(batch_rows=BATCH_ROWS), 1, topic, writer, intents, Counters())
    while whole.step():
        pass
    intents.close()


def read_topic(rows_or_file: str) -> tuple[MemoryTopic, int]:
    """Return what to insert, and how many rows that is."""
    if rows_or_file.isdigit():
        return made_topic(int(rows_or_file), RECORD_ROWS), int(rows_or_file)
    frame = pl.read_parquet(rows_or_file)
    slices = enumerate(frame.iter_slices(RECORD_ROWS), 1)
    return MemoryTopic(list(slices)), frame.height


def main(rows_or_file: str) -> None:
    """Print one line of JSON."""
    topic, rows = read_topic(rows_or_file)
    with tempfile.TemporaryDirectory() as directory:
        config = WarehouseConfig(
            store_directory=directory,
            reader_password="r",
            sink_password="s",
            endpoint=EndpointConfig(port=0),
        )
        with Store(config, Counters(), now_ms=1) as store:
            writer: Any = open_writer(store.engine, config)
            told: list[Any] = []
            for run in (insert, sink):
                cpu, began = time.process_time(), time.monotonic()
                run(writer, topic, Path(directory))
                seconds, cpu = time.monotonic() - began, time.process_time() - cpu
                told.append((rows / seconds, cpu / rows * 1e6))
            octets = writer.command(
                "select sum(bytes_on_disk) from system.parts where active and table like 'usage_%'"
            )
            told.append(int(octets) / rows)
            writer.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
