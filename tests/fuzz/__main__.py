"""Coverage-guided fuzzing of every parser: `python -m tests.fuzz`, a million inputs in all.

Each target is a process; the inputs are shared out by what one costs. A crash, an input that takes
longer than 20 s, or memory above 1 GiB ends the target, is printed with its trace, and makes the
command fail; `--keep FOLDER` leaves the input there. One input again: `--input FILE TARGET`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz.campaign import fuzz
from tests.fuzz.targets import SHARES, TARGETS

FULL_SHARE = 5


def main() -> int:
    """Return how many targets failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=1_000_000, help="over all targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for inputs that failed")
    parser.add_argument("--input", type=Path, help="one input, to the targets named")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if options.input:
        for name in names:
            TARGETS[name](options.input.read_bytes())
        return 0
    shares = {name: SHARES.get(name, FULL_SHARE) for name in names}
    executed = failed = 0
    for name in names:
        inputs = -(-options.inputs * shares[name] // sum(shares.values()))
        found = fuzz(name, inputs, options.seed, keep=options.keep)
        executed += found.executed
        print(found.line(), flush=True)
        if found.failure:
            failed += 1
            print(found.failure, file=sys.stderr)
    print(f"fuzz {'all':18} {executed:>9,} inputs, {failed} targets failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
