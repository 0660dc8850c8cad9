"""Sampling of a batch: what its option records announce, and the rate of every flow record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.gathering import Group
from collectors.netflow.headers import Rows
from collectors.netflow.sampling import (
    UNKNOWN,
    Announcement,
    Rate,
    Timeline,
    is_relevant,
    read_announcements,
)
from collectors.netflow.sessions import Sessions
from collectors.netflow.state import BOOT_AT, DOMAIN_RATE

Int64s = NDArray[np.int64]
Note = Callable[[int, str, int], None]


def learn_sampling(
    sessions: Sessions,
    groups: Sequence[Group],
    rows: Rows,
    config: FlowDecodeConfig,
    note: Note,
) -> dict[int, Timeline]:
    """Return each session's rates over the batch, and put the last ones into the sessions."""
    announced: dict[int, list[Announcement]] = {}
    for group in groups:
        if not group.layout.is_options or not is_relevant(group.layout):
            continue
        session = rows.session[group.row]
        for number in np.unique(session).tolist():
            mine = session == number
            found, absurd = read_announcements(
                group.layout,
                group.records[mine],
                group.order[mine].tolist(),
                config.sampling_rate_limit,
            )
            announced.setdefault(number, []).extend(found)
            if absurd:
                first = int(rows.origin[group.row[mine][0]])
                note(first, "implausible_sampling_rate", len(absurd))
    timelines: dict[int, Timeline] = {}
    for number in range(len(sessions.keys)):
        before = sessions.sessions[number]
        events = announced.get(number)
        if not events and not before.samplers:
            continue
        after = dict(before.samplers)
        news: list[Announcement] = []
        for event in sorted(events or (), key=lambda event: event.order):
            is_new = event.selector not in after
            if after.get(event.selector) == event.rate or (
                is_new and len(after) >= config.samplers_per_session_limit
            ):
                continue
            after[event.selector] = event.rate
            news.append(event)
        timelines[number] = Timeline(before.samplers, news)
        if news:
            sessions.sessions[number] = dataclasses.replace(before, samplers=after)
    return timelines


def boot_times(group: Group, rows: Rows, timelines: Mapping[int, Timeline]) -> Int64s:
    """Return the boot time that options announced for each record's exporter, ms (0: none)."""
    found = np.zeros(len(group.records), np.int64)
    if not (group.layout.has("start_uptime") or group.layout.has("end_uptime")):
        return found
    for mine, rates in _constant_parts(group, rows, timelines, BOOT_AT):
        found[mine] = rates[0]
    return found


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

    def put(mine: Any, rate: Rate) -> None:
        numerator[mine], denominator[mine], known[mine] = rate[0], rate[1], True

    if config.default_sampling_rate:
        numerator[:] = config.default_sampling_rate
        known[:] = True
    for mine, rate in _constant_parts(group, rows, timelines, DOMAIN_RATE):
        put(mine, rate)
    if group.layout.has("selector") and timelines:
        for mine, rate in _selected_parts(group, rows, timelines):
            put(mine, rate)
    header_rate = rows.header_rate[group.row]
    if header_rate.any():
        mine = header_rate > 0
        numerator[mine], denominator[mine], known[mine] = header_rate[mine], 1, True
    own = _own_rates(group, config.sampling_rate_limit)
    if own is not None:
        mine = own[0] > 0
        numerator[mine], denominator[mine], known[mine] = own[0][mine], own[1][mine], True
    session = rows.session[group.row]
    for number in np.unique(rows.session).tolist():
        forced = sessions.forced_rate(number)
        if forced:
            put(session == number, (forced, 1))


def _constant_parts(
    group: Group, rows: Rows, timelines: Mapping[int, Timeline], selector: int
) -> list[tuple[Any, Rate]]:
    """Return index masks of the group's records and the rate that holds for each."""
    if not timelines:
        return []
    parts: list[tuple[Any, Rate]] = []
    session = rows.session[group.row]
    for number, timeline in timelines.items():
        orders, rates = timeline.at(selector)
        if all(rate == UNKNOWN for rate in rates):
            continue
        mine: Any = session == number
        if len(orders) == 1 and mine.all():
            parts.append((slice(None), rates[0]))
        else:
            parts += _over_time(mine, group.order, orders, rates)
    return parts


def _over_time(
    mine: NDArray[np.bool_], order: Int64s, orders: list[int], rates: list[Rate]
) -> list[tuple[Any, Rate]]:
    """Return the parts of `mine` in which each rate holds; unknown rates have no part."""
    if len(orders) == 1:
        return [(mine, rates[0])]
    at = np.searchsorted(np.array(orders), order, side="right") - 1
    return [(mine & (at == index), rate) for index, rate in enumerate(rates) if rate != UNKNOWN]


def _selected_parts(
    group: Group, rows: Rows, timelines: Mapping[int, Timeline]
) -> list[tuple[Any, Rate]]:
    """Return the parts of a group whose records name a sampler (302, 48), with its rate."""
    selectors, inverse = np.unique(
        group.layout.read(group.records, "selector").astype(np.uint64), return_inverse=True
    )
    pair = rows.session[group.row] * len(selectors) + inverse
    parts: list[tuple[Any, Rate]] = []
    for both in np.unique(pair).tolist():
        timeline = timelines.get(both // len(selectors))
        if timeline is None:
            continue
        orders, rates = timeline.at(int(selectors[both % len(selectors)]))
        if any(rate != UNKNOWN for rate in rates):
            parts += _over_time(pair == both, group.order, orders, rates)
    return parts


def _own_rates(group: Group, rate_limit: int) -> tuple[Int64s, Int64s] | None:
    """Return numerator and denominator that records carry themselves (0: not known), or None."""
    layout, records = group.layout, group.records
    one = np.ones(len(records), np.int64)
    if layout.has("interval"):
        numerator, denominator = _sane(layout.read(records, "interval")), one
    elif layout.has("packet_interval"):
        denominator = _sane(layout.read(records, "packet_interval"))
        space = _sane(layout.read(records, "packet_space")) if layout.has("packet_space") else 0
        numerator = np.where(denominator > 0, denominator + space, 0)
    elif layout.has("sample_size") and layout.has("sample_population"):
        denominator = _sane(layout.read(records, "sample_size"))
        numerator = np.where(denominator > 0, _sane(layout.read(records, "sample_population")), 0)
    else:
        return None
    believed = (numerator >= denominator) & (numerator <= rate_limit * denominator)
    return np.where(believed, numerator, 0), np.maximum(denominator, 1)


def _sane(values: NDArray[Any]) -> Int64s:
    """Return numbers as int64, 0 for what no rate is made of."""
    wide = values.astype(np.uint64)
    return np.where(wide < np.uint64(1 << 32), wide, np.uint64(0)).astype(np.int64)
