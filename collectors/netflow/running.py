"""Counters that go on from record to record of one flow, made into what each record adds.

Some exporters repeat a live flow's totals in every update (elements 85, 86: permanent caches,
probes); a Cisco ASA sends the volume of each interval in its updates (firewallEvent 5) and the
connection's total once more when it is torn down (2). Added up as they stand, both bill twice. Here
each flow has an entry: how much of it is counted already (decision 0125).

What one record means, given its flow's entry, is `_one_by_one`; the columns' way through
`_at_once` gives the same for all flows on which nothing odd happens. Entries are kept as runs,
sorted by key: a batch adds one and runs of about a size are merged, so an update costs a few
nanoseconds however many flows are live, and what a reader finds does not depend on the runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.state import RUNNING
from rating.ports import Delete, Put, StateView

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]
Bools = NDArray[np.bool_]

COUNTER_BITS = 0x0F
"""Low bits of a record's kind: which of `layouts.COUNTERS` go on, in their order."""
TOTAL, INTERVAL, FINAL = 0x10, 0x20, 0x30
"""What they hold: the flow's total so far; what came since the record before; the total at the end
of a flow that sent intervals."""
KIND_BITS = 0x30
ENDED = 0x40
"""The record says that its flow has ended."""

FORGET_AT, LATEST_AT, COUNTED, IS_ENDED = 0, 1, slice(2, 6), 6
"""Columns of an entry: until when it is known and the end of its latest record, ms; what is counted
of each of COUNTERS; 1 where the flow has ended. Rows of integers copy far faster than records."""

_COLUMNS = 7
_ENTRY_OCTETS = 8 + 8 * _COLUMNS
_COUNTED_MAX = 1 << 61
"""Counting stops here, far above any flow, so that no sum leaves 64 bits."""
_NEVER = -(1 << 62)


