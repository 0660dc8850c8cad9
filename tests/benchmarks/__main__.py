"""Every benchmark in turn, each in a process of its own: `make bench`."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "receive", "decode", "radius", "sessions", "translate", "attribute", "rate", "sink",
    "pipeline", "engine", "peers", "accounting",
)  # fmt: skip
"""In the order in which data flows; at last what others need for the same."""


def main() -> int:
    """Run all, or those named as arguments; return the number that failed."""
    failed = 0
    for name in sys.argv[1:] or BENCHMARKS:
        print(f"── {name}", flush=True)
        command = [sys.executable, "-m", f"tests.benchmarks.bench_{name}"]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
