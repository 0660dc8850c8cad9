"""The store: owns chDB, sinks rated usage, serves the ClickHouse protocol on loopback."""

from __future__ import annotations

import warehouse.store
from infra.process import Context, run_process
from infra.secrets import open_secrets
from infra.wiring.paths import database_path
from infra.wiring.store import RatedTopicReader, warehouse_config
from warehouse.metrics import METRICS, Counters
from warehouse.snapshots import SqliteSnapshotReader


def main(context: Context) -> None:
    """Serve and sink until told to stop."""
    counters = Counters(context.clock.now_ms)
    context.metrics.add_source(METRICS, counters.values)
    context.metrics.add_measures(counters.measures)
    warehouse.store.run(
        warehouse_config(context.settings, open_secrets(context.data_dir)),
        RatedTopicReader(context.settings),
        now_ms=context.clock.now_ms,
        stop=context.stop,
        snapshots=SqliteSnapshotReader(database_path(context.settings)),
        counters=counters,
    )


if __name__ == "__main__":
    run_process("store", main)
