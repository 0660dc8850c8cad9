"""The RADIUS accounting server: verified packets to `radius.accounting`, then the answer."""

from __future__ import annotations

from collectors.adapters import radius_listener
from collectors.metrics import METRICS, Counters
from infra.garbage import collect_garbage_briefly
from infra.process import Context, run_process
from infra.wiring.collection import open_log
from infra.wiring.paths import ACCOUNTING_LOG
from infra.wiring.relaying import relaying


def main(context: Context) -> None:
    """Serve until told to stop."""
    collect_garbage_briefly()
    counters = Counters()
    context.metrics.add_source(METRICS, counters.snapshot)
    context.metrics.add_readiness_check(
        lambda: [] if counters.get("radius_receive_buffer_octets") else ["no socket is bound yet"]
    )
    with open_log(context, ACCOUNTING_LOG, counters) as writer, relaying(context, counters):
        radius_listener.run(
            context.settings.collectors.radius,
            writer,
            now_ms=context.clock.now_ms,
            stop=context.stop,
            counters=counters,
        )


if __name__ == "__main__":
    run_process("radius", main)
