"""The role `act` of a cluster: desired service becomes commands to NASes, alerts are told.

Where cable TV has a conditional-access system, this is who commands it.
"""

from __future__ import annotations

from infra.process import Context, run_process
from infra.wiring.office import acting_role
from infra.wiring.roles import run_role


def main(context: Context) -> None:
    """Work as the one that acts, or stand by for it, until told to stop."""
    run_role(
        context,
        "act",
        lambda engine: acting_role(context.settings, engine, context.clock.now_ms),
    )


if __name__ == "__main__":
    run_process("act", main)
