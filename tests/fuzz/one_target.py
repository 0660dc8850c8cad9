"""One target under atheris, a process of its own: `python -m tests.fuzz.one_target NAME …`.

The options behind the name are libFuzzer's. Whatever the target raises ends the process with a
trace and leaves the input in a file `crash-…` (or `timeout-…`, `oom-…`) of the working folder.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["collectors", "rating.envelopes"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer's options say that it is enough; does not return."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
