"""The RADIUS accounting server: verified packets to `radius.accounting`, then the answer."""

from __future__ import annotations

from collectors.adapters import radius_listener
from collectors.metrics import METRICS, Counters
from infra.process import Context, run_process
from infra.trimming import start_trimming
from infra.wiring.logs import log_writer
from infra.wiring.paths import ACCOUNTING_LOG


def main(context: Context) -> None:
    """Serve until told to stop."""
    counters = Counters()
    context.metrics.add_source(METRICS, counters.snapshot)
    writer = log_writer(context.settings, ACCOUNTING_LOG)
    start_trimming(context, writer, ACCOUNTING_LOG)
    radius_listener.run(
        context.settings.collectors.radius,
        writer,
        now_ms=context.clock.now_ms,
        stop=context.stop,
        counters=counters,
    )


if __name__ == "__main__":
    run_process("radius", main)
