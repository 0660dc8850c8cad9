"""Flow records into minutes of own addresses: who, which class, up or down, in which minute.

Columns in, a frame of `FlowMinute` out. A flow between two own addresses gives two halves; one
between two others is transit and only counted. A flow longer than a minute is spread linearly:
its part up to an instant is floor(total * elapsed / duration), so the parts of its minutes add up
to the total exactly.

The user whom a record names is at its own end; of two own ends, at the source's, the initiator of a
biflow (docs/decisions/0130).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.flows import Flows
from collectors.netflow.sessions import Origin
from rating.address_columns import packed
from rating.addresses import format_address
from rating.classes import FarEnds, Rulebook, Rules
from rating.records import FlowMinute, empty_frame, schema_of
from streams.sums import FLOATS_EXACT, ROOM_MAX, Columns, Groups, add_up, combined

MINUTE_MS = 60_000
PIECES_PER_PASS = 2_000_000
"""Most flow minutes that are in memory at once."""

_V4_UNFILLED = np.uint64(0xFFFF_0000_0000)
"""Low half of 0.0.0.0, mapped: an element that the exporter left at zero."""

WHOLE_ADDRESS = 0
"""port_block of a flow that belongs to all ports of its address."""

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

_VALUES = ("octets_up", "octets_down", "packets_up", "packets_down", "octets_exported")
_CELL = "cell"
"""A further key of rows of cells of ports."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Pieces:
    """Flow minutes, those of a flow one after another: the flow's index and the minute.

    further are the pieces that are not their flow's first; elapsed is how long it had lasted, and
    length how long it lasts in all, ms.
    """

    flow: Int64s
    minute: Int64s
    further: Int64s
    elapsed: Int64s
    length: Int64s


@dataclasses.dataclass(frozen=True, slots=True)
class _Sides:
    """Ownership and class of flows: the own address of each end, and the class seen from it.

    cell is the cell of ports of an outside address (0: not of a NAT's events); None: all are 0.
    """

    is_own: Bools
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    cell: Int64s | None
    traffic_class: Int64s


@dataclasses.dataclass(frozen=True, slots=True)
class _OwnEnds:
    """One own end of the flows that have one: where it is, and what it gives their rows.

    mine: which flows are meant. is_source: at which of them that end is the source. keys: columns
    of all flows, which rows are told apart by.
    """

    mine: Bools
    is_source: Bools
    keys: Columns


class Minutes(NamedTuple):
    """Rows of FlowMinute: of own addresses, and of cells of outside addresses of a NAT."""

    inside: pl.DataFrame
    outside: pl.DataFrame


def flow_minutes(
    flows: Flows, origins: Sequence[Origin], rules: Rules, config: FlowDecodeConfig
) -> tuple[Minutes, Counter[str]]:
    """Return the flows as rows of FlowMinute, aggregated, and what was counted on the way.

    Rows above `octets_per_minute_limit` cannot be true, and their sum might not fit an int64: the
    pieces of such a row are refused.

    A row's received_at is the last millisecond of the second in which its causes were received: so
    rows of one second meet, and none becomes late that was not (lateness bounds are whole seconds).
    """
    counters: Counter[str] = Counter()
    if not len(flows):
        return Minutes(empty_frame(FlowMinute), empty_frame(FlowMinute)), counters
    start, end = _placed(flows, config, counters)
    end = np.maximum(end, start + 1)  # a flow of one packet lasts a millisecond
    names = _Names()
    exporters = sorted({origin.address for origin in origins})
    exporter_of = np.array([exporters.index(origin.address) for origin in origins], np.int64)
    limit = config.octets_per_minute_limit
    parts: tuple[list[Columns], list[Columns]] = ([], [])
    for first, last in _passes(start, end):
        chosen = slice(first, last)
        taken = _Pass(flows, chosen, exporter_of, limit, counters)
        for rows in taken.rows(start[chosen], end[chosen], rules, names):
            parts[_CELL in rows].append(rows)
    texts = [format_address(address) for address in exporters]
    made = (
        _as_records(
            part if len(part) < 2 else _added(part, limit, counters),
            names.known,
            texts,
            flows.user_names,
        )
        for part in parts
    )
    return Minutes(*made), counters


