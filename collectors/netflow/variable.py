"""Records of variable length, brought to one length so that they are read like all others.

A record's fixed stretches are put one after another. A variable integer that a column needs follows
as 8 octets, a variable text as where it begins in the payload and how long it is. The sets are
walked side by side: round k reads the k-th record of each; where few are left, one by one.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from collectors.netflow.layouts import INTEGER_OCTETS, FieldKind, Layout, Stretch

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
Octets = NDArray[np.uint8]

SIDE_BY_SIDE_MIN = 8
"""Below so many sets a round in numpy costs more than reading their records one by one."""

_Place = tuple[int, int]
"""Where a stretch of a record begins in the payload, and its octets."""


@dataclasses.dataclass(frozen=True, slots=True)
class Normalised:
    """The records of some sets as octets of the layout's dtype, in order.

    counts: records of each set, int64 [m]; is_cut: sets that end amid a record, bool [m].
    """

    octets: bytes
    counts: Int64s
    is_cut: Bools


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """Records in the order of walking: their set [n]; begin and octets of kept stretches [n]."""

    of_set: Int64s
    begin: list[Int64s]
    length: list[Int64s]


def normalise(
    layout: Layout, payload: Octets, bounds: tuple[Int64s, Int64s], side_by_side_min: int = 0
) -> Normalised:
    """Return the records of the sets whose bodies lie in [start, end) of the payload.

    bounds are the starts and ends of the bodies. Octets after the last whole record, fewer than the
    shortest record, are padding (RFC 7011 §3.3.1). side_by_side_min 0: SIDE_BY_SIDE_MIN.
    """
    starts, ends = bounds
    is_cut = np.zeros(len(starts), np.bool_)
    kept = [index for index, stretch in enumerate(layout.stretches) if stretch.at >= 0]
    rounds: list[_Found] = []
    live, at = np.arange(len(starts)), starts
    while len(live) >= (side_by_side_min or SIDE_BY_SIDE_MIN):
        going = at + layout.record_octets <= ends[live]
        live, at = live[going], at[going]
        if not len(live):
            break
        found, at, sound = _round(layout, payload, at, ends[live])
        is_cut[live[~sound]] = True
        live, at = live[sound], at[sound]
        begin, length = ([column[index][sound] for index in kept] for column in found)
        rounds.append(_Found(live, begin, length))
    for number, start in zip(live.tolist(), at.tolist(), strict=True):
        one, is_cut[number] = _one_by_one(layout, payload, (number, start, int(ends[number])), kept)
        rounds.append(one)
    records = _in_order(rounds, len(kept))
    counts = np.bincount(records.of_set, minlength=len(starts)).astype(np.int64)
    stretches = [layout.stretches[index] for index in kept]
    return Normalised(_assembled(layout, payload, records, stretches), counts, is_cut)


def _round(
    layout: Layout, payload: Octets, at: Int64s, end: Int64s
) -> tuple[tuple[list[Int64s], list[Int64s]], Int64s, Bools]:
    """Return begin and octets of every stretch of a record each, where it ends, and if it does."""
    beyond = len(payload) - 1
    begins: list[Int64s] = []
    lengths: list[Int64s] = []
    sound = np.ones(len(at), np.bool_)
    for stretch in layout.stretches:
        if stretch.is_variable:
            # RFC 7011 §7: one octet of length, or 255 and two.
            length = payload[np.minimum(at, beyond)].astype(np.int64)
            is_long = length == 255
            sound &= at + np.where(is_long, 3, 1) <= end
            if is_long.any():
                high = payload[np.minimum(at + 1, beyond)].astype(np.int64)
                length = np.where(is_long, high << 8 | payload[np.minimum(at + 2, beyond)], length)
            at = at + np.where(is_long, 3, 1)
        else:
            length = np.full(len(at), stretch.octets, np.int64)
        begins.append(at)
        lengths.append(length)
        at = at + length
        sound &= at <= end
    return (begins, lengths), at, sound


def _one_by_one(
    layout: Layout, payload: Octets, where: tuple[int, int, int], kept: list[int]
) -> tuple[_Found, bool]:
    """Return the records of one set (number, start, end), and whether the last was cut."""
    number, at, end = where
    body = payload[at:end].tobytes()
    offset, at, end = at, 0, end - at
    rows: list[list[_Place]] = []
    is_cut = False
    while at + layout.record_octets <= end and not is_cut:
        row: list[_Place] = []
        for stretch in layout.stretches:
            begin, octets = at, stretch.octets
            if stretch.is_variable:
                begin, octets = _variable_field(body, at)
            at = begin + octets
            if at > end:
                is_cut = True
                break
            row.append((offset + begin, octets))
        else:
            rows.append([row[index] for index in kept])
    table = np.array(rows, np.int64).reshape(len(rows), len(kept), 2)
    of_set = np.full(len(rows), number, np.int64)
    columns = range(len(kept))
    return _Found(
        of_set, [table[:, k, 0] for k in columns], [table[:, k, 1] for k in columns]
    ), is_cut


def _variable_field(body: bytes, at: int) -> _Place:
    """Return where a field's value begins and its octets (RFC 7011 §7); beyond the body: cut."""
    if at >= len(body):
        return at, 1
    octets = body[at]
    if octets < 255:
        return at + 1, octets
    if at + 3 > len(body):
        return at, len(body)
    return at + 3, int.from_bytes(body[at + 1 : at + 3], "big")


def _in_order(rounds: list[_Found], kept: int) -> _Found:
    """Return the records ordered by set, and within it as they lie there."""
    none = np.zeros(0, np.int64)
    of_set = np.concatenate([none, *(found.of_set for found in rounds)])
    order = np.argsort(of_set, kind="stable")

    def joined(columns: list[list[Int64s]]) -> list[Int64s]:
        return [np.concatenate([none, *(c[k] for c in columns)])[order] for k in range(kept)]

    begin, length = joined([f.begin for f in rounds]), joined([f.length for f in rounds])
    return _Found(of_set[order], begin, length)


def _assembled(layout: Layout, payload: Octets, records: _Found, stretches: list[Stretch]) -> bytes:
    """Return the kept stretches of the records in their places of the layout's dtype."""
    count = len(records.of_set)
    if not count:
        return b""
    out = np.zeros((count, layout.dtype.itemsize), np.uint8)
    for stretch, begin, length in zip(stretches, records.begin, records.length, strict=True):
        if stretch.kind is FieldKind.TEXT:
            place = np.stack([begin, length], axis=1).astype(">u4")
            out[:, stretch.at : stretch.at + 8] = place.view(np.uint8).reshape(count, 8)
        elif stretch.kind is FieldKind.INTEGER:
            for nth in range(INTEGER_OCTETS):
                source = begin + length - INTEGER_OCTETS + nth
                inside = source >= begin
                out[inside, stretch.at + nth] = payload[source[inside]]
        else:
            windows = sliding_window_view(payload, stretch.octets)
            out[:, stretch.at : stretch.at + stretch.octets] = windows[begin]
    return out.tobytes()
