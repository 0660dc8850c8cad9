"""What a NAT says of its translations: outside ports given to an inside address, or taken back.

Read are RFC 8158's events (element 230 with addresses and ports, port blocks 361 to 364), the same
of Cisco's NEL, and NSEL (elements 233 and 40005) of firewalls, which tells of sessions. Such
records have no counters, or count a flow besides. Nokia's tell neither event nor inside address by
an element of its own: a template of starts and one of ends, the address behind the subscriber's
name. Which element means what is decision 0123.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.flows import V4_MAPPED
from collectors.netflow.gathering import Group
from collectors.netflow.headers import Rows
from collectors.netflow.layouts import Layout
from collectors.netflow.texts import Texts
from collectors.netflow.times import flow_times
from rating.addresses import pack_address

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]
Bools = NDArray[np.bool_]
Note = Callable[[int, str, int], None]
Pair = tuple[UInt64s, UInt64s]

CREATES = (1, 4, 6, 8, 10, 14, 16)
DELETES = (2, 5, 7, 9, 11, 15, 17)
"""natEvent: translation (historic), NAT44 and NAT64 session, BIB entry, address, port block."""
OF_BLOCKS = (16, 17)
OF_ADDRESSES = (14, 15)
HISTORIC = (1, 2)
"""natEvent of a whole address: always, and where neither port nor protocol is told."""
EXHAUSTED = (3, 12)
"""natEvent: addresses or ports exhausted."""
LIMITED = (13, 18)
"""natEvent: a quota exceeded, a threshold reached."""
_FIREWALL_CREATES = (1, 5)
_FIREWALL_DELETES = (2,)
"""firewallEvent: flow created, updated; flow deleted. Denied and alert translate nothing."""
_PUBLIC_REALM = 2
"""natOriginatingAddressRealm of a session that began outside: its destination is translated."""
_PORT_MAX = 65_535
_LOW = (1 << 64) - 1
NAME_OCTETS_MAX = 255
"""Longest subscriber's name of a NAT that is read."""


