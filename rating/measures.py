"""Gauges with labels and histograms: how a package declares them, and where it observes them.

A package's `metrics.py` names them beside its counters::

    HISTOGRAMS = {"round_seconds": Histogram("time one round took", ("stage",))}

and whoever runs the package keeps one `Measures` over them, which the metrics endpoint reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0)
"""Upper bounds in seconds of what usually takes moments; the last is the lateness bound."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gauge:
    """A value that rises and falls, one per combination of labels."""

    meaning: str
    labels: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Histogram:
    """Durations counted by their length, one series per combination of labels.

    bounds_seconds ascend; what is longer than the last falls into a bucket of its own.
    """

    meaning: str
    labels: tuple[str, ...] = ()
    bounds_seconds: tuple[float, ...] = SECONDS


Labels = tuple[str, ...]
"""Label values in the order of the declaration."""


@dataclasses.dataclass(frozen=True, slots=True)
class Durations:
    """Durations by bucket: one count more than there are bounds, and their sum in seconds."""

    counts: tuple[int, ...]
    total_seconds: float

    def __add__(self, other: Durations) -> Durations:
        """Return both together; ValueError where the buckets differ."""
        counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        return Durations(tuple(counts), self.total_seconds + other.total_seconds)


def durations_of(
    seconds: NDArray[np.float64] | Sequence[float], bounds_seconds: Sequence[float]
) -> Durations:
    """Return how many of the durations are in each bucket; a negative one counts as 0.

    A duration equal to a bound is in the bucket of that bound, as Prometheus has it (``le``).
    """
    whole = np.maximum(np.asarray(seconds, np.float64), 0.0)
    bucket = np.searchsorted(np.asarray(bounds_seconds, np.float64), whole, side="left")
    counts = np.bincount(bucket, minlength=len(bounds_seconds) + 1)
    return Durations(tuple(counts.tolist()), float(whole.sum()))


class Measures:
    """What was observed of each declared histogram.

    lock is held for a few additions; where several threads observe or read, it is a
    `threading.Lock`. A name that is not declared, or labels of another number, are an error of
    ours: KeyError or ValueError.
    """

    def __init__(
        self, declared: Mapping[str, Histogram], lock: AbstractContextManager[Any]
    ) -> None:
        """Start with nothing observed."""
        self.declared = dict(declared)
        self._lock = lock
        self._observed: dict[tuple[str, Labels], Durations] = {}

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """Count one duration."""
        self.add(name, durations_of((seconds,), self.declared[name].bounds_seconds), *labels)

    def add(self, name: str, durations: Durations, *labels: str) -> None:
        """Count many durations that are already in buckets."""
        histogram = self.declared[name]
        if len(labels) != len(histogram.labels):
            raise ValueError(f"{name}: expected the labels {histogram.labels}, got {labels}")
        if len(durations.counts) != len(histogram.bounds_seconds) + 1:
            raise ValueError(f"{name}: {len(durations.counts)} counts for its bounds")
        with self._lock:
            former = self._observed.get((name, labels))
            self._observed[name, labels] = former + durations if former else durations

    def snapshot(self) -> dict[tuple[str, Labels], Durations]:
        """Return what was observed so far, by name and labels."""
        with self._lock:
            return dict(self._observed)
