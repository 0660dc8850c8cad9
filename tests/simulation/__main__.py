"""`python -m tests.simulation --seeds N [--first S]`: N simulated networks against the auditor.

Each failing seed is printed with the command that replays it; the last line is
``N passed, N failed``, and the exit status is 1 where any failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.simulation.simulation import run_seed

MEMORY_DISK = Path("/dev/shm")
DIFFERENCES_SHOWN_MAX = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="how many (20)")
    parser.add_argument("--first", type=int, default=1, metavar="S", help="the first seed (1)")
    options = parser.parse_args(arguments)
    failed = 0
    for seed in range(options.first, options.first + options.seeds):
        failed += not _passes(seed)
    print(f"{options.seeds - failed} passed, {failed} failed")
    return 1 if failed else 0


def _passes(seed: int) -> bool:
    """Run one seed and say what came of it."""
    started = time.perf_counter()
    place = MEMORY_DISK if MEMORY_DISK.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="flowrate-simulation-", dir=place) as directory:
        try:
            outcome = run_seed(Path(directory), seed)
            found, deaths = outcome.differences, outcome.deaths
        except Exception:
            found, deaths = traceback.format_exc().splitlines()[-DIFFERENCES_SHOWN_MAX:], 0
    seconds = time.perf_counter() - started
    if not found:
        print(
            f"seed {seed}: equal to the octet and the cent ({deaths} deaths, {seconds:.1f} s)",
            flush=True,
        )
        return True
    print(f"seed {seed}: {len(found)} differences")
    for line in found[:DIFFERENCES_SHOWN_MAX]:
        print(f"  {line}")
    print(f"  replay: python -m tests.simulation --first {seed} --seeds 1", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
