"""Rows per second into the store: `python -m tests.benchmarks.bench_sink [ROWS]`.

The whole way of `warehouse.sink`: read records, save the intent, insert with base table and three
rollups, commit. And the same batches through the HTTP endpoint, as a sink elsewhere would.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from tests.warehouse.records_made import MINUTE, MemoryTopic, random_frame
from warehouse.config import EndpointConfig, SinkConfig, WarehouseConfig
from warehouse.connect import client
from warehouse.intent_tables import SqliteIntentStore
from warehouse.metrics import Counters
from warehouse.sink import Sink, TableWriter
from warehouse.store import Store, intents_path, open_writer


def made_topic(rows: int, record_rows: int) -> MemoryTopic:
    """Return a topic of so many rows in records of record_rows, each of three minutes, as live.

    Made before the clock starts.
    """
    frame = random_frame(1, record_rows).with_columns(
        (pl.lit(MINUTE) + pl.int_range(pl.len()) % 3).alias("minute")
    )
    return MemoryTopic(
        [(n + 1, frame.with_columns(pl.col("minute") + n)) for n in range(rows // record_rows)]
    )


def sink_all(writer: TableWriter, topic: MemoryTopic, generation: int, batch_rows: int) -> str:
    """Sink the topic and return a line with its rate."""
    with tempfile.TemporaryDirectory() as directory:
        intents = SqliteIntentStore(Path(directory) / "store.sqlite")
        config = SinkConfig(batch_rows=batch_rows, partition=batch_rows % 1000)
        sink = Sink(config, generation, topic, writer, intents, Counters())
        cpu, start = time.process_time(), time.perf_counter()
        rows = 0
        while moved := sink.step():
            rows += moved
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        intents.close()
    per_million = cpu / rows * 1e6
    return f"{rows:>9,} rows  {rows / seconds:>11,.0f} rows/s  {per_million:6.2f} CPU s per million"


def main(rows: int) -> None:
    """Print one line per way and batch size."""
    with tempfile.TemporaryDirectory() as directory:
        config = WarehouseConfig(
            store_directory=directory,
            reader_password="r",
            sink_password="s",
            endpoint=EndpointConfig(port=0),
        )
        with Store(config, Counters(), now_ms=1) as store:
            endpoint = dataclasses.replace(config.endpoint, port=store.port)
            config = dataclasses.replace(config, endpoint=endpoint)
            topic = made_topic(rows, 5_000)
            local = open_writer(store.engine, config)
            for batch_rows in (100_000, 10_000):
                line = sink_all(local, topic, 1, batch_rows)
                print(f"sink in process, batches of {batch_rows:>7,}: {line}", flush=True)
            remote = client(config, may_write=True)
            line = sink_all(remote, topic, 1, 99_999)  # type: ignore[arg-type]
            print(f"sink over HTTP,  batches of {99_999:>7,}: {line}", flush=True)
            local.close()
            remote.close()
        assert intents_path(config).parent.exists()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MB (of which the topic in memory is a part)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
