"""A worker of the cluster: the stages of the partitions that Kafka assigns to it."""

from __future__ import annotations

from infra.process import Context, run_process
from infra.wiring import worker as wiring
from streams.stage_metrics import STAGE_COUNTERS


def main(context: Context) -> None:
    """Work until told to stop; the partitions then go to the other workers."""
    worker, rounds = wiring.worker(context.settings)
    context.metrics.add_source(STAGE_COUNTERS, lambda: dict(rounds.counters))
    worker.run(context.stop)


if __name__ == "__main__":
    run_process("worker", main)
