"""Histograms: every duration falls into exactly one bucket, whoever observes it."""

from __future__ import annotations

import contextlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.measures import Durations, Histogram, Measures, durations_of

DECLARED = {"round_seconds": Histogram("time of a round", ("stage",), (0.1, 1.0, 10.0))}


def test_a_duration_equal_to_a_bound_is_not_longer_than_it() -> None:
    assert durations_of([0.1, 0.1001, 10.0, 10.1], (0.1, 1.0, 10.0)).counts == (1, 1, 1, 1)


def test_a_negative_duration_counts_as_none() -> None:
    assert durations_of([-5.0], (0.1, 1.0)) == Durations((1, 0, 0), 0.0)


@given(st.lists(st.floats(-100, 1e6)), st.lists(st.floats(-100, 1e6)))
def test_no_duration_is_lost_and_batches_may_be_cut_anywhere(
    first: list[float], then: list[float]
) -> None:
    bounds = DECLARED["round_seconds"].bounds_seconds
    whole = durations_of(first + then, bounds)
    parts = durations_of(first, bounds) + durations_of(then, bounds)
    assert sum(whole.counts) == len(first) + len(then)
    assert parts.counts == whole.counts
    assert parts.total_seconds == pytest.approx(whole.total_seconds)
    for bound, counted in zip(bounds, whole.counts, strict=False):
        below = max((b for b in bounds if b < bound), default=-1.0)
        assert counted == sum(below < max(0.0, d) <= bound for d in first + then)


def test_series_are_told_apart_by_their_labels() -> None:
    measures = Measures(DECLARED, contextlib.nullcontext())
    measures.observe("round_seconds", 0.05, "decode")
    measures.observe("round_seconds", 5.0, "rate")
    measures.observe("round_seconds", 5.0, "rate")
    assert measures.snapshot() == {
        ("round_seconds", ("decode",)): Durations((1, 0, 0, 0), 0.05),
        ("round_seconds", ("rate",)): Durations((0, 0, 2, 0), 10.0),
    }


def test_what_is_not_declared_is_an_error_of_ours() -> None:
    measures = Measures(DECLARED, contextlib.nullcontext())
    with pytest.raises(KeyError):
        measures.observe("raund_seconds", 1.0, "rate")
    with pytest.raises(ValueError, match="expected the labels"):
        measures.observe("round_seconds", 1.0)
    with pytest.raises(ValueError, match="counts for its bounds"):
        measures.add("round_seconds", Durations((1,), 1.0), "rate")


def test_threads_lose_no_observation() -> None:
    measures = Measures(DECLARED, threading.Lock())

    def observe() -> None:
        for _ in range(2_000):
            measures.observe("round_seconds", 0.5, "rate")

    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (durations,) = measures.snapshot().values()
    assert durations.counts == (0, 8_000, 0, 0)
