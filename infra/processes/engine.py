"""The engine: every stage, one transaction a pass, as fast as input comes."""

from __future__ import annotations

from infra.process import Context, run_process
from infra.wiring import engine as wiring
from streams.stage_metrics import STAGE_COUNTERS


def main(context: Context) -> None:
    """Run passes until told to stop; what is in the logs then waits for the next start."""
    runner = wiring.runner(context.settings)
    config = context.settings.streams
    context.metrics.add_source(STAGE_COUNTERS, lambda: dict(runner.counters))
    trim_interval_ms = int(config.trim_interval_seconds * 1000)
    trimmed_at = context.clock.now_ms()
    while not context.stop.is_set():
        has_worked = runner.run_once()
        # Also when behind: web and office write to the same file and need their turn.
        pause_ms = config.turn_pause_milliseconds
        context.stop.wait(pause_ms / 1000 if has_worked else config.poll_interval_seconds)
        now = context.clock.now_ms()
        if now - trimmed_at >= trim_interval_ms:
            trimmed_at = now
            runner.trim({wiring.RATED_TOPIC: wiring.sink_position(context.settings)})


if __name__ == "__main__":
    run_process("engine", main)
