"""A fuzzer's run of one target, and what libFuzzer said about it."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.seeds import seeds

ROOT = Path(__file__).parents[2]
INPUT_OCTETS_MAX = 4_096
HANG_SECONDS = 20
RESIDENT_MEBIBYTES_MAX = 1_024
"""What a target may take at most, everything imported and instrumented; above it, it grows."""
_COVERED = re.compile(r"\bcov: (\d+)")
_STATISTIC = re.compile(r"^stat::(\w+): +(\d+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """How a run ended: inputs executed, branches covered, memory at most, and the trace if any."""

    target: str
    executed: int
    covered: int
    resident_mebibytes: int
    failure: str
    input: bytes

    def line(self) -> str:
        """Return the numbers as text."""
        return (
            f"fuzz {self.target:18} {self.executed:>9,} inputs  {self.covered:>6,} branches covered"
            f"  {self.resident_mebibytes:>5,} MiB at most  {(self.failure and 'FAILED') or 'sound'}"
        )


def fuzz(
    target: str,
    inputs: int,
    seed: int,
    *,
    keep: Path | None = None,
    module: str = "tests.fuzz.one_target",
) -> Finding:
    """Give a target so many inputs from a seed; keep is where a failing input is left.

    module is the program that runs it: another one in a test of the fuzzer itself.
    """
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "inputs"
        corpus.mkdir()
        for number, octets in enumerate(seeds(target)):
            (corpus / f"seed-{number:04d}").write_bytes(octets[:INPUT_OCTETS_MAX])
        program = [sys.executable, "-m", module, target, *_options(inputs, seed, folder)]
        done = subprocess.run(
            [*_SMALL_PARENT, *program, str(corpus)],
            cwd=ROOT,
            capture_output=True,
            check=False,
            env=os.environ | {"POLARS_MAX_THREADS": "1"},
        )
        said = (done.stdout + done.stderr).decode(errors="replace")
        found = next((p for p in Path(folder).glob("found-*")), None)
        octets = found.read_bytes() if found else b""
    if keep is not None and octets:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{target}.input").write_bytes(octets)
    numbers = dict(_STATISTIC.findall(said))
    covered = [int(number) for number in _COVERED.findall(said)]
    return Finding(
        target,
        int(numbers.get("number_of_executed_units", 0)),
        max(covered, default=0),
        int(numbers.get("peak_rss_mb", 0)),
        said[-4_000:] if done.returncode else "",
        octets,
    )


_SMALL_PARENT = ("/bin/sh", "-c", '"$@"; exit $?', "sh")
"""A process starts with the peak of whoever forked it as its own (getrusage(2)), which is what the
limit on memory looks at: a gigabyte, behind a test run's. A shell in between is small."""


def _options(inputs: int, seed: int, folder: str) -> Sequence[str]:
    return (
        f"-runs={inputs}",
        f"-seed={seed}",
        f"-max_len={INPUT_OCTETS_MAX}",
        f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={RESIDENT_MEBIBYTES_MAX}",
        f"-artifact_prefix={folder}/found-",
        "-print_final_stats=1",
        "-len_control=0",
    )
