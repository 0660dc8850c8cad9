"""The office: closed periods become invoices, desired service becomes commands, alerts are told."""

from __future__ import annotations

import threading
from collections import Counter

from billing.metrics import COUNTERS
from infra.process import Context, run_process
from infra.wiring.office import office_loop

TURN_SECONDS = 0.2


def main(context: Context) -> None:
    """Do what is due, a few times a second, until told to stop."""
    counts: Counter[str] = Counter()
    context.metrics.add_source(COUNTERS, lambda: dict(counts))
    has_begun = threading.Event()
    context.metrics.add_readiness_check(
        lambda: [] if has_begun.is_set() else ["no turn has been made yet"]
    )
    loop = office_loop(context.settings, context.clock.now_ms)
    while not context.stop.is_set():
        counts += loop.run_once(context.clock.now_ms())
        has_begun.set()
        context.stop.wait(TURN_SECONDS)


if __name__ == "__main__":
    run_process("office", main)
