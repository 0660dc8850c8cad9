"""What the rules of counting need to know of records, beyond their template's own counters.

Filled only where a rule asks: interfaces and the counters behind a middlebox where settings of the
exporter say so, a flow's key where its counters go on from record to record (decision 0125).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import ExporterConfig
from collectors.netflow.gathering import Group
from collectors.netflow.headers import Rows
from collectors.netflow.layouts import COUNTERS, Layout
from collectors.netflow.running import ENDED, FINAL, INTERVAL, TOTAL
from collectors.netflow.sessions import Sessions, merged_key
from collectors.netflow.texts import Texts
from collectors.radius.attributes import decode_text

UInt64s = NDArray[np.uint64]
Columns = dict[str, NDArray[Any]]

UPDATED, TORN_DOWN = 5, 2
"""firewallEvent (233) of a record in mid-connection, and of the one at its end."""

ACTIVE_TIMEOUT = 2
"""flowEndReason (136) of a flow that may go on; 1 and 3 to 5 end it."""

EGRESS = 1
"""flowDirection (61) of a record metered where packets leave."""

SERVER_IS_LOCAL = "SERVER_IS_LOCAL"
"""In Procera's flags of a connection: its destination is the local end, else its source."""

LOCAL_END_OCTETS_MAX = 1_024
"""Longest flags that are read; Procera's have some 60 octets."""

_STARTS = ("start_ms", "start_us", "start_ns", "start_seconds", "start_uptime")
"""What tells a flow from an earlier one between the same ends, as sent: made into an instant, an
uptime moves by up to a second from datagram to datagram."""

_IDENTITY = (
    *("source_high", "source_low", "destination_high", "destination_low"),
    *("source_port", "destination_port", "protocol", "direction"),
)
_ODD = np.uint64(0x9E37_79B9_7F4A_7C15)
_FINISH = np.uint64(0xBF58_476D_1CE4_E5B9)


class VolumeRules:
    """What the settings say of a batch's sessions, looked up once."""

    def __init__(self, sessions: Sessions) -> None:
        """Index the sessions' entries that say anything about counting."""
        self._keys = sessions.keys
        self._hashes: UInt64s | None = None
        self.entries: list[ExporterConfig] = []
        numbers: dict[ExporterConfig, int] = {}
        rule_of = []
        for entry in sessions.entries():
            if entry is None or not entry.has_rules:
                rule_of.append(-1)
                continue
            if entry not in numbers:
                numbers[entry] = len(self.entries)
                self.entries.append(entry)
            rule_of.append(numbers[entry])
        self._rule_of = np.array(rule_of, np.int64)

    def of(self, session: NDArray[np.int64]) -> Iterator[tuple[ExporterConfig, NDArray[np.int64]]]:
        """Yield each entry with rules and the places of its records, given their sessions."""
        if not self.entries:
            return
        numbers = self._rule_of[session]
        for number in np.unique(numbers).tolist():
            if number >= 0:
                yield self.entries[number], np.flatnonzero(numbers == number)

    def hashes(self) -> UInt64s:
        """Return a 64-bit digest of each session, uint64, whatever ports it is split into."""
        if self._hashes is None:
            names = [merged_key(key).encode() for key in self._keys]
            digests = [hashlib.blake2b(name, digest_size=8).digest() for name in names]
            self._hashes = np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
        return self._hashes


def fill_volume(
    columns: Columns, part: slice, group: Group, rows: Rows, rules: VolumeRules
) -> None:
    """Write what counting needs of a group into its part of the columns, which are filled else."""
    layout = group.layout
    if "local_end" in layout.texts:
        _turn(columns, part, group)
    count_all = (1 << len(COUNTERS)) - 1
    session = rows.session[group.row]
    kinds = _announced_kinds(layout, group.records)
    for entry, mine in rules.of(session):
        if entry.names_interfaces:
            _fill_interfaces(columns, part, mine, group)
        _fill_post(columns, part, mine, group, entry)
        if entry.counters != "auto" and kinds is None:
            kinds = np.zeros(len(group.records), np.uint8)
        if kinds is not None and entry.counters == "delta":
            kinds[mine] = 0
        elif kinds is not None and entry.counters == "total":
            kinds[mine] = TOTAL | count_all | _ended(layout, group.records)[mine]
    if kinds is None or not kinds.any():
        return
    key, is_known = _flow_keys(columns, part, group, rules.hashes()[session])
    columns["running"][part] = np.where(is_known, kinds, 0)
    columns["flow_key"][part] = key
    columns["order"][part] = group.order


