"""A worker of the cluster: the stages of the partitions that Kafka assigns to it."""

from __future__ import annotations

import time

from infra.allocator import keep_freed_memory
from infra.garbage import collect_garbage_rarely
from infra.process import Context, run_process
from infra.scheduling import work_in_batches
from infra.wiring.worker import worker_parts
from streams.adapters.kafka_lag import KafkaLag
from streams.metrics import GAUGES
from streams.stage_metrics import STAGE_COUNTERS


def main(context: Context) -> None:
    """Work until told to stop; the partitions then go to the other workers."""
    keep_freed_memory()
    work_in_batches()
    collect_garbage_rarely()
    parts = worker_parts(context.settings, context.clock.now_ms, context.traces.spans)
    watch, metrics = parts.observation, context.metrics
    lag = KafkaLag(context.settings.cluster.kafka, time.monotonic)
    metrics.add_source(
        STAGE_COUNTERS, lambda: {**parts.rounds.counters, "stream_lag_failures": lag.failures}
    )
    metrics.add_gauges(GAUGES, lambda: {**watch.gauges(), **lag(watch.positions())})
    metrics.add_measures(watch.measures)
    metrics.add_readiness_check(watch.readiness)
    parts.worker.run(context.stop)


if __name__ == "__main__":
    run_process("worker", main)
