"""The engine: every stage, one transaction a pass, as fast as input comes."""

from __future__ import annotations

import threading

import polars as pl

from infra.allocator import keep_freed_memory
from infra.garbage import collect_garbage_rarely
from infra.process import Context, run_process
from infra.wiring import engine as wiring
from rating.measures import Labels, Measures
from streams.metrics import GAUGES, HISTOGRAMS
from streams.observation import observe_rated, watermark_ages
from streams.stage_metrics import STAGE_COUNTERS


def main(context: Context) -> None:
    """Run passes until told to stop; what is in the logs then waits for the next start."""
    keep_freed_memory()
    collect_garbage_rarely()
    config = context.settings.streams
    has_begun = threading.Event()
    context.metrics.add_readiness_check(
        lambda: [] if has_begun.is_set() else ["no pass has been made yet"]
    )
    measures = Measures(HISTOGRAMS, threading.Lock())

    def on_committed(topic: str, frame: pl.DataFrame) -> None:
        observe_rated(measures, topic, frame, context.clock.now_ms())

    def gauges() -> dict[tuple[str, Labels], float]:
        return watermark_ages(runner.watermarks(), context.clock.now_ms())

    runner = wiring.runner(context.settings, on_committed)
    context.metrics.add_source(STAGE_COUNTERS, lambda: dict(runner.counters))
    context.metrics.add_gauges(GAUGES, gauges)
    context.metrics.add_measures(measures)
    trim_interval_ms = int(config.trim_interval_seconds * 1000)
    trimmed_at = context.clock.now_ms()
    while not context.stop.is_set():
        runner.run_once()
        has_begun.set()
        # Also when behind: web and office write to the same file and need their turn.
        pause_ms = config.turn_pause_milliseconds
        context.stop.wait(pause_ms / 1000 if runner.is_behind else config.poll_interval_seconds)
        now = context.clock.now_ms()
        if now - trimmed_at >= trim_interval_ms:
            trimmed_at = now
            runner.trim({wiring.RATED_TOPIC: wiring.sink_position(context.settings)})


if __name__ == "__main__":
    run_process("engine", main)
