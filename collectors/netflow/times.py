"""When a flow began and ended, in ms since 1970, from whichever elements its record carries.

Order of trust: absolute milliseconds, NTP fractions, seconds, deltas to the export time, uptime
counters, then the observation time, durations, the time of collection that a mediator passes on,
and last the export time itself. An absolute time of 0 counts as absent (MikroTik and IPFIX probes
fill unused fields with 0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.headers import NO_UPTIME
from collectors.netflow.layouts import Layout

Int64s = NDArray[np.int64]
Records = NDArray[np.void]

NTP_EPOCH_SECONDS = 2_208_988_800
"""Seconds from 1900, where NTP counts from, to 1970 (RFC 5905 §6)."""

_LATEST_MS = 1 << 48
"""A later instant (year 10889) is no time but noise."""


def flow_times(
    layout: Layout, records: Records, export_at: Int64s, uptime: Int64s, boot_at: Int64s
) -> tuple[Int64s, Int64s]:
    """Return start and end of each record, int64 ms [n], end never before start.

    export_at and uptime are those of the record's datagram; boot_at is the exporter's boot time
    from an option record (0: not announced); an element 160 of the record itself goes before it.
    """
    if layout.has("boot_at"):
        own = _plausible(layout.read(records, "boot_at"))
        boot_at = np.where(own > 0, own, boot_at)
    clock = (export_at, uptime, boot_at)
    start = _absolute(layout, records, "start", clock)
    end = _absolute(layout, records, "end", clock)
    observed = _absolute(layout, records, "observed", None)
    duration = _duration(layout, records)
    if layout.has("collected_ms"):
        collected = _plausible(layout.read(records, "collected_ms"))
        export_at = np.where(collected > 0, collected, export_at)
    if observed is not None:
        end = observed if end is None else np.where(end > 0, end, observed)
        start = start if start is not None or duration is not None else observed
    if end is None or not (end > 0).all():
        if start is not None and duration is not None:
            fallback = np.where(start > 0, start + duration, export_at)
        else:
            fallback = np.maximum(export_at, start) if start is not None else export_at
        end = fallback if end is None else np.where(end > 0, end, fallback)
    if start is None or not (start > 0).all():
        fallback = end if duration is None else end - duration
        start = fallback if start is None else np.where(start > 0, start, fallback)
    return _of_both_directions(layout, records, (np.minimum(start, end), end), clock)


def _of_both_directions(
    layout: Layout,
    records: Records,
    forward: tuple[Int64s, Int64s],
    clock: tuple[Int64s, Int64s, Int64s],
) -> tuple[Int64s, Int64s]:
    """Return start and end over both directions of a biflow (RFC 5103 §6.1).

    Its octets of both are spread over one span; where the reverse direction tells times of its own,
    the span covers them.
    """
    start, end = forward
    first = _absolute(layout, records, "reverse_start", clock)
    last = _absolute(layout, records, "reverse_end", clock)
    if first is not None:
        start = np.where(first > 0, np.minimum(start, first), start)
    if last is not None:
        end = np.where(last > 0, np.maximum(end, last), end)
    return np.minimum(start, end), end


def _absolute(
    layout: Layout, records: Records, which: str, clock: tuple[Int64s, Int64s, Int64s] | None
) -> Int64s | None:
    """Return one end of the flows from its best element, 0 where a record has none; None: never."""
    out: Int64s | None = None
    for suffix, convert in _CONVERSIONS:
        column = f"{which}_{suffix}"
        if layout.has(column):
            found = convert(layout.read(records, column))
            out = found if out is None else np.where(out > 0, out, found)
            if (out > 0).all():
                return out
    if clock is None:
        return out
    export_at = clock[0]
    if layout.has(f"{which}_delta_us"):
        delta = layout.read(records, f"{which}_delta_us").astype(np.int64)
        found = export_at - delta // 1000
        out = found if out is None else np.where(out > 0, out, found)
    if layout.has(f"{which}_uptime"):
        found = _from_uptime(layout, records, which, clock)
        out = found if out is None else np.where(out > 0, out, found)
    return out


def _from_uptime(
    layout: Layout, records: Records, which: str, clock: tuple[Int64s, Int64s, Int64s]
) -> Int64s:
    """Return instants from ms-since-boot counters that wrap after 49.7 days (RFC 3954 §8).

    The counter is taken as the instant nearest to the export time, which undoes one wrap either
    way. Where neither header nor options tell the boot time, only the flow's length is known: it
    is laid to end at the export time.
    """
    export_at, uptime, boot_at = clock
    counter = layout.read(records, f"{which}_uptime").astype(np.uint32)
    is_told = uptime != NO_UPTIME
    if is_told.all():
        return export_at + (counter - uptime.astype(np.uint32)).view(np.int32)
    reference = np.where(is_told, uptime, export_at - boot_at)
    age = (counter - reference.astype(np.uint32)).view(np.int32)
    known = is_told | (boot_at > 0)
    if known.all():
        return export_at + age
    ahead = np.zeros(len(records), np.int64)
    if which == "start" and layout.has("end_uptime"):
        last = layout.read(records, "end_uptime").astype(np.uint32)
        ahead = np.minimum((counter - last).view(np.int32), 0).astype(np.int64)
    return np.where(known, export_at + age, export_at + ahead)


def _duration(layout: Layout, records: Records) -> Int64s | None:
    """Return how long the flows lasted, ms, from elements 161 or 162; None where absent."""
    if layout.has("duration_ms"):
        return _plausible(layout.read(records, "duration_ms"))
    if layout.has("duration_us"):
        return _plausible(layout.read(records, "duration_us").astype(np.uint64) // np.uint64(1000))
    return None


def _plausible(values: NDArray[Any]) -> Int64s:
    """Return milliseconds as int64, 0 for what lies beyond any calendar."""
    wide = values.astype(np.uint64)
    return np.where(wide < np.uint64(_LATEST_MS), wide, np.uint64(0)).astype(np.int64)


def _from_seconds(values: NDArray[Any]) -> Int64s:
    """Return ms from seconds since 1970 (elements 150, 151, 322)."""
    wide = values.astype(np.uint64)
    return (np.where(wide < np.uint64(1 << 38), wide, np.uint64(0)) * np.uint64(1000)).astype(
        np.int64
    )


def _from_ntp(values: NDArray[Any]) -> Int64s:
    """Return ms from the NTP format: 32 bits of seconds, 32 bits of fraction (RFC 7011 §6.1.9).

    Seconds below 2^31 belong to era 1, from 2036 on. The low 11 bits of the microsecond elements
    (154, 155) are noise far below a millisecond.
    """
    wide = values.astype(np.uint64)
    seconds = (wide >> np.uint64(32)).astype(np.int64)
    fraction = (wide & np.uint64(0xFFFFFFFF)).astype(np.int64)
    seconds = np.where(seconds < 1 << 31, seconds + (1 << 32), seconds) - NTP_EPOCH_SECONDS
    return np.where(wide == 0, 0, seconds * 1000 + ((fraction * 1000) >> 32))


_CONVERSIONS: tuple[tuple[str, Callable[[NDArray[Any]], Int64s]], ...] = (
    ("ms", _plausible),
    ("us", _from_ntp),
    ("ns", _from_ntp),
    ("seconds", _from_seconds),
)
