"""Longest-prefix match of many addresses at once, IPv4 and IPv6.

An address is two uint64 columns, high and low: the 16 octets big-endian, IPv4 as ``::ffff:a.b.c.d``
(RFC 4291 §2.5.5.2). A table cuts the address space at the ends of its prefixes; an address is
looked up by binary search, and every piece knows which prefixes cover it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating.accounting import Prefix

UInt64s = NDArray[np.uint64]
Int64s = NDArray[np.int64]

_V4_FIRST = 0xFFFF_0000_0000
_V4_LENGTH = 96
_MASK64 = (1 << 64) - 1
_COMPARED_MAX = 16
"""Up to so many pieces, comparing with each start is faster than a binary search."""

_Span = tuple[int, int, int, int]
"""First and last address as numbers, prefix length, index of the prefix."""


class PrefixTable:
    """Prefixes in the order given: which of them cover an address.

    `pieces` holds, per piece of the address space, the indices of the prefixes that cover it,
    longest prefix first, among equals in the order given; piece 0 is covered by none.
    """

    def __init__(self, prefixes: Sequence[Prefix]) -> None:
        """Cut the address space; several prefixes may be equal."""
        self.pieces: list[tuple[int, ...]] = [()]
        self._index: dict[tuple[int, ...], int] = {(): 0}
        v4: list[_Span] = []
        v6: list[_Span] = []
        for number, prefix in enumerate(prefixes):
            first, last = _ends(prefix)
            if _is_v4(first, prefix.length):
                v4.append((first - _V4_FIRST, last - _V4_FIRST, prefix.length, number))
            else:
                v6.append((first, last, prefix.length, number))
        v4_starts, v4_pieces = self._cut(v4, 1 << 32)
        v6_starts, v6_pieces = self._cut(v6, 1 << 128)
        self._cuts = AddressCuts(
            np.array(v4_starts, np.uint32),
            np.array([start >> 64 for start in v6_starts], np.uint64),
            np.array([start & _MASK64 for start in v6_starts], np.uint64),
        )
        self._pieces_of = (np.array(v4_pieces, np.int64), np.array(v6_pieces, np.int64))

    def _cut(self, spans: Sequence[_Span], beyond: int) -> tuple[list[int], list[int]]:
        """Return where the pieces start, from 0 to `beyond`, and each one's index in `pieces`."""
        opens: dict[int, list[tuple[int, int]]] = {}
        closes: dict[int, list[tuple[int, int]]] = {}
        for first, last, length, number in spans:
            opens.setdefault(first, []).append((-length, number))
            closes.setdefault(last + 1, []).append((-length, number))
        covering: set[tuple[int, int]] = set()
        starts = [0]
        pieces = [0]
        for start in sorted(opens.keys() | closes.keys()):
            covering.difference_update(closes.get(start, ()))
            covering.update(opens.get(start, ()))
            if start >= beyond:
                break
            piece = tuple(number for _, number in sorted(covering))
            found = self._index.setdefault(piece, len(self.pieces))
            if found == len(self.pieces):
                self.pieces.append(piece)
            starts.append(start)
            pieces.append(found)
        return starts, pieces

    def find(self, high: UInt64s, low: UInt64s) -> Int64s:
        """Return the piece of each address, an index into `pieces`, int64 [n]."""
        found: Int64s = self._cuts.look_up(high, low, self._pieces_of)
        return found


class AddressCuts:
    """Where the pieces of both address spaces begin, and in which of them an address lies.

    v4_starts: uint32, ascending from 0. highs, lows: uint64, the two halves of the IPv6 starts,
    ascending from 0, 0. IPv4 addresses are not looked for in IPv6.
    """

    def __init__(self, v4_starts: NDArray[np.uint32], highs: UInt64s, lows: UInt64s) -> None:
        """Take over the columns."""
        self._v4_starts = v4_starts
        self._highs = highs
        self._lows = lows
        self._keys = _keys(highs, lows)
        different, counts = np.unique(highs, return_counts=True)
        self._deep = different[counts > 1]

    def look_up(
        self, high: UInt64s, low: UInt64s, values: tuple[NDArray[Any], NDArray[Any]]
    ) -> NDArray[Any]:
        """Return for each address the value of its piece; values are per IPv4 and IPv6 piece."""
        is_v4 = (high == 0) & (low >> np.uint64(32) == np.uint64(0xFFFF))
        if is_v4.all():
            return values[0][self._find_v4(low)]
        found = np.empty(len(high), values[0].dtype)
        found[is_v4] = values[0][self._find_v4(low[is_v4])]
        is_v6 = ~is_v4
        found[is_v6] = values[1][self._find_v6(high[is_v6], low[is_v6])]
        return found

    def _find_v4(self, low: UInt64s) -> Int64s:
        """Return the pieces of IPv4 addresses."""
        address = low.astype(np.uint32)
        if len(self._v4_starts) > _COMPARED_MAX:
            return np.searchsorted(self._v4_starts, address, side="right") - 1
        found = np.zeros(len(address), np.uint8)
        for start in self._v4_starts[1:]:
            found += address >= start
        return found.astype(np.int64)

    def _find_v6(self, high: UInt64s, low: UInt64s) -> Int64s:
        """Return the pieces of IPv6 addresses: by the high half, where that is enough."""
        at = np.searchsorted(self._highs, high, side="right") - 1
        # Where a cut lies inside this very /64, the low half decides.
        early = (self._highs[at] == high) & (self._lows[at] > low)
        at -= early
        if len(self._deep):
            deep = np.isin(high, self._deep)
            keys = _keys(high[deep], low[deep])
            at[deep] = np.searchsorted(self._keys, keys, side="right") - 1
        return at


def _ends(prefix: Prefix) -> tuple[int, int]:
    """Return the first and last address of a prefix as numbers."""
    free = 128 - prefix.length
    first = int.from_bytes(prefix.address, "big") >> free << free
    return first, first + (1 << free) - 1


def _is_v4(first: int, length: int) -> bool:
    """Return whether a prefix lies inside the mapped IPv4 addresses.

    A shorter one, even ``::/0``, is an IPv6 prefix and covers no IPv4 address.
    """
    return length >= _V4_LENGTH and first >> 32 == 0xFFFF


def _keys(high: UInt64s, low: UInt64s) -> NDArray[np.bytes_]:
    """Return addresses as octets that sort like numbers."""
    pairs = np.stack([high, low], axis=1).astype(">u8")
    return np.ascontiguousarray(pairs).view("S16").ravel()
