"""Sequence numbers: what is missing, whatever the order in which datagrams come.

NetFlow v5 counts flows, v9 counts datagrams (RFC 3954 §5.1), IPFIX counts data records (RFC 7011
§3.1), each modulo 2^32. Loss is (highest end - lowest start) - units received, so a late datagram
takes back the gap that it left. A jump beyond the limits is a restart of the exporter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.state import Progress

_MODULUS = 1 << 32
_HALF = 1 << 31

Int64s = NDArray[np.int64]


def advance(
    progress: Progress, sequence: Int64s, units: Int64s, config: FlowDecodeConfig
) -> Progress:
    """Return the progress after datagrams with these sequence numbers, in arrival order.

    units is what each datagram adds to the sequence; -1 where that is not known (its template is
    missing): such a datagram only moves the range, so that its own records are not called lost.
    """
    return advance_all([progress], sequence, units, np.zeros(1, np.int64), config)[0]


def advance_all(
    before: Sequence[Progress],
    sequence: Int64s,
    units: Int64s,
    first: Int64s,
    config: FlowDecodeConfig,
) -> list[Progress]:
    """Do the same for several sessions: before[k] has the datagrams from first[k] to the next."""
    lengths = np.diff(first, append=len(sequence))
    started = np.array([progress.is_started for progress in before], np.bool_)
    highest = np.array([progress.highest for progress in before], np.int64)
    base = np.where(started, highest, sequence[first])
    distance = (sequence - np.repeat(base, lengths) + _HALF) % _MODULUS - _HALF
    lowest = np.minimum.reduceat(distance, first)
    end = np.maximum.reduceat(distance + units, first)
    received = np.add.reduceat(units, first).tolist()
    back, ahead = config.sequence_reorder_limit, config.sequence_gap_limit
    # One that begins so far behind the end of another could be a restart, when it comes.
    steady = (end - lowest <= back) | _are_unbroken(distance, units, first)
    steady &= np.minimum.reduceat(units, first) >= 0
    steady &= (lowest >= -back) & (np.maximum.reduceat(distance, first) <= ahead)
    starts, ends = (lowest + base).tolist(), (end + base).tolist()
    after = []
    for run, (progress, is_steady) in enumerate(zip(before, steady.tolist(), strict=True)):
        if is_steady:
            moved = _moved(progress, starts[run], ends[run], received[run])
        else:
            its = slice(int(first[run]), int(first[run] + lengths[run]))
            moved = _advance_singly(progress, sequence[its], units[its], config)
        after.append(moved)
    return after


def _moved(progress: Progress, start: int, end: int, units: int) -> Progress:
    """Return the progress after datagrams of which none is a restart."""
    return dataclasses.replace(
        progress,
        is_started=True,
        lowest=min(progress.lowest, start) if progress.is_started else start,
        highest=max(progress.highest, end) if progress.is_started else end,
        units=progress.units + units,
    )


def _are_unbroken(distance: Int64s, units: Int64s, first: Int64s) -> NDArray[np.bool_]:
    """Return of which sessions each datagram begins where the one before it ends, as in order.

    Then none can be a restart but the first, however far they reach together: v5 and IPFIX count
    records, of which one exporter's datagrams of a block have more than the limit of reordering.
    """
    goes_on = np.ones(len(distance), np.bool_)
    goes_on[1:] = distance[1:] - distance[:-1] == units[:-1]
    goes_on[first] = True
    found: NDArray[np.bool_] = np.logical_and.reduceat(goes_on, first)
    return found


def _advance_singly(
    progress: Progress, sequence: Int64s, units: Int64s, config: FlowDecodeConfig
) -> Progress:
    """Do the same datagram by datagram, restarting where a number jumps."""
    lost = progress.lost_before
    started, lowest, highest = progress.is_started, progress.lowest, progress.highest
    received = progress.units
    for number, added in zip(sequence.tolist(), units.tolist(), strict=True):
        distance = (number - highest + _HALF) % _MODULUS - _HALF
        if not started or not (
            -config.sequence_reorder_limit <= distance <= config.sequence_gap_limit
        ):
            lost += max(0, highest - lowest - received) if started else 0
            started, lowest, highest, received, distance = True, number, number, 0, 0
        start = highest + distance
        lowest = min(lowest, start)
        if added < 0:
            # How many records it held will be known with its template, if ever: begin anew.
            lost += max(0, max(highest, start) - lowest - received)
            started, received = False, 0
            continue
        highest = max(highest, start + added)
        received += added
    return dataclasses.replace(
        progress,
        is_started=started,
        lowest=lowest,
        highest=highest,
        units=received,
        lost_before=lost,
    )