def _added(parts: list[Columns], limit: int, counters: Counter[str]) -> list[Columns]:
    """Return the parts, at least one, as one with equal keys added up; none without rows."""
    names = list(parts[0])
    joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
    keys = {name: column for name, column in joined.items() if name not in _VALUES}
    rows, refused = add_up(keys, {name: joined[name] for name in _VALUES}, limit)
    counters["decode_minutes_implausible"] += refused
    return [rows] if len(rows[_VALUES[0]]) else []


class _Names:
    """Traffic classes by number over all rulebooks of a batch."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self._index: dict[str, int] = {}

    def numbers(self, book: Rulebook) -> Int64s:
        """Return the number of each class of a rulebook."""
        for name in book.names:
            if name not in self._index:
                self._index[name] = len(self.known)
                self.known.append(name)
        return np.array([self._index[name] for name in book.names], np.int64)


def _placed(
    flows: Flows, config: FlowDecodeConfig, counters: Counter[str]
) -> tuple[Int64s, Int64s]:
    """Return start and end of the flows inside the window around their receipt, ms.

    The exporter's clock is corrected already. Where the times are still impossible, only the flow's
    length is believed, and it is laid to end at the receipt.
    """
    received_at = flows.received_at
    begun, ended = flows.times()
    window = config.event_time_window_seconds * 1000
    wrong = (ended > received_at + config.event_time_ahead_seconds * 1000) | (
        ended < received_at - window
    )
    early = begun < received_at - window
    moved = int((wrong | early).sum())
    if not moved:
        return begun, ended
    counters["decode_flows_retimed"] += moved
    length = np.minimum(ended - begun, window)
    end = np.where(wrong, received_at, ended)
    start = np.where(wrong, received_at - length, np.maximum(begun, received_at - window))
    return start, end


def _passes(start: Int64s, end: Int64s) -> Iterator[tuple[int, int]]:
    """Yield ranges of flows whose minutes fit into memory together."""
    pieces = np.cumsum((end - start) // MINUTE_MS + 2)
    first = 0
    while first < len(start):
        taken = int(pieces[first - 1]) if first else 0
        last = int(np.searchsorted(pieces, taken + PIECES_PER_PASS, side="right"))
        last = max(last, first + 1)
        yield first, last
        first = last


def _cut(start: Int64s, end: Int64s) -> _Pieces:
    """Return the minutes of each flow; a flow that ends on a minute does not touch the next."""
    first = start // MINUTE_MS
    last = np.maximum(first, (end - 1) // MINUTE_MS)
    count = last - first + 1
    if int(count.max(initial=1)) == 1:
        none = np.zeros(0, np.int64)
        return _Pieces(np.arange(len(start)), first, none, none, none)
    flow = np.repeat(np.arange(len(start)), count)
    begins = np.cumsum(count) - count
    is_further = np.ones(len(flow), np.bool_)
    is_further[begins] = False
    further = np.flatnonzero(is_further)
    cut = flow[further]
    minute = first[flow]
    minute[further] += further - begins[cut]
    elapsed = minute[further] * MINUTE_MS - start[cut]
    return _Pieces(flow, minute, further, elapsed, (end - start)[cut])


def _share(total: Int64s, pieces: _Pieces) -> Int64s:
    """Return each piece's part of its flow's total, whole numbers that add up to it."""
    if not total.any():
        return np.zeros(len(pieces.flow), np.int64)
    share = total[pieces.flow]
    further, elapsed, length = pieces.further, pieces.elapsed, pieces.length
    if not len(further):
        return share
    value = share[further]
    # floor(value * elapsed / length)
    if float(value.max()) * float(elapsed.max()) < FLOATS_EXACT:
        # The quotient of such numbers is a float below the next whole number, if it is below it.
        before = (value * elapsed / length).astype(np.int64)
    else:
        # Without leaving 64 bits: value = quotient * length + rest.
        quotient, rest = np.divmod(value, length)
        before = quotient * elapsed + rest * elapsed // length
    # A piece has what lies before its end less what lies before its beginning.
    share[further - 1] = 0
    share[further - 1] += before
    share[further] -= before
    return share


class _Pass:
    """A range of the flows, on its way to rows of own addresses."""

    def __init__(
        self,
        flows: Flows,
        chosen: slice,
        exporter_of: Int64s,
        limit: int,
        counters: Counter[str],
    ) -> None:
        self._flows = flows
        self._chosen = chosen
        self._limit = limit
        self._counters = counters
        row, datagrams = flows.row[chosen], flows.rows
        self._keys: Columns = {
            "rate_known": flows.rate_known[chosen].view(np.uint8),
            "second": (datagrams.received_at // 1000)[row],
            "exporter": exporter_of[datagrams.origin][row],
        }
        self._user = flows.user_name[chosen] if flows.user_name.any() else None

    def rows(self, start: Int64s, end: Int64s, rules: Rules, names: _Names) -> Iterator[Columns]:
        """Yield rows, added up by their keys, of each epoch of the rules and each kind of end.

        Rows of cells of ports have a further key.
        """
        pieces = _cut(start, end)
        values = self._values(pieces)
        ends_at = np.array([pieces.minute.min(), pieces.minute.max()]) * MINUTE_MS
        first, last = rules.epochs(ends_at).tolist()
        if first == last:
            yield from self._rows(rules.book(first), names, pieces, values)
            return
        epochs = rules.epochs(pieces.minute * MINUTE_MS)
        for epoch in np.unique(epochs).tolist():
            mine = np.flatnonzero(epochs == epoch)
            none = np.zeros(0, np.int64)
            held = _Pieces(pieces.flow[mine], pieces.minute[mine], none, none, none)
            their = {name: column[mine] for name, column in values.items()}
            yield from self._rows(rules.book(epoch), names, held, their)

    def _rows(
        self, book: Rulebook, names: _Names, pieces: _Pieces, values: Columns
    ) -> Iterator[Columns]:
        source, destination = self._sides(book, self._counters)
        transit = ~(source.is_own | destination.is_own)
        if transit.any():
            passed = transit[pieces.flow]
            for name in ("octets", "reverse"):
                self._counters["decode_octets_transit"] += _total(values[name][passed])
        numbers = names.numbers(book)
        for ends in self._own_ends(source, destination):
            for some in _by_cell(ends):
                rows = self._added_up(some, pieces, values)
                if len(rows["minute"]):
                    yield {**rows, "traffic_class": numbers[rows["traffic_class"]]}

    def _values(self, pieces: _Pieces) -> dict[str, Int64s]:
        """Return octets and packets of the pieces in both directions, scaled, and unscaled."""
        flows, chosen = self._flows, self._chosen
        scaled = {
            "octets": flows.scaled(flows.octets)[chosen],
            "reverse": flows.scaled(flows.octets_reverse)[chosen],
            "packets": flows.scaled(flows.packets)[chosen],
            "packets_reverse": flows.scaled(flows.packets_reverse)[chosen],
        }
        exported = (flows.octets + flows.octets_reverse)[chosen]
        self._counters["decode_octets"] += _total(scaled["octets"]) + _total(scaled["reverse"])
        self._counters["decode_flows_rate_unknown"] += int((self._keys["rate_known"] == 0).sum())
        shares = {name: _share(total, pieces) for name, total in scaled.items()}
        is_same = np.array_equal(exported, scaled["octets"])
        shares["exported"] = shares["octets"] if is_same else _share(exported, pieces)
        return shares

    def _own_ends(self, source: _Sides, destination: _Sides) -> Iterator[_OwnEnds]:
        """Yield the own ends of the flows: all at once, or where some have two, each end."""
        is_source, user = source.is_own, self._user
        if not (is_source & destination.is_own).any():
            yield self._ends(_either(source, destination), is_source, user)
            return
        yield self._ends(source, np.full(len(is_source), True), user)
        if user is not None:
            user = np.where(is_source, 0, user)
        yield self._ends(destination, np.full(len(is_source), False), user)

    def _ends(self, side: _Sides, is_source: Bools, user: NDArray[np.uint32] | None) -> _OwnEnds:
        keys: Columns = {name: getattr(side, name) for name in ("low", "high", "traffic_class")}
        keys |= {
            name: column
            for name, column in ((_CELL, side.cell), ("user", user))
            if column is not None
        }
        return _OwnEnds(side.is_own, is_source, {**self._keys, **keys})

    def _added_up(self, ends: _OwnEnds, pieces: _Pieces, values: Columns) -> Columns:
        """Return the pieces of one end, added up by its keys and the minute."""
        mine, keys = ends.mine, ends.keys
        flow, minute = pieces.flow, pieces.minute
        if mine.all():
            line_of, lines = combined(keys.values())
        else:
            at = np.flatnonzero(mine[flow])
            if not len(at):
                return {name: column[:0] for name, column in (("minute", minute), *keys.items())}
            flow, minute = flow[at], minute[at]
            values = {name: column[at] for name, column in values.items()}
            line_of = np.zeros(len(mine), np.int64)
            line_of[mine], lines = combined(column[mine] for column in keys.values())
        first = int(minute.min())
        span = int(minute.max()) - first + 1
        if lines * span > ROOM_MAX:
            whole = Groups.of_numbers(line_of, lines)
            line_of, lines = whole.number, whole.count
        groups = Groups.of_numbers((line_of * span - first)[flow] + minute, lines * span)
        sums, rough = _summed(groups.parted(ends.is_source[flow]), values)
        self._counters["decode_minutes_implausible"] += groups.rows_in(rough > self._limit)
        kept = np.flatnonzero((rough > 0) & (rough <= self._limit))
        row = groups.some_row()[kept]
        told = {name: column[flow[row]] for name, column in keys.items()}
        return {**told, "minute": minute[row], **{n: column[kept] for n, column in sums.items()}}

    def _sides(self, book: Rulebook, counters: Counter[str]) -> tuple[_Sides, _Sides]:
        """Return what the rulebook says of the flows, from the source's and the destination's end.

        Of a source the address before translation is asked first, of a destination the one after
        it: that is the side on which subscribers have their own addresses (elements 225, 226).
        """
        flows, chosen = self._flows, self._chosen
        ends = {}
        for end in ("source", "destination", "nat_source", "nat_destination"):
            ends[end] = (
                getattr(flows, f"{end}_high")[chosen],
                getattr(flows, f"{end}_low")[chosen],
            )
        source = _own_address(book, ends["source"], ends["nat_source"])
        destination = _own_address(book, ends["nat_destination"], ends["destination"])
        if book.pools:
            protocol = flows.protocol[chosen]
            ports = {end: getattr(flows, f"{end}_port")[chosen] for end in ends}
            port = np.where(source.is_first, ports["source"], ports["nat_source"])
            source = _behind_nat(book, source, port, protocol, counters)
            port = np.where(destination.is_first, ports["nat_destination"], ports["destination"])
            destination = _behind_nat(book, destination, port, protocol, counters)
        classes = []
        for owned, far in ((source, "destination"), (destination, "source")):
            at = np.flatnonzero(owned.is_own)
            traffic_class = np.zeros(len(owned.is_own), np.int64)
            high, low = ends[far]
            traffic_class[at] = book.classify(
                FarEnds(
                    high=high[at],
                    low=low[at],
                    asn=getattr(flows, f"{far}_as")[chosen][at],
                    port=getattr(flows, f"{far}_port")[chosen][at],
                    protocol=flows.protocol[chosen][at],
                    dscp=flows.tos[chosen][at] >> np.uint8(2),
                    application=flows.application[chosen][at],
                    applications=flows.applications,
                )
            )
            classes.append(traffic_class)
        return tuple(  # type: ignore[return-value]
            _Sides(owned.is_own, owned.high, owned.low, owned.cell, traffic_class)
            for owned, traffic_class in zip((source, destination), classes, strict=True)
        )


def _summed(ends: Groups, values: Columns) -> tuple[Columns, NDArray[np.float64]]:
    """Return the sums of each line and minute as seen from its own end, and the greatest as float.

    ends are the groups of lines and minutes parted: of destinations, and of sources.
    """
    sums: Columns = {}
    octets, octets_rough = _by_end(ends, values["octets"], values["reverse"])
    packets, packets_rough = _by_end(ends, values["packets"], values["packets_reverse"])
    sums["octets_down"], sums["octets_up"] = octets.T
    sums["packets_down"], sums["packets_up"] = packets.T
    exported, exported_rough = octets, octets_rough
    if values["exported"] is not values["octets"]:
        exported, exported_rough = _by_end(ends, values["exported"])
    sums["octets_exported"] = exported[:, 0] + exported[:, 1]
    greater = np.maximum(octets_rough, packets_rough)
    rough = np.maximum(
        np.maximum(greater[:, 0], greater[:, 1]), exported_rough[:, 0] + exported_rough[:, 1]
    )
    return {name: sums[name] for name in _VALUES}, rough


def _by_end(
    ends: Groups, there: Int64s, back: Int64s | None = None
) -> tuple[Int64s, NDArray[np.float64]]:
    """Return the sums of each line and minute [n, 2], at destinations and at sources, and rough.

    What goes back to a source is counted as if it came to a destination.
    """
    exact, rough = ends.sum(there)
    if back is not None and back.any():
        exact_back, rough_back = ends.sum(back)
        exact = exact + exact_back.reshape(-1, 2)[:, ::-1].ravel()
        rough = rough + rough_back.reshape(-1, 2)[:, ::-1].ravel()
    return exact.reshape(-1, 2), rough.reshape(-1, 2)


@dataclasses.dataclass(frozen=True, slots=True)
class _Owned:
    """Which flows have an own address at one end, and that address.

    is_first says whether it is the one that was looked at first; cell is as in `_Sides`.
    """

    is_own: Bools
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    is_first: Bools
    cell: Int64s | None = None


def _own_address(
    book: Rulebook,
    first: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    second: tuple[NDArray[np.uint64], NDArray[np.uint64]],
) -> _Owned:
    """Return which flows have an own address at this end, and that address: the first that is.

    An outside address of a NAT pool comes after an inside one, wherever the exporter puts it: some
    (FortiGate) tell the outside as what the destination of an answer is translated to.
    """
    own_first = _is_own(book, first)
    own_second = _is_own(book, second)
    if book.pools and own_first.any() and own_second.any():
        outside, inside = book.pool_of(*first) >= 0, book.pool_of(*second) < 0
        own_first &= ~(outside & own_second & inside)
    if not own_second.any():
        return _Owned(own_first, *first, own_first)
    if not own_first.any():
        return _Owned(own_second, *second, own_first)
    high = np.where(own_first, first[0], second[0])
    low = np.where(own_first, first[1], second[1])
    return _Owned(own_first | own_second, high, low, own_first)


def _behind_nat(
    book: Rulebook,
    owned: _Owned,
    port: NDArray[np.uint16],
    protocol: NDArray[np.uint8],
    counters: Counter[str],
) -> _Owned:
    """Return the addresses with those that a NAT's formula knows the inside of as inside ones.

    Other addresses of a pool keep their own, with the cell of the flow's port.
    """
    pool = np.where(owned.is_own, book.pool_of(owned.high, owned.low), -1)
    if not (pool >= 0).any():
        return owned
    high, low, cell = owned.high.copy(), owned.low.copy(), np.zeros(len(pool), np.int64)
    for number in np.unique(pool[pool >= 0]).tolist():
        at = np.flatnonzero(pool == number)
        compiled = book.pools[number]
        own_port, kind = port[at].astype(np.int64), protocol[at].astype(np.int64)
        known, inside_high, inside_low = compiled.inside_of(low[at], own_port, kind)
        high[at[known]], low[at[known]] = inside_high, inside_low[known]
        rest = ~known
        cell[at[rest]] = compiled.cells(own_port[rest], kind[rest])
        counters["decode_flows_by_formula"] += int(known.sum())
        counters["decode_flows_outside"] += int(rest.sum())
    return _Owned(owned.is_own, high, low, owned.is_first, cell)


def _either(source: _Sides, destination: _Sides) -> _Sides:
    """Return the own ends of flows of which none has two, as one side."""
    is_source = source.is_own
    cells = [side.cell for side in (source, destination)]
    cell = None
    if any(each is not None for each in cells):
        cell = np.where(is_source, *(0 if each is None else each for each in cells))
    high, low, traffic_class = (
        np.where(is_source, getattr(source, name), getattr(destination, name))
        for name in ("high", "low", "traffic_class")
    )
    return _Sides(is_source | destination.is_own, high, low, cell, traffic_class)


def _by_cell(ends: _OwnEnds) -> Iterator[_OwnEnds]:
    """Yield the ends of whole addresses, and those of cells of ports."""
    cell = ends.keys.get(_CELL)
    if cell is None:
        yield ends
        return
    whole = {name: column for name, column in ends.keys.items() if name != _CELL}
    in_cell = ends.mine & (cell != 0)
    yield _OwnEnds(ends.mine & ~in_cell, ends.is_source, whole)
    yield _OwnEnds(in_cell, ends.is_source, ends.keys)


def _is_own(book: Rulebook, end: tuple[NDArray[np.uint64], NDArray[np.uint64]]) -> Bools:
    """Return which addresses are own; what no template or no exporter fills never is."""
    high, low = end
    if not low.any() and not high.any():
        return np.zeros(len(low), np.bool_)
    own: Bools = book.is_own(high, low) & ((high != 0) | ((low != 0) & (low != _V4_UNFILLED)))
    return own


def _total(values: Int64s) -> int:
    """Return the sum of a column, exactly, also where it does not fit an int64."""
    if not len(values):
        return 0
    if int(values.max()) < 1 << 62 and float(values.sum(dtype=np.float64)) < 1 << 62:
        return int(values.sum())
    low = values & 0xFFFF_FFFF
    return (int((values >> 32).sum()) << 32) + int(low.sum())


def _as_records(
    parts: list[Columns], classes: list[str], exporters: list[str], users: Sequence[str]
) -> pl.DataFrame:
    """Return added up rows, at most one part, as FlowMinute records."""
    if not parts:
        return empty_frame(FlowMinute)
    [rows] = parts
    count = len(rows["minute"])
    user = pl.repeat("", count, dtype=pl.String, eager=True)
    if "user" in rows:
        user = pl.Series(users, dtype=pl.String).gather(rows["user"])
    return pl.DataFrame(
        {
            "address": packed(rows["high"], rows["low"]),
            "port_block": rows.get(_CELL, np.full(count, WHOLE_ADDRESS)),
            "minute": rows["minute"],
            "traffic_class": pl.Series(classes, dtype=pl.String).gather(rows["traffic_class"]),
            **{name: rows[name] for name in _VALUES},
            "rate_known": rows["rate_known"].view(np.bool_),
            "exporter": pl.Series(exporters, dtype=pl.String).gather(rows["exporter"]),
            "received_at": rows["second"] * 1000 + 999,
            "user_name": user,
        },
        schema=schema_of(FlowMinute),
    )
