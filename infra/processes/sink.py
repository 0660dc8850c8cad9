"""The sink of a cluster: rated usage from Kafka into ClickHouse, each row exactly once."""

from __future__ import annotations

from infra.process import Context, run_process
from infra.secrets import open_secrets
from infra.wiring import sink as wiring
from warehouse.metrics import METRICS, Counters


def main(context: Context) -> None:
    """Sink this process's share until told to stop; the partitions then go to the others."""
    counters = Counters(context.clock.now_ms)
    context.metrics.add_source(METRICS, counters.values)
    context.metrics.add_measures(counters.measures)
    sink = wiring.cluster_sink(
        context.settings,
        open_secrets(context.data_dir),
        context.clock.now_ms,
        counters,
        context.traces.spans,
    )
    context.metrics.add_readiness_check(sink.readiness)
    sink.run(context.stop)


if __name__ == "__main__":
    run_process("sink", main)
