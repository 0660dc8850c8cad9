"""Datagrams by session and hour of receipt: columns over all sessions at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

HOUR_MS = 3_600_000

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Runs:
    """Runs of datagrams of one session that came in one hour, in order of session, then arrival.

    place: the datagrams, int64 [n], run after run; first: where each run begins in place, int64
    [runs], ascending; session and hour (since 1970) of each run.
    """

    place: Int64s
    first: Int64s
    session: list[int]
    hour: list[int]

    @classmethod
    def of(cls, session: Int64s, received_at: Int64s, chosen: Bools) -> Runs:
        """Return the runs of the chosen datagrams, which stand in order of arrival."""
        place = np.flatnonzero(chosen)
        place = place[np.argsort(session[place], kind="stable")]
        theirs, hours = session[place], received_at[place] // HOUR_MS
        is_first = np.ones(len(place), np.bool_)
        is_first[1:] = (np.diff(theirs) != 0) | (np.diff(hours) != 0)
        first = np.flatnonzero(is_first)
        return cls(place, first, theirs[first].tolist(), hours[first].tolist())

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.first)

    def datagrams(self, run: int) -> Int64s:
        """Return the datagrams of one run."""
        last = self.first[run + 1] if run + 1 < len(self.first) else len(self.place)
        return self.place[self.first[run] : last]

    def reduce(self, operation: np.ufunc, column: NDArray[Any]) -> list[int]:
        """Return an operation over a column of each run; the column stands in order of place."""
        return operation.reduceat(column, self.first).tolist() if len(self.first) else []

    def waves(self) -> Iterator[Runs]:
        """Yield runs of different sessions, the earlier ones of a session before its later ones."""
        theirs = np.array(self.session, np.int64)
        if not (theirs[1:] == theirs[:-1]).any():
            yield self
            return
        begins = np.flatnonzero(np.diff(theirs, prepend=-1))
        nth = np.arange(len(theirs)) - np.repeat(begins, np.diff(begins, append=len(theirs)))
        for number in range(int(nth.max()) + 1):
            yield self._some(np.flatnonzero(nth == number))

    def _some(self, runs: Int64s) -> Runs:
        places = [self.datagrams(run) for run in runs.tolist()]
        lengths = np.array([len(each) for each in places])
        return Runs(
            np.concatenate(places),
            np.cumsum(lengths) - lengths,
            [self.session[run] for run in runs.tolist()],
            [self.hour[run] for run in runs.tolist()],
        )
