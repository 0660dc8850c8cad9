"""`python -m tests.cluster.chaos --seconds N --seed N`: hurts a whole cluster and audits it.

Prints what went wrong when, how fast everything came back from each kind of fault, and what holds
in the end; the last line is ``N passed, N failed``, and the exit status is 1 where any failed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.chaos.run import live


def main(arguments: Sequence[str] | None = None) -> int:
    """Live through one seed; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.chaos", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--seconds", type=float, default=600.0, metavar="N", help="(600)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(1)")
    parser.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="keep logs and data here (default: nothing)"
    )
    options = parser.parse_args(arguments)
    directory = options.keep or Path(tempfile.mkdtemp(prefix="flowrate-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        verdicts = live(directory, options.seconds, options.seed)
    finally:
        if options.keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    failed = sum(1 for verdict in verdicts if verdict.problems)
    print(f"{len(verdicts) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
