"""The role `schedule` of a cluster: closed periods become invoices, days of usage postings."""

from __future__ import annotations

from infra.process import Context, run_process
from infra.wiring.office import billing_loop
from infra.wiring.roles import run_role


def main(context: Context) -> None:
    """Work as the one that schedules, or stand by for it, until told to stop."""
    run_role(context, "schedule", lambda engine: billing_loop(context.settings, engine).run_once)


if __name__ == "__main__":
    run_process("schedule", main)
