"""How wrong an exporter's clock is: its export times against the times of receipt.

A datagram is received a little after it was sent, never before, so the greatest difference of a
minute is the one with the least delay in it. The median of the last minutes' differences is the
clock's error: one delayed or forged datagram does not move it (decision 0128).
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.state import Clock

MINUTES = 5
"""Minutes with datagrams that the estimate looks back on: a clock that was set is followed after
half of them."""

Int64s = NDArray[np.int64]


def goes_on(clock: Clock, offsets: tuple[int, int], minute: int, limit_ms: int) -> Clock | None:
    """Return what `measure` would where nothing is to be taken off, as most often; None elsewhere.

    offsets: the least and the greatest of the datagrams; minute: the newest one of their receipt.
    """
    least, greatest = offsets
    is_right = max(greatest, -least) <= limit_ms
    if not (is_right and clock.samples and minute <= clock.minute):
        return None
    return clock if greatest <= clock.sample else dataclasses.replace(clock, sample=greatest)


def measure(
    clock: Clock, offsets: Int64s, received_at: Int64s, limit_ms: int
) -> tuple[Clock, Int64s]:
    """Return the clock after datagrams, and what to take off the times of each, int64 ms [n].

    offsets is export time minus time of receipt, ms, of the datagrams in order of arrival. What is
    to be taken off is 0 where the clock is right to limit_ms.
    """
    if not len(offsets):
        return clock, offsets
    minute = received_at // 60_000
    if not clock.samples:
        first_seen = int(offsets[0])
        clock = Clock(int(minute[0]), first_seen, (first_seen,))
    # A minute begins where its number first exceeds every earlier one: sockets may overtake.
    reached = np.maximum.accumulate(np.concatenate([[clock.minute], minute]))
    begins = np.flatnonzero(np.diff(reached)).tolist()
    estimate = np.empty(len(offsets), np.int64)
    for first, last in itertools.pairwise(sorted({0, *begins, len(offsets)})):
        greatest = int(offsets[first:last].max())
        if first in begins:
            samples = (*clock.samples, clock.sample)[-MINUTES:]
            clock = Clock(int(minute[first]), greatest, samples)
        else:
            clock = dataclasses.replace(clock, sample=max(clock.sample, greatest))
        estimate[first:last] = clock.skew
    # Nothing comes before it was sent: a datagram further ahead than the estimate shows a clock
    # that was set forward since. One that agrees with the receipt needs no correction.
    ahead = offsets > estimate + limit_ms
    skew = np.where(ahead, offsets, estimate)
    is_right = (np.abs(offsets) <= limit_ms) | (np.abs(skew) <= limit_ms)
    return clock, np.where(is_right, 0, skew)
