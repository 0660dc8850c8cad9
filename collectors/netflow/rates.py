"""Sampling of a batch: what its option records announce, and the rate of every flow record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.connections import share_rates
from collectors.netflow.gathering import Group
from collectors.netflow.headers import Rows
from collectors.netflow.layouts import Layout
from collectors.netflow.sampling import (
    NOTHING_ANNOUNCED,
    Announcement,
    Timeline,
    Trace,
    is_relevant,
    read_announcements,
)
from collectors.netflow.sessions import Sessions
from collectors.netflow.state import BOOT_AT, DOMAIN_RATE, INTERFACE_RATE

Int64s = NDArray[np.int64]
Note = Callable[[int, str, int], None]

_ORDER_BITS = 40
"""Above the number of sets of any batch."""


def learn_sampling(
    sessions: Sessions,
    groups: Iterable[Group],
    rows: Rows,
    config: FlowDecodeConfig,
    note: Note,
    begun: Mapping[int, int],
) -> dict[int, Timeline]:
    """Return each session's rates over the batch, and put the last ones into the sessions.

    begun is what `connections.begins_at` returns.
    """
    announced: dict[int, list[Announcement]] = {}
    origins: dict[int, int] = {}
    for group in groups:
        if not group.layout.is_options or not is_relevant(group.layout):
            continue
        session = rows.session[group.row]
        for number in np.unique(session).tolist():
            mine = np.flatnonzero(session == number)
            # Several that waited for one template count at once: what was received last stands.
            mine = mine[np.argsort(rows.received_at[group.row[mine]], kind="stable")]
            found, absurd = read_announcements(
                group.layout,
                group.records[mine],
                group.order[mine].tolist(),
                config.sampling_rate_limit,
            )
            announced.setdefault(number, []).extend(found)
            origins[number] = int(rows.origin[group.row[mine][0]])
            if absurd:
                note(origins[number], "implausible_sampling_rate", len(absurd))
    share_rates(sessions, begun, announced, config.samplers_per_session_limit)
    origins |= {shared: origins[n] for n, shared in sessions.shared.items() if n in origins}
    timelines: dict[int, Timeline] = {}
    for number in range(len(sessions.keys)):
        before = sessions.sessions[number]
        events = announced.get(number)
        if not events and not before.samplers:
            continue
        after = dict(before.samplers)
        news: list[Announcement] = []
        for event in sorted(events or (), key=lambda event: event.order):
            if after.get(event.selector) == event.rate:
                continue
            is_new = event.selector not in after
            if is_new and len(after) >= config.samplers_per_session_limit:
                note(origins[number], "samplers_per_session_limit", 1)
                continue
            after[event.selector] = event.rate
            news.append(event)
        timelines[number] = Timeline(before.samplers, news)
        if news:
            sessions.sessions[number] = dataclasses.replace(before, samplers=after)
    return timelines


def boot_times(group: Group, rows: Rows, timelines: Mapping[int, Timeline]) -> Int64s:
    """Return the boot time that options announced for each record's exporter, ms (0: none)."""
    if not timelines or not (group.layout.has("start_uptime") or group.layout.has("end_uptime")):
        return np.zeros(len(group.records), np.int64)
    session = rows.session[group.row]
    numbers = sorted(timelines)
    return _looked_up(
        [timelines[number].own(BOOT_AT) for number in numbers],
        _places(numbers, session),
        group.order,
    )[0]


def fill_rates(
    columns: dict[str, NDArray[Any]],
    part: slice,
    group: Group,
    context: tuple[Rows, Mapping[int, Timeline], Sessions],
    config: FlowDecodeConfig,
) -> None:
    """Write the rates of a group: settings, else the record, the header, the sampler, the domain.

    Rate 0 means not known; it becomes the default, or 1 with rate_known false.
    """
    rows, timelines, sessions = context
    numerator = columns["rate_numerator"][part]
    denominator = columns["rate_denominator"][part]
    known = columns["rate_known"][part]

    def put(found: tuple[Int64s, Int64s]) -> None:
        mine = found[0] > 0
        if mine.all():
            numerator[:], denominator[:], known[:] = found[0], found[1], True
        else:
            numerator[mine], denominator[mine], known[mine] = found[0][mine], found[1][mine], True

    session = rows.session[group.row]
    one = np.ones(len(session), np.int64)
    forced, default = sessions.set_rates()
    if default.any():
        put((default[session], one))
    if timelines:
        put(_announced_rates(group, session, timelines))
    header_rate = rows.header_rate[group.row]
    if header_rate.any():
        put((header_rate, one))
    own = _own_rates(group, config.sampling_rate_limit)
    if own is not None:
        put(own)
    if forced.any():
        put((forced[session], one))


