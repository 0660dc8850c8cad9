"""Every benchmark in turn, each in a process of its own: `make bench`.

`python -m tests.benchmarks --brief` runs those that compare with other collectors and servers, each
in less than a minute, to be read beside the run before: nothing is held against a limit.
"""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "receive", "decode", "radius", "sessions", "translate", "attribute", "rate", "sink",
    "pipeline", "engine", "billing_run", "peers", "accounting",
)  # fmt: skip
"""In the order in which data flows; at last what others need for the same."""
BRIEF = {
    "receive": ("--datagrams", "200000", "--seconds", "5"),
    "decode": ("--flows", "240000", "--seconds", "1"),
    "engine": ("--minutes", "1", "--flows-per-minute", "480000", "--seconds", "1"),
    "peers": (
        *("--protocols", "v9", "--seconds", "1", "--steps", "0"),
        *("--only", "receive", "whole", "nfcapd", "nfacctd"),
    ),
    "accounting": ("--rates", "5000", "20000", "30000", "--seconds", "2", "--sessions", "10000"),
}
"""Those of a brief run, with their arguments."""


def main(arguments: list[str]) -> int:
    """Run all, or those named, or the brief ones; return the number that failed."""
    is_brief = arguments[:1] == ["--brief"]
    names = arguments[is_brief:] or list(BRIEF if is_brief else BENCHMARKS)
    failed = 0
    for name in names:
        print(f"── {name}", flush=True)
        command = [sys.executable, "-m", f"tests.benchmarks.bench_{name}"]
        command += BRIEF.get(name, ()) if is_brief else ()
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