@dataclasses.dataclass(frozen=True, slots=True)
class NatEvents:
    """Events as columns of n entries; addresses are halves as in `Flows`, event_at ms since 1970.

    row indexes the datagrams' columns `rows`. The ports are first to last, step apart. The
    exporter's clock is corrected.
    """

    rows: Rows
    row: Int64s
    outside_high: UInt64s
    outside_low: UInt64s
    inside_high: UInt64s
    inside_low: UInt64s
    first: Int64s
    last: Int64s
    step: Int64s
    protocol: Int64s
    is_release: Bools
    event_at: Int64s

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.row)

    @property
    def origin(self) -> Int64s:
        """Return for each event the index of its exporter among the origins."""
        return self.rows.origin[self.row]

    @property
    def received_at(self) -> Int64s:
        """Return for each event when its datagram was received, ms since 1970."""
        return self.rows.received_at[self.row]

    def take(self, keep: Bools) -> NatEvents:
        """Return the events for which keep is true."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "rows"]
        return NatEvents(rows=self.rows, **{name: getattr(self, name)[keep] for name in names})


def nat_events(
    groups: Sequence[Group],
    rows: Rows,
    boot_times: Callable[[Group], Int64s],
    config: FlowDecodeConfig,
    note: Note,
) -> list[NatEvents]:
    """Return the events of the groups that tell of translations, one value per layout."""
    made = []
    for group in groups:
        if group.layout.is_translation and len(group.records):
            boot_at = boot_times(group)
            made.append(_Reader(group, rows, note).events(boot_at, config))
    return [events for events in made if len(events)]


class _Reader:
    """The records of one layout, on their way to events."""

    def __init__(self, group: Group, rows: Rows, note: Note) -> None:
        self._group = group
        self._rows = rows
        self._origin = rows.origin[group.row]
        self._note = note
        self._code = self.column("nat_event")
        has_event = self.layout.has("nat_event") or self.layout.has("event")
        self._is_named = "nat_subscriber" in self.layout.texts and not has_event

    @property
    def layout(self) -> Layout:
        return self._group.layout

    def column(self, name: str) -> Int64s:
        """Return a column as int64, zeros where the template has it not; what is too great is 0."""
        if not self.layout.has(name):
            return np.zeros(len(self._group.records), np.int64)
        wide = self.layout.read(self._group.records, name).astype(np.uint64)
        return np.where(wide < np.uint64(1 << 62), wide, np.uint64(0)).astype(np.int64)

    def events(self, boot_at: Int64s, config: FlowDecodeConfig) -> NatEvents:
        """Return the events of the group; what cannot be one is counted with a reason."""
        records, row = self._group.records, self._group.row
        creates, deletes = self._kinds()
        outside, inside, port = self._ends()
        first, last, step, is_sound = self._ports(port)
        start_at, end_at = flow_times(
            self.layout, records, self._rows.export_at[row], self._rows.uptime[row], boot_at
        )
        vrf = self.column("ingress_vrf")
        is_ours = np.ones(len(row), np.bool_)
        if config.nat_inside_vrfs and self.layout.has("ingress_vrf"):
            is_ours = np.isin(vrf, config.nat_inside_vrfs)
        is_event = creates | deletes
        translates = (outside[0] | outside[1]) != 0
        has_inside = (inside[0] | inside[1]) != 0
        usable = is_event & translates & has_inside & is_sound
        # Of a firewall, most sessions are not translated: their records say nothing of a NAT.
        told = is_event & (translates | (self._code != 0))
        self._count(told & ~usable, "nat_event_unusable")
        usable &= is_ours | creates
        whole = np.isin(self._code, OF_BLOCKS) | self._has_range()
        found = NatEvents(
            rows=self._rows,
            row=row,
            outside_high=outside[0],
            outside_low=outside[1],
            inside_high=np.where(is_ours, inside[0], np.uint64(0)),
            inside_low=np.where(is_ours, inside[1], np.uint64(0)),
            first=first,
            last=last,
            step=step,
            protocol=np.where(whole, 0, self.column("protocol")),
            is_release=deletes,
            event_at=np.where(deletes, end_at, start_at) - self._rows.skew[row],
        )
        return found.take(usable)

    def _kinds(self) -> tuple[Bools, Bools]:
        """Return which records give ports, and which take them back; others are counted."""
        if self._is_named:
            begins, ends = (self.layout.has(f"{which}_ms") for which in ("start", "end"))
            count = len(self._group.records)
            return np.full(count, begins and not ends), np.full(count, ends and not begins)
        if not self.layout.has("nat_event"):
            event = self.column("event")
            return np.isin(event, _FIREWALL_CREATES), np.isin(event, _FIREWALL_DELETES)
        code = self._code
        creates, deletes = np.isin(code, CREATES), np.isin(code, DELETES)
        exhausted, limited = np.isin(code, EXHAUSTED), np.isin(code, LIMITED)
        self._count(exhausted, "nat_exhausted")
        self._count(limited, "nat_limited")
        self._count(~(creates | deletes | exhausted | limited), "nat_event_unknown")
        return creates, deletes

    def _count(self, which: Bools, name: str) -> None:
        """Count records under their exporters."""
        for number, count in enumerate(np.bincount(self._origin[which]).tolist()):
            if count:
                self._note(number, name, count)

    def _ends(self) -> tuple[Pair, Pair, Int64s]:
        """Return outside address, inside address and outside port of each record.

        The source is translated; where it is not, or the session began outside, the destination
        is: then what the packet was sent to is the outside.
        """
        source, after = self._address("source"), self._address("nat_source")
        if self._is_named:
            # Without 225 the source is the outside address, and no element has its port.
            is_told = (after[0] | after[1]) != 0
            high, low = (np.where(is_told, a, s) for a, s in zip(after, source, strict=True))
            port = np.where(is_told, self.column("nat_source_port"), 0)
            return (high, low), self._named_inside(), port
        target, behind = self._address("destination"), self._address("nat_destination")
        port, port_after = self.column("source_port"), self.column("nat_source_port")
        target_port, port_behind = (
            self.column("destination_port"), self.column("nat_destination_port"),
        )  # fmt: skip
        from_source = _differs(source, after, port, port_after)
        from_target = _differs(target, behind, target_port, port_behind)
        began_outside = self.column("nat_realm") == _PUBLIC_REALM
        if self.layout.has("nat_event"):
            # A NAT may keep an address and a port as they are: it tells of a translation still.
            from_source = (after[0] | after[1]) != 0
        backwards = from_target & (began_outside | ~from_source)
        forwards = from_source & ~backwards
        outside = tuple(
            np.where(forwards, a, np.where(backwards, b, np.uint64(0)))
            for a, b in zip(after, target, strict=True)
        )
        inside = tuple(np.where(backwards, b, a) for a, b in zip(source, behind, strict=True))
        outside_port = np.where(backwards, target_port, port_after)
        return (outside[0], outside[1]), (inside[0], inside[1]), outside_port

    def _named_inside(self) -> Pair:
        """Return the inside addresses behind the subscribers' names, 0 where there is none."""
        names = Texts(_address_behind, NAME_OCTETS_MAX)
        numbers = names.numbers(self._group, "nat_subscriber")
        known = [int.from_bytes(pack_address(t) if t else b"", "big") for t in names.known]
        high = np.array([address >> 64 for address in known], np.uint64)
        low = np.array([address & _LOW for address in known], np.uint64)
        return high[numbers], low[numbers]

    def _address(self, end: str) -> Pair:
        """Return an end's address as halves, 0 where there is none."""
        count = len(self._group.records)
        high, low = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
        if self.layout.has(f"{end}_v6"):
            high[:], low[:] = self.layout.read_pieces(self._group.records, f"{end}_v6")
        if self.layout.has(f"{end}_v4"):
            v4 = self.layout.read(self._group.records, f"{end}_v4").astype(np.uint64)
            use = v4 != 0
            high[use], low[use] = 0, v4[use] | V4_MAPPED
        return high, low

    def _has_range(self) -> Bools:
        """Return which records tell a range of ports; 0 is "not specified" (elements 361-364)."""
        is_told: Bools = (self.column("port_first") | self.column("port_last")) != 0
        return is_told

    def _ports(self, port: Int64s) -> tuple[Int64s, Int64s, Int64s, Bools]:
        """Return first and last port, the step between them, and whether that can be."""
        first, last = self.column("port_first"), self.column("port_last")
        count, step = self.column("port_count"), np.maximum(self.column("port_step"), 1)
        in_range = self._has_range()
        spans = np.where(last > 0, last, first + np.maximum(count - 1, 0) * step)
        no_end = in_range & (last == 0) & (count == 0)
        is_bare = (port == 0) & (self.column("protocol") == 0) & np.isin(self._code, HISTORIC)
        of_all = ~in_range & (np.isin(self._code, OF_ADDRESSES) | is_bare)
        of_port = ~in_range & ~of_all
        first = np.where(in_range, first, np.where(of_all, 0, port))
        last = np.where(in_range, spans, np.where(of_all, _PORT_MAX, port))
        unsaid = (of_port & (port == 0)) | no_end | (of_port & np.isin(self._code, OF_BLOCKS))
        is_sound = ~unsaid & (first <= last) & (last <= _PORT_MAX)
        step = np.where(in_range & (step <= last - first), step, 1)
        return first, last, step, is_sound


def _address_behind(name: bytes) -> str:
    """Return the address behind the last @ of a name, as text; "" where there is none."""
    text = name.strip(b" \0").rpartition(b"@")[2].decode("ascii", "replace")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _differs(before: Pair, after: Pair, port: Int64s, port_after: Int64s) -> Bools:
    """Return which ends are translated: another address, or another port, neither of them 0."""
    is_told: Bools = (after[0] | after[1]) != 0
    other = (before[0] != after[0]) | (before[1] != after[1])
    differs: Bools = is_told & (other | ((port_after != 0) & (port_after != port)))
    return differs
