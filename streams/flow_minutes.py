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
from typing import Any, NamedTuple

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
from streams.sums import Columns, add_up

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

    further are the pieces that are not their flow's first; elapsed is how long it had lasted, ms.
    """

    flow: Int64s
    minute: Int64s
    further: Int64s
    elapsed: Int64s


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
        halves = _Pass(flows, chosen, exporter_of).halves(
            start[chosen], end[chosen], rules, names, counters
        )
        for part, some in zip(parts, _parted(halves), strict=True):
            part += _added(some, limit, counters)
    texts = [format_address(address) for address in exporters]
    made = (
        _as_records(
            part if len(part) == 1 else _added(part, limit, counters),
            names.known,
            texts,
            flows.user_names,
        )
        for part in parts
    )
    return Minutes(*made), counters


def _parted(halves: Iterator[Columns]) -> tuple[list[Columns], list[Columns]]:
    """Return the rows of whole addresses, and those of cells of ports."""
    parts: tuple[list[Columns], list[Columns]] = ([], [])
    for half in halves:
        parts[_CELL in half].append(half)
    return parts


def _added(parts: list[Columns], limit: int, counters: Counter[str]) -> list[Columns]:
    """Return the parts as one with equal keys added up; none where there are no rows."""
    if not parts:
        return []
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
        return _Pieces(np.arange(len(start)), first, none, none)
    flow = np.repeat(np.arange(len(start)), count)
    nth = np.arange(len(flow)) - np.repeat(np.cumsum(count) - count, count)
    minute = first[flow] + nth
    further = np.flatnonzero(nth)
    return _Pieces(flow, minute, further, minute[further] * MINUTE_MS - start[flow[further]])


def _share(total: Int64s, pieces: _Pieces, duration: Int64s) -> Int64s:
    """Return each piece's part of its flow's total, whole numbers that add up to it."""
    share = total[pieces.flow]
    further, elapsed = pieces.further, pieces.elapsed
    if not len(further) or not total.any():
        return share
    value, length = share[further], duration[pieces.flow[further]]
    # floor(value * elapsed / length) without leaving 64 bits: value = quotient * length + rest.
    quotient, rest = np.divmod(value, length)
    before = quotient * elapsed + rest * elapsed // length
    # A piece has what lies before its end less what lies before its beginning.
    share[further - 1] = 0
    share[further - 1] += before
    share[further] -= before
    return share


class _Pass:
    """A range of the flows, on its way to rows of own addresses."""

    def __init__(self, flows: Flows, chosen: slice, exporter_of: Int64s) -> None:
        self._flows = flows
        self._chosen = chosen
        row = flows.row[chosen]
        self._exporter = exporter_of[flows.rows.origin[row]]
        self._second = flows.rows.received_at[row] // 1000
        self._known = flows.rate_known[chosen]
        self._user = flows.user_name[chosen] if flows.user_name.any() else None

    def halves(
        self,
        start: Int64s,
        end: Int64s,
        rules: Rules,
        names: _Names,
        counters: Counter[str],
    ) -> Iterator[Columns]:
        """Yield rows that are not added up, of each end of the flows and epoch of the rules."""
        pieces = _cut(start, end)
        values = self._values(pieces, end - start, counters)
        epochs = rules.epochs(pieces.minute * MINUTE_MS)
        is_one = bool((epochs == epochs[0]).all())
        for epoch in epochs[:1].tolist() if is_one else np.unique(epochs).tolist():
            book = rules.book(epoch)
            numbers = names.numbers(book)
            mine: Any = slice(None)
            if not is_one:
                mine = np.flatnonzero(epochs == epoch)
            source, destination = self._sides(book, counters)
            flow = pieces.flow[mine]
            transit = ~(source.is_own | destination.is_own)[flow]
            if transit.any():
                for name in ("octets", "reverse"):
                    counters["decode_octets_transit"] += _total(values[name][mine][transit])
            for sides, up, down in ((source, "", "reverse"), (destination, "reverse", "")):
                own = sides.is_own[flow]
                at = np.flatnonzero(own) if isinstance(mine, slice) else mine[own]
                for some in _by_cell(at, pieces, sides):
                    if not len(some):
                        continue
                    columns = _oriented(values, some, up, down)
                    if self._user is not None:
                        user = self._user[pieces.flow[some]]
                        if sides is destination:
                            user = np.where(source.is_own[pieces.flow[some]], 0, user)
                        columns["user"] = user
                    yield self._half(pieces, some, sides, numbers, columns)

    def _values(
        self, pieces: _Pieces, duration: Int64s, counters: Counter[str]
    ) -> dict[str, Int64s]:
        """Return octets and packets of the pieces in both directions, scaled, and unscaled."""
        flows, chosen = self._flows, self._chosen
        scaled = {
            "octets": flows.scaled(flows.octets)[chosen],
            "reverse": flows.scaled(flows.octets_reverse)[chosen],
            "packets": flows.scaled(flows.packets)[chosen],
            "packets_reverse": flows.scaled(flows.packets_reverse)[chosen],
            "exported": (flows.octets + flows.octets_reverse)[chosen],
        }
        counters["decode_octets"] += _total(scaled["octets"]) + _total(scaled["reverse"])
        counters["decode_flows_rate_unknown"] += int((~self._known).sum())
        return {name: _share(total, pieces, duration) for name, total in scaled.items()}

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

    def _half(
        self,
        pieces: _Pieces,
        at: Int64s,
        sides: _Sides,
        numbers: Int64s,
        values: Columns,
    ) -> Columns:
        """Return rows of one end: their keys, those with the fewest values first, and the others
        as given. Rows of cells of ports have a further key."""
        flow = pieces.flow[at]
        keys: Columns = {
            "rate_known": self._known[flow].view(np.uint8),
            "minute": pieces.minute[at],
            "second": self._second[flow],
            "traffic_class": numbers[sides.traffic_class[flow]],
            "exporter": self._exporter[flow],
            "low": sides.low[flow],
            "high": sides.high[flow],
        }
        if sides.cell is not None and len(flow) and sides.cell[flow[0]]:
            keys[_CELL] = sides.cell[flow]
        return {**keys, **values}


def _oriented(values: dict[str, Int64s], at: Int64s, up: str, down: str) -> Columns:
    """Return the value columns as seen from an own address; "" is the flow's own direction."""
    octets = {"": "octets", "reverse": "reverse"}
    packets = {"": "packets", "reverse": "packets_reverse"}
    return {
        "octets_up": values[octets[up]][at],
        "octets_down": values[octets[down]][at],
        "packets_up": values[packets[up]][at],
        "packets_down": values[packets[down]][at],
        "octets_exported": values["exported"][at],
    }


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


def _by_cell(at: Int64s, pieces: _Pieces, sides: _Sides) -> tuple[Int64s, ...]:
    """Return the pieces of whole addresses, and those of cells of ports."""
    if sides.cell is None:
        return (at,)
    in_cell = sides.cell[pieces.flow[at]] != 0
    return at[~in_cell], at[in_cell]


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
