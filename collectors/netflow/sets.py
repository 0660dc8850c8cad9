"""The sets of many datagrams at once: where each begins, how long it is and what it is.

All datagrams are walked side by side: round k reads the k-th set header of each. A set length
below 4 (also 0) ends its datagram; a set longer than its datagram is cut to it, and its whole
records count. So every datagram ends after at most `sets_limit` rounds.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class Sets:
    """Columns, one entry per set, int64 [m], in arrival order.

    row is the datagram's index; start and length bound the body (without the 4-octet header).
    """

    row: Int64s
    set_id: Int64s
    start: Int64s
    length: Int64s
    refused: tuple[tuple[int, str], ...] = ()

    def __len__(self) -> int:
        """Return the number of sets."""
        return len(self.row)


def walk_sets(
    payload: NDArray[np.uint8], rows: Int64s, starts: Int64s, ends: Int64s, sets_limit: int
) -> Sets:
    """Return the sets between starts and ends (positions in payload) of the datagrams `rows`."""
    found: list[tuple[Int64s, Int64s, Int64s, Int64s]] = []
    refused: list[tuple[int, str]] = []
    row, at, end = rows, starts, ends
    for _ in range(sets_limit):
        left = end - at
        going = left >= 4
        if not going.all():
            row, at, end = row[going], at[going], end[going]
        if not len(row):
            break
        set_id = (payload[at].astype(np.int64) << 8) | payload[at + 1]
        length = (payload[at + 2].astype(np.int64) << 8) | payload[at + 3]
        sound = length >= 4
        if not sound.all():
            refused += [(int(r), "set_length_lt_4") for r in row[~sound]]
            row, at, end = row[sound], at[sound], end[sound]
            set_id, length = set_id[sound], length[sound]
        over = at + length > end
        if over.any():
            refused += [(int(r), "set_overruns_datagram") for r in row[over]]
            length = np.minimum(length, end - at)
        found.append((row, set_id, at + 4, length - 4))
        at = at + length
    else:
        refused += [(int(r), "sets_per_datagram_limit") for r in row[end - at >= 4]]
    return _in_order(found, tuple(refused))


def _in_order(
    found: list[tuple[Int64s, Int64s, Int64s, Int64s]], refused: tuple[tuple[int, str], ...]
) -> Sets:
    """Return the rounds' sets ordered by datagram and then by position."""
    if not found:
        none = np.zeros(0, np.int64)
        return Sets(none, none, none, none, refused)
    if len(found) == 1:
        return Sets(*found[0], refused)
    row, set_id, start, length = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(row, kind="stable")
    return Sets(row[order], set_id[order], start[order], length[order], refused)