def _announced_kinds(layout: Layout, records: NDArray[np.void]) -> NDArray[np.uint8] | None:
    """Return how the records' counters go on, as their template and event say; None: in none."""
    if layout.event_counters:
        event = layout.read(records, "event")
        kinds = np.zeros(len(records), np.uint8)
        kinds[event == UPDATED] = INTERVAL | layout.event_counters
        kinds[event == TORN_DOWN] = FINAL | ENDED | layout.event_counters
        return kinds
    if layout.totals:
        return _ended(layout, records) | np.uint8(TOTAL | layout.totals)
    return None


def _ended(layout: Layout, records: NDArray[np.void]) -> NDArray[np.uint8]:
    """Return ENDED for records that say so, else 0."""
    ended = np.zeros(len(records), np.bool_)
    if layout.has("end_reason"):
        reason = layout.read(records, "end_reason")
        ended |= (reason != 0) & (reason != ACTIVE_TIMEOUT)
    if layout.has("event"):
        ended |= layout.read(records, "event") == TORN_DOWN
    return ended.astype(np.uint8) * np.uint8(ENDED)


def _turn(columns: Columns, part: slice, group: Group) -> None:
    """Exchange both directions' counters of the records that were counted from the server's end."""
    texts = Texts(decode_text, LOCAL_END_OCTETS_MAX)
    numbers = texts.numbers(group, "local_end")
    is_servers = np.array([SERVER_IS_LOCAL in text for text in texts.known], np.bool_)
    turned = np.flatnonzero(is_servers[numbers])
    for name in ("octets", "packets"):
        forward, reverse = columns[name][part], columns[f"{name}_reverse"][part]
        forward[turned], reverse[turned] = reverse[turned], forward[turned]


def _fill_interfaces(columns: Columns, part: slice, mine: NDArray[np.int64], group: Group) -> None:
    for name in ("ingress_interface", "egress_interface"):
        if group.layout.has(name):
            columns[name][part][mine] = group.layout.read(group.records, name)[mine]


def _fill_post(
    columns: Columns, part: slice, mine: NDArray[np.int64], group: Group, entry: ExporterConfig
) -> None:
    """Read 23 and 24 as the settings say: the other direction, or an egress record's own volume."""
    layout, records = group.layout, group.records
    chosen = mine
    if entry.post_counters == "after":
        # Some meter egress into the counters behind the middlebox and leave the others 0.
        is_egress = columns["direction"][part][mine] == EGRESS
        is_empty = (columns["octets"][part][mine] == 0) & (columns["packets"][part][mine] == 0)
        chosen = mine[is_egress & is_empty]
        if entry.counted_direction not in ("egress", "boundary"):
            return
    for name in ("octets", "packets"):
        post = f"{name}_post"
        if not layout.has(post) or layout.sources.get(name) == layout.sources[post]:
            continue
        column = name if entry.post_counters == "after" else f"{name}_reverse"
        values = layout.read(records, post)[chosen].astype(np.int64)
        columns[column][part][chosen] = np.maximum(values, -1)


def _flow_keys(
    columns: Columns, part: slice, group: Group, session: UInt64s
) -> tuple[UInt64s, NDArray[np.bool_]]:
    """Return a 64-bit key of each record's flow, and whether it has one.

    Over the exporter's domain, the flow id, both ends, protocol, direction and the start as sent. A
    record without addresses and flow id could be anybody's.
    """
    layout, records = group.layout, group.records
    key = session.copy()
    is_known = np.zeros(len(records), np.bool_)
    for name in _IDENTITY:
        values = columns[name][part]
        _stir(key, values)
        if name.endswith("_low"):
            is_known |= values != 0
    if layout.has("flow_id"):
        flow_id = layout.read(records, "flow_id")
        _stir(key, flow_id)
        is_known |= flow_id != 0
    for name in _STARTS:
        if layout.has(name):
            _stir(key, layout.read(records, name))
            break
    key ^= key >> np.uint64(31)
    key *= _FINISH
    key ^= key >> np.uint64(29)
    return key, is_known


def _stir(key: UInt64s, values: NDArray[Any]) -> None:
    """Mix a column of integers into the keys, in place."""
    key ^= values.astype(np.uint64)
    key *= _ODD
    key ^= key >> np.uint64(32)
