"""Sequence numbers: what is missing, whatever the order in which datagrams come.

NetFlow v5 counts flows, v9 counts datagrams (RFC 3954 §5.1), IPFIX counts data records (RFC 7011
§3.1), each modulo 2^32. Loss is (highest end - lowest start) - units received, so a late datagram
takes back the gap that it left. A jump beyond the limits is a restart of the exporter.
"""

from __future__ import annotations

import dataclasses

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
    base = progress.highest if progress.is_started else int(sequence[0])
    distance = (sequence - base + _HALF) % _MODULUS - _HALF
    back, ahead = config.sequence_reorder_limit, config.sequence_gap_limit
    # One that begins so far behind the end of another could be a restart, when it comes.
    steady = (units >= 0).all() and (
        int((distance + units).max()) - int(distance.min()) <= back or _is_unbroken(distance, units)
    )
    if not steady or int(distance.min()) < -back or int(distance.max()) > ahead:
        return _advance_singly(progress, sequence, units, config)
    start = int(distance.min()) + base
    end = int((distance + units).max()) + base
    return dataclasses.replace(
        progress,
        is_started=True,
        lowest=min(progress.lowest, start) if progress.is_started else start,
        highest=max(progress.highest, end) if progress.is_started else end,
        units=progress.units + int(units.sum()),
    )


def _is_unbroken(distance: Int64s, units: Int64s) -> bool:
    """Return whether each datagram begins where the one before it ends, as they do in order.

    Then none can be a restart but the first, however far they reach together: v5 and IPFIX count
    records, of which one exporter's datagrams of a block have more than the limit of reordering.
    """
    return bool((distance[1:] - distance[:-1] == units[:-1]).all())


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
