"""Every parser bears a short run of the fuzzer, and the fuzzer finds a defect that is planted.

The long run is a command: `python -m tests.fuzz`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.campaign import fuzz
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

INPUTS = 400


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_no_input_of_a_short_run_is_too_much(target: str) -> None:
    found = fuzz(target, INPUTS, seed=1)
    assert not found.failure, f"{found.failure}\n{found.input.hex()}"
    assert found.executed >= INPUTS
    assert found.covered > 0, "nothing is instrumented: the fuzzer is blind"


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_target_takes_its_seeds(target: str) -> None:
    assert seeds(target)
    for octets in seeds(target):
        TARGETS[target](octets)


def test_a_planted_defect_is_found_and_its_input_kept(tmp_path: Path) -> None:
    found = fuzz(
        "datagram_block", 200_000, seed=1, keep=tmp_path, module="tests.fuzz.planted_target"
    )
    assert "RuntimeError: planted" in found.failure
    kept = (tmp_path / "datagram_block.input").read_bytes()
    assert kept == found.input
    assert kept[:8] == b"FRD1" + bytes(4)
