"""The role `act` of a cluster: desired service becomes commands to NASes, alerts are told."""

from __future__ import annotations

from infra.process import Context, run_process
from infra.wiring.office import acting_loop
from infra.wiring.roles import run_role


def main(context: Context) -> None:
    """Work as the one that acts, or stand by for it, until told to stop."""
    run_role(
        context,
        "act",
        lambda engine: acting_loop(context.settings, engine, context.clock.now_ms).run_once,
    )


if __name__ == "__main__":
    run_process("act", main)