def _announced_rates(
    group: Group, session: Int64s, timelines: Mapping[int, Timeline]
) -> tuple[Int64s, Int64s]:
    """Return the rate that options announced for each record.

    It is that of its sampler, else of the interface where it entered, else of its domain.
    """
    numbers = sorted(timelines)
    place = _places(numbers, session)
    lines = [timelines[number] for number in numbers]
    if group.layout.has("selector"):
        rate = _looked_up([line.own(DOMAIN_RATE) for line in lines], place, group.order)
    else:
        rate = _looked_up([line.unnamed() for line in lines], place, group.order)
    if group.layout.has("ingress_interface") and any(line.has_interfaces for line in lines):
        rate = _better(_named_rates(group, "ingress_interface", (place, lines)), rate)
    if group.layout.has("selector"):
        rate = _better(_named_rates(group, "selector", (place, lines)), rate)
    return rate


def _better(one: tuple[Int64s, Int64s], other: tuple[Int64s, Int64s]) -> tuple[Int64s, Int64s]:
    """Return one rate where it is known, else the other."""
    is_known = one[0] > 0
    return np.where(is_known, one[0], other[0]), np.where(is_known, one[1], other[1])


def _named_rates(
    group: Group, column: str, context: tuple[Int64s, Sequence[Timeline]]
) -> tuple[Int64s, Int64s]:
    """Return the rate that was announced for what each record names: selector or interface.

    context is each record's place among the timelines (-1: in none), and the timelines.
    """
    place, lines = context
    names, which = np.unique(
        group.layout.read(group.records, column).astype(np.uint64), return_inverse=True
    )
    keys = [INTERFACE_RATE - n if column == "ingress_interface" else n for n in names.tolist()]
    pairs, inverse = np.unique(place * len(keys) + which, return_inverse=True)
    traces: dict[int, tuple[int, Trace]] = {}
    where = []
    for pair in pairs.tolist():
        number, key = divmod(pair, len(keys))
        trace = lines[number].own(keys[key]) if number >= 0 else NOTHING_ANNOUNCED
        where.append(traces.setdefault(id(trace), (len(traces), trace))[0])
    chosen = np.array(where, np.int64)[inverse]
    return _looked_up([trace for _, trace in traces.values()], chosen, group.order)


def _places(numbers: list[int], session: Int64s) -> Int64s:
    """Return each record's session as an index into numbers; -1 where it is not among them."""
    known = np.array(numbers, np.int64)
    at = np.minimum(np.searchsorted(known, session), len(known) - 1)
    return np.where(known[at] == session, at, -1)


def _looked_up(found: Sequence[Trace], which: Int64s, order: Int64s) -> tuple[Int64s, Int64s]:
    """Return numerator and denominator for each record: found[which], at its place in time.

    Where which is negative the rate is not known.
    """
    numerator, denominator = np.zeros(len(which), np.int64), np.ones(len(which), np.int64)
    if not found:
        return numerator, denominator
    # One sorted column of (trace, order) answers all records at once.
    begins = [
        (index << _ORDER_BITS) + begin + 1
        for index, (orders, _) in enumerate(found)
        for begin in orders
    ]
    rates = np.array([rate for _, trace in found for rate in trace], np.int64)
    wanted = (np.maximum(which, 0) << _ORDER_BITS) + order + 1
    at = np.searchsorted(np.array(begins, np.int64), wanted, side="right") - 1
    is_found = which >= 0
    numerator[is_found] = rates[at[is_found], 0]
    denominator[is_found] = rates[at[is_found], 1]
    return numerator, denominator


def _own_rates(group: Group, rate_limit: int) -> tuple[Int64s, Int64s] | None:
    """Return numerator and denominator that records carry themselves (0: not known), or None."""
    found: tuple[Int64s, Int64s] | None = None
    for numerator, denominator in _carried(group.layout, group.records):
        believed = (numerator >= denominator) & (numerator <= rate_limit * denominator)
        rate = np.where(believed, numerator, 0), np.maximum(denominator, 1)
        found = rate if found is None else _better(found, rate)
    return found


def _carried(layout: Layout, records: NDArray[np.void]) -> Iterator[tuple[Int64s, Int64s]]:
    """Yield the rates that a layout's records carry, the most trusted kind first."""
    one = np.ones(len(records), np.int64)
    for column in ("interval", "random_interval"):
        if layout.has(column):
            yield _sane(layout.read(records, column)), one
    for taken, left in (("packet_interval", "packet_space"), ("time_interval", "time_space")):
        if layout.has(taken):
            size = _sane(layout.read(records, taken))
            space = _sane(layout.read(records, left)) if layout.has(left) else 0
            yield np.where(size > 0, size + space, 0), size
    if layout.has("sample_size") and layout.has("sample_population"):
        size = _sane(layout.read(records, "sample_size"))
        population = _sane(layout.read(records, "sample_population"))
        yield np.where(size > 0, population, 0), size


def _sane(values: NDArray[Any]) -> Int64s:
    """Return numbers as int64, 0 for what no rate is made of."""
    wide = values.astype(np.uint64)
    return np.where(wide < np.uint64(1 << 30), wide, np.uint64(0)).astype(np.int64)
