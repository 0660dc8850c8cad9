"""The role `schedule` of a cluster: closed periods become invoices, days of usage postings.

Beside that it gives up collectors that do not renew their lease.
"""

from __future__ import annotations

import threading

from sqlalchemy import Engine

from collectors.metrics import METRICS, Counters
from infra.process import Context, run_process
from infra.wiring.office import billing_loop
from infra.wiring.roles import RunOnce, run_role
from infra.wiring.spooling import keep_leases


def main(context: Context) -> None:
    """Work as the one that schedules, or stand by for it, until told to stop."""
    counters = Counters()
    context.metrics.add_source(METRICS, counters.snapshot)

    def begin(engine: Engine) -> RunOnce:
        threading.Thread(
            target=keep_leases,
            args=(context.settings, counters, context.clock.now_ms, context.stop),
            name="leases",
            daemon=True,
        ).start()
        return billing_loop(context.settings, engine).run_once

    run_role(context, "schedule", begin)


if __name__ == "__main__":
    run_process("schedule", main)
