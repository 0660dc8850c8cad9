"""Sequence numbers of many datagrams at once count as they do one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collectors.netflow import sequence
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.sequence import advance
from collectors.netflow.state import Progress

CONFIG = FlowDecodeConfig(sequence_reorder_limit=50, sequence_gap_limit=400)
MODULUS = 1 << 32


def numbers_of(first: int, units: Sequence[int], gaps: Sequence[int]) -> np.ndarray:
    """Return sequence numbers of datagrams with these units, and gaps between them."""
    steps = [units[i] + gaps[i] for i in range(len(units))]
    return (first + np.concatenate([[0], np.cumsum(steps[:-1])])).astype(np.int64) % MODULUS


def one_by_one(progress: Progress, numbers: np.ndarray, units: np.ndarray) -> Progress:
    for number, added in zip(numbers, units, strict=True):
        progress = advance(progress, np.array([number]), np.array([added]), CONFIG)
    return progress


@given(
    st.integers(0, MODULUS - 1),
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from((0, 0, 0, 0, 0, 0, 0, 24, -24, 200, -120))),
        min_size=1,
    ),
    st.integers(-80, 80),
    st.booleans(),
)
@example(first=0, datagrams=[(1, -24), (0, -24), (21, -24), (3, 0)], late=0, is_started=False)
def test_a_block_counts_as_its_datagrams(
    first: int, datagrams: list[tuple[int, int]], late: int, is_started: bool
) -> None:
    units = np.array([unit for unit, _ in datagrams], np.int64)
    numbers = numbers_of(first, units.tolist(), [gap for _, gap in datagrams])
    begun = advance(Progress(), np.array([(first + late) % MODULUS]), np.array([7]), CONFIG)
    progress = begun if is_started else Progress()
    at_once = advance(progress, numbers, units, CONFIG)
    singly = one_by_one(progress, numbers, units)
    assert at_once.lost == singly.lost
    assert at_once.units == singly.units
    assert (at_once.highest - singly.highest) % MODULUS == 0


def test_a_long_unbroken_row_of_records_is_not_walked_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def walked(*_: object) -> Progress:
        raise AssertionError("datagram by datagram")

    monkeypatch.setattr(sequence, "_advance_singly", walked)
    units = np.full(2_000, 24, np.int64)
    numbers = numbers_of(5, units.tolist(), [0] * 2_000)
    found = advance(Progress(), numbers, units, FlowDecodeConfig())
    assert (found.units, found.lost) == (48_000, 0)
    broken = numbers.copy()
    broken[1_000:] += 24
    with pytest.raises(AssertionError, match="datagram by datagram"):
        advance(Progress(), broken, units, FlowDecodeConfig())
