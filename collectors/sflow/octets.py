"""Reading many places of one buffer at once, and the lists of XDR items that sFlow is made of.

An item is a data format (u32: enterprise in the upper 20 bits, format in the lower 12), a length
(u32) and a body filled up to whole words (sFlow v5 §5, RFC 4506 §4.10). Samples in a datagram and
records in a sample are such lists, so one walk reads both.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
Structs = NDArray[np.void]

READ_AHEAD_OCTETS = 64
"""Octets that may be read behind the end; no structure that is read at once is longer."""

_ITEM = np.dtype([("kind", ">u4"), ("octets", ">u4")])


class Octets:
    """A payload that can be read at many positions at once, also a little behind its end.

    What lies behind the end of an item is of the next one, or zero: who reads compares positions
    with the item's end, before or after.
    """

    def __init__(self, payload: NDArray[np.uint8]) -> None:
        """Copy the payload once, with zeros behind it."""
        self._buffer = np.concatenate([payload, np.zeros(READ_AHEAD_OCTETS, np.uint8)])
        self._end = len(payload)

    def read(self, at: Int64s, dtype: np.dtype[np.void]) -> Structs:
        """Return the structures at these positions, [n]; positions behind the end read zeros."""
        return self._pieces(at, dtype.itemsize).view(dtype)

    def octet(self, at: Int64s) -> Int64s:
        """Return the octet at each position."""
        return self._pieces(at, 1).view(np.uint8).astype(np.int64)

    def half(self, at: Int64s) -> Int64s:
        """Return the two octets at each position as a number."""
        return self._pieces(at, 2).view(">u2").astype(np.int64)

    def word(self, at: Int64s) -> Int64s:
        """Return the four octets at each position as a number."""
        return self._pieces(at, 4).view(">u4").astype(np.int64)

    def _pieces(self, at: Int64s, octets: int) -> Structs:
        """Return so many octets from each position on, void [n]."""
        count = len(self._buffer) - octets + 1
        # A view of one piece at every octet: picking from it copies each at once.
        every: Structs = np.ndarray((count,), f"V{octets}", self._buffer, 0, (1,))
        return every[np.minimum(at, self._end)]


@dataclasses.dataclass(frozen=True, slots=True)
class Items:
    """Columns [m], one entry per item, in order of owner and then of position.

    owner is the index of the list that an item is of; kind its data format; start and end bound
    its body. cut are owners with an item longer than they are (it ends with them), short those that
    end before as many items as they count, beyond those that hold more than the limit.
    """

    owner: Int64s
    kind: Int64s
    start: Int64s
    end: Int64s
    cut: Int64s
    short: Int64s
    beyond: Int64s

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.owner)

    def first(self, kind: int, owners: int) -> Int64s:
        """Return for each of the owners the index of its first item of a kind, -1: none."""
        found = np.full(owners, -1, np.int64)
        mine = np.flatnonzero(self.kind == kind)[::-1]
        found[self.owner[mine]] = mine
        return found


def walk_items(octets: Octets, start: Int64s, end: Int64s, count: Int64s, limit: int) -> Items:
    """Return the items of many lists, which lie between start and end and count so many.

    All lists are walked side by side: round k reads the k-th item of each. The count is not
    believed beyond the list's end, and no list is read beyond `limit` items.
    """
    beyond = np.flatnonzero(count > limit)
    owner = np.flatnonzero(count > 0)
    at, stop, left = start[owner], end[owner], np.minimum(count[owner], limit)
    rounds: list[tuple[Int64s, Int64s, Int64s, Int64s]] = []
    cut: list[Int64s] = []
    short: list[Int64s] = []
    while len(owner):
        whole = at + _ITEM.itemsize <= stop
        if not whole.all():
            short.append(owner[~whole])
            owner, at, stop, left = owner[whole], at[whole], stop[whole], left[whole]
        head = octets.read(at, _ITEM)
        begins = at + _ITEM.itemsize
        length = head["octets"].astype(np.int64)
        ends = begins + length
        over = ends > stop
        if over.any():
            cut.append(owner[over])
            ends = np.minimum(ends, stop)
        rounds.append((owner, head["kind"].astype(np.int64), begins, ends))
        at = begins + ((length + 3) & ~3)
        left = left - 1
        going = left > 0
        if not going.all():
            owner, at, stop, left = owner[going], at[going], stop[going], left[going]
    owners, kinds, starts, ends = (_joined([one[i] for one in rounds]) for i in range(4))
    order = np.argsort(owners, kind="stable") if len(rounds) > 1 else slice(None)
    return Items(
        owner=owners[order],
        kind=kinds[order],
        start=starts[order],
        end=ends[order],
        cut=_joined(cut),
        short=_joined(short),
        beyond=beyond,
    )


def _joined(parts: list[Int64s]) -> Int64s:
    """Return the parts as one column, empty where there are none."""
    return np.concatenate([np.zeros(0, np.int64), *parts])
