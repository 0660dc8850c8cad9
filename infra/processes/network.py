"""The demo's simulated network: exporters and a NAS on loopback. Not part of the product."""

from __future__ import annotations

from infra.process import Context, run_process
from infra.simulation.process import SimulatedNetwork


def main(context: Context) -> None:
    """Live until told to stop."""
    SimulatedNetwork(context.settings.simulation, context.clock.now_ms).run(context.stop)


if __name__ == "__main__":
    run_process("network", main)