@dataclasses.dataclass(frozen=True, slots=True)
class Updates:
    """Records of flows whose counters go on, in order of arrival, n entries.

    key tells the flow; kind is COUNTER_BITS, KIND_BITS and ENDED; began_at and at are start and end
    of what the record covers and received_at its receipt, ms; values are the counters as sent,
    int64 [n, 4].
    """

    key: UInt64s
    kind: NDArray[np.uint8]
    began_at: Int64s
    at: Int64s
    received_at: Int64s
    values: Int64s

    def take(self, place: Int64s) -> Updates:
        """Return some of the records."""
        return Updates(
            self.key[place],
            self.kind[place],
            self.began_at[place],
            self.at[place],
            self.received_at[place],
            self.values[place],
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Added:
    """What each record adds: counters int64 [n, 4], never negative, and since when, ms [n].

    since is when the flow's record before ended, far in the past where there was none. is_base says
    that a record is the first seen of a flow that began long before, bool [n]: it adds nothing.
    """

    values: Int64s
    since: Int64s
    is_base: Bools


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    """Entries by ascending key, each once: keys [n], entries int64 [n, 7]."""

    keys: UInt64s
    entries: Int64s

    def __len__(self) -> int:
        return len(self.keys)

    def octets(self) -> bytes:
        return self.keys.tobytes() + self.entries.tobytes()


def _run_of(value: bytes) -> _Run:
    count = len(value) // _ENTRY_OCTETS
    entries = np.frombuffer(value, "<i8", count * _COLUMNS, 8 * count)
    return _Run(np.frombuffer(value, "<u8", count), entries.reshape(count, _COLUMNS))


class Running:
    """The flows whose counters go on, over one block of the decoder."""

    def __init__(self, view: StateView, config: FlowDecodeConfig) -> None:
        """Read no entry yet: most exporters send none of such counters."""
        self._view = view
        self._limit = config.running_flows_limit
        self._idle = config.running_idle_seconds * 1000
        self._ended = config.running_ended_seconds * 1000
        self._stored: list[tuple[str, _Run]] | None = None
        self._fresh: _Run = _run_of(b"")
        self.forgotten = 0

    def add(self, updates: Updates) -> Added:
        """Return what the records add, and remember it."""
        by_flow = np.argsort(updates.key, kind="stable")
        sorted_updates = updates.take(by_flow)
        keys, first, count = np.unique(sorted_updates.key, return_index=True, return_counts=True)
        before, is_known = self._find(keys)
        life = (self._idle, self._ended)
        added, after, odd = _at_once(sorted_updates, (first, count), before, is_known, life)
        for flow in odd.tolist():
            place = slice(int(first[flow]), int(first[flow] + count[flow]))
            entry = before[flow] if is_known[flow] else None
            after[flow] = _one_by_one(sorted_updates, place, entry, life, added)
        self._fresh = _merged(_Run(keys, after), self._fresh, _NEVER)
        back = np.empty_like(by_flow)
        back[by_flow] = np.arange(len(by_flow))
        return Added(added.values[back], added.since[back], added.is_base[back])

    def changes(self, watermark_at: int) -> list[Put | Delete]:
        """Return the changes of the state; what no record from now on can meet is dropped."""
        if not len(self._fresh):
            return [
                Delete(RUNNING, key)
                for key, _ in self._view.scan(RUNNING)
                if int(key[13:]) < watermark_at
            ]
        stored = self._runs()
        alive = [(key, run) for key, run in stored if int(key[13:]) >= watermark_at]
        newest = self._fresh
        while alive and len(alive[-1][1]) < 2 * len(newest):
            newest = _merged(newest, alive.pop()[1], watermark_at)
        # A flow may stand in several runs: half as many entries again are borne until they meet.
        if len(newest) + sum(len(run) for _, run in alive) > self._limit + self._limit // 2:
            while alive:
                newest = _merged(newest, alive.pop()[1], watermark_at)
            newest = self._bounded(newest)
        number = int(stored[-1][0][:12]) + 1 if stored else 1
        kept = {key for key, _ in alive}
        forget_at = int(newest.entries[:, FORGET_AT].max(initial=0))
        return [
            *(Delete(RUNNING, key) for key, _ in stored if key not in kept),
            Put(RUNNING, f"{number:012d}:{forget_at:015d}", newest.octets()),
        ]

    def _bounded(self, run: _Run) -> _Run:
        """Return the entries that live the longest, a tenth below the limit where it is passed."""
        surplus = len(run) - self._limit
        if surplus <= 0:
            return run
        surplus += self._limit // 10
        self.forgotten += surplus
        kept = np.sort(np.argsort(run.entries[:, FORGET_AT], kind="stable")[surplus:])
        return _Run(run.keys[kept], run.entries.take(kept, axis=0))

    def _runs(self) -> list[tuple[str, _Run]]:
        """Return the stored runs, the oldest first."""
        if self._stored is None:
            self._stored = [(key, _run_of(value)) for key, value in self._view.scan(RUNNING)]
        return self._stored

    def _find(self, keys: UInt64s) -> tuple[Int64s, Bools]:
        """Return the entries of ascending keys, and which there are; the newest run is right."""
        found = np.zeros((len(keys), _COLUMNS), np.int64)
        is_known = np.zeros(len(keys), np.bool_)
        for run in (self._fresh, *(run for _, run in reversed(self._runs()))):
            missing = np.flatnonzero(~is_known)
            if not len(missing):
                break
            if not len(run):
                continue
            at = np.minimum(np.searchsorted(run.keys, keys[missing]), len(run) - 1)
            hits = run.keys[at] == keys[missing]
            found[missing[hits]] = run.entries.take(at[hits], axis=0)
            is_known[missing[hits]] = True
        return found, is_known


def _merged(newer: _Run, older: _Run, watermark_at: int) -> _Run:
    """Return both runs as one; of a key the newer entry, and none forgotten by the watermark."""
    if not len(older):
        return newer
    keys = np.concatenate([newer.keys, older.keys])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    keep = np.ones(len(keys), np.bool_)
    keep[1:] = keys[1:] != keys[:-1]
    forget_at = np.concatenate([newer.entries[:, FORGET_AT], older.entries[:, FORGET_AT]])
    keep &= forget_at[order] >= watermark_at
    entries = np.concatenate([newer.entries, older.entries]).take(order[keep], axis=0)
    return _Run(keys[keep], entries)


def _at_once(
    updates: Updates,
    flows: tuple[Int64s, Int64s],
    before: Int64s,
    is_known: Bools,
    life: tuple[int, int],
) -> tuple[Added, Int64s, Int64s]:
    """Return what records add, the entries after them, and the flows for which neither is right.

    updates are sorted by flow; flows is where each begins and its number of records. Not right are
    flows that an exporter began anew among these records, or came back to after it had ended them.
    """
    first, count = flows
    n = len(updates.key)
    flow = np.repeat(np.arange(len(first)), count)
    nth = np.arange(n) - np.repeat(first, count)
    gap = np.diff(updates.received_at, prepend=0)
    known = is_known & (updates.received_at[first] <= before[:, FORGET_AT])
    # A long silence in the midst: what follows is another flow (also without an entry before).
    cut = (nth > 0) & (gap > life[0])
    part = np.cumsum(cut | (nth == 0)) - 1
    begin = np.flatnonzero(cut | (nth == 0))
    place = np.arange(n) - begin[part]
    of_entry = known[flow] & (nth == place)
    ended = (updates.kind & ENDED) != 0
    entry_ended = of_entry & (before[flow, IS_ENDED] != 0)
    ended_after = _scanned(ended | entry_ended, place, np.logical_or)
    ended_before = np.where(place > 0, np.roll(ended_after, 1), entry_ended)
    earlier = np.where(of_entry, before[flow, LATEST_AT], _NEVER)
    latest = np.maximum(_scanned(updates.at, place, np.maximum), earlier)
    since = np.where(place > 0, np.roll(latest, 1), earlier)
    counts = (updates.kind[:, None] >> np.arange(4, dtype=np.uint8)) & 1 != 0
    start = np.where(of_entry[:, None], before[flow, COUNTED], 0)
    kind = updates.kind & KIND_BITS
    is_base = (place == 0) & ~of_entry & (kind == TOTAL) & ~ended
    is_base &= updates.at - updates.began_at > life[0]
    if is_base.any():
        opening = begin[part]
        start = np.where(counts & is_base[opening][:, None], updates.values[opening], start)
    total = _counted(updates, counts, ended_before, place, start)
    held = np.where(place[:, None] > 0, np.roll(total, 1, axis=0), start)
    anew = (
        (kind == TOTAL)
        & ((place > 0) | of_entry)
        & (updates.at > since)
        & (np.where(counts, updates.values, 0).sum(axis=1) < np.where(counts, held, 0).sum(axis=1))
    )
    anew |= ended_before & (place > 0) & (gap > life[1])
    last = first + count - 1
    after = np.empty((len(first), _COLUMNS), np.int64)
    known_for = np.where(ended_after[last], life[1], life[0])
    after[:, FORGET_AT] = updates.received_at[last] + known_for
    after[:, LATEST_AT] = latest[last]
    after[:, COUNTED] = total[last]
    after[:, IS_ENDED] = ended_after[last]
    values = np.where(counts, total - held, updates.values)
    return Added(values, since, is_base), after, np.unique(flow[anew])


def _counted(
    updates: Updates, counts: Bools, ended_before: Bools, place: Int64s, start: Int64s
) -> Int64s:
    """Return what is counted of each flow after each record, int64 [n, 4].

    A total takes it to max(counted, total), an interval to counted + interval. Both are
    max(counted + add, floor), and of two such steps one behind the other is again one:
    max(counted + add1 + add2, max(floor1 + add2, floor2)). So doubling joins all of them.
    """
    is_interval = ((updates.kind & KIND_BITS) == INTERVAL)[:, None]
    values = np.minimum(updates.values, _COUNTED_MAX)
    add = np.where(counts & is_interval & ~ended_before[:, None], values, 0)
    floor = np.where(counts & ~is_interval, values, 0)
    reach = 1
    while reach <= int(place.max(initial=0)):
        at = np.flatnonzero(place >= reach)
        joined = np.maximum(floor[at - reach] + add[at], floor[at])
        add[at] = np.minimum(add[at - reach] + add[at], _COUNTED_MAX)
        floor[at] = np.minimum(joined, _COUNTED_MAX)
        reach *= 2
    return np.minimum(np.maximum(start + add, floor), _COUNTED_MAX)


def _scanned(
    values: NDArray[Any], place: Int64s, join: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """Return values joined with all before them of the same part; place is 0 where one begins."""
    out = values.copy()
    reach = 1
    while reach <= int(place.max(initial=0)):
        at = np.flatnonzero(place >= reach)
        out[at] = join(out[at - reach], out[at])
        reach *= 2
    return out


def _one_by_one(
    updates: Updates,
    place: slice,
    entry: Int64s | None,
    life: tuple[int, int],
    added: Added,
) -> list[int]:
    """Write what the records of one flow add, and return its entry; what each record means is here.

    A total that is lower than what is counted, and later, is a new flow of the same key; lower and
    not later, it was overtaken on the way. The first total seen of a flow that goes on, and began
    longer ago than a silent flow is known, was billed before an outage or is older than the
    collector: what comes after it counts. A final total adds what no interval brought; intervals
    that come behind it were in it.
    """
    forget_at, latest, counted, is_ended = _NEVER, _NEVER, [0, 0, 0, 0], False
    if entry is not None:
        forget_at, latest, *counted, ended = entry.tolist()
        is_ended = bool(ended)
    for index in range(place.start, place.stop):
        received_at, at = int(updates.received_at[index]), int(updates.at[index])
        kind, values = int(updates.kind[index]), updates.values[index].tolist()
        going = [bool(kind >> number & 1) for number in range(4)]
        told = [value if is_going else 0 for value, is_going in zip(values, going, strict=True)]
        is_total = kind & KIND_BITS == TOTAL
        if received_at > forget_at:
            latest, counted, is_ended = _NEVER, [0, 0, 0, 0], False
        held = sum(value for value, is_going in zip(counted, going, strict=True) if is_going)
        lasts = at - int(updates.began_at[index])
        is_base = latest == _NEVER and is_total and not kind & ENDED and lasts > life[0]
        if is_base:
            counted = told
        elif is_total and latest != _NEVER and at > latest and sum(told) < held:
            latest, counted, is_ended = _NEVER, [0, 0, 0, 0], False
        added.is_base[index] = is_base
        added.since[index] = latest
        for number, value in enumerate(values):
            if not going[number]:
                added.values[index, number] = value
                continue
            before = counted[number]
            if kind & KIND_BITS != INTERVAL:
                counted[number] = min(max(before, value), _COUNTED_MAX)
            elif not is_ended:
                counted[number] = min(before + value, _COUNTED_MAX)
            added.values[index, number] = counted[number] - before
        is_ended = is_ended or bool(kind & ENDED)
        latest = max(latest, at)
        forget_at = received_at + (life[1] if is_ended else life[0])
    return [forget_at, latest, *counted, int(is_ended)]
