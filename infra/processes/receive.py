"""The flow collector: UDP in, raw blocks to `flow.datagrams` out."""

from __future__ import annotations

from collectors.adapters import flow_receiver
from collectors.metrics import METRICS, Counters
from infra.allocator import keep_freed_memory
from infra.process import Context, run_process
from infra.wiring.collection import open_log
from infra.wiring.paths import FLOW_LOG


def main(context: Context) -> None:
    """Receive until told to stop."""
    keep_freed_memory()
    counters = Counters()
    context.metrics.add_source(METRICS, counters.snapshot)
    context.metrics.add_readiness_check(
        lambda: [] if counters.get("flow_receive_buffer_octets") else ["no socket is bound yet"]
    )
    with open_log(context, FLOW_LOG, counters) as writer:
        flow_receiver.run(
            context.settings.collectors.flows,
            writer,
            now_ms=context.clock.now_ms,
            stop=context.stop,
            counters=counters,
        )


if __name__ == "__main__":
    run_process("receive", main)
