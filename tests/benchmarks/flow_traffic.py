"""Generated export traffic: v5, v9 and IPFIX of an ISP's lines, the same for every collector.

Each record has one end among the lines (100.64.0.0/10) and the other among servers elsewhere, so
that a collector that aggregates per address has as many addresses as it would have in the field. A
line is behind one exporter, and each exporter has its share of the lines.
Nothing here is of `collectors.netflow`: headers, sets and records are written by hand.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import Datagram, encode_datagrams
from tests.collectors.netflow import exports
from tests.collectors.netflow.exports import Field

Protocol = Literal["v5", "v9", "ipfix"]
PROTOCOLS: tuple[Protocol, ...] = ("v5", "v9", "ipfix")
Int64s = NDArray[np.int64]

RECORDS_PER_DATAGRAM = 24
OWN_FIRST = 0x64400000
"""100.64.0.0: the first address of the lines."""
SERVERS_FIRST = 0xC6120000
"""198.18.0.0: the first address of the servers."""
BLOCK_OCTETS = 524_288

V5_FIELDS: tuple[Field, ...] = (
    (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2),
    (11, 2), (210, 1), (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (210, 2),
)  # fmt: skip
"""NetFlow v5's record as if it were a template (210: padding)."""

V9_FIELDS: tuple[Field, ...] = (
    (8, 4), (12, 4), (15, 4), (10, 4), (14, 4), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2),
    (11, 2), (6, 1), (4, 1), (5, 1), (16, 4), (17, 4), (9, 1), (13, 1), (61, 1),
)  # fmt: skip
"""The usual template of a router: 51 octets a record."""

IPFIX_FIELDS: tuple[Field, ...] = (
    (8, 4), (12, 4), (10, 4), (14, 4), (2, 8), (1, 8), (152, 8), (153, 8), (7, 2), (11, 2),
    (6, 1), (4, 1), (5, 1), (16, 4), (17, 4), (61, 1),
)  # fmt: skip

FIELDS: Mapping[Protocol, tuple[Field, ...]] = {
    "v5": V5_FIELDS, "v9": V9_FIELDS, "ipfix": IPFIX_FIELDS,
}  # fmt: skip
_SEQUENCE_AT = {"v5": 16, "v9": 12, "ipfix": 8}
_EXPORT_TIME_AT = {"v5": 8, "v9": 8, "ipfix": 4}
"""Where a header has its sequence number and its export time (seconds since 1970)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What the traffic looks like: who sends it, by how many templates of how many layouts.

    templates and lines are those of all exporters, at least one each; burst is how many datagrams
    of one exporter stand in a row; each template comes again after `refresh` datagrams of its
    exporter.
    """

    protocol: Protocol = "v9"
    flows: int = 240_000
    exporters: int = 4
    templates: int = 4
    layouts: int = 1
    lines: int = 5_000
    servers: int = 4_096
    burst: int = 8
    refresh: int = 500
    seed: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """Datagrams in sending order, one after another in one buffer, and what they sum up to.

    payload: uint8 of all; offsets, lengths, exporters, sequence: int64 per datagram;
    sequence_step: int64 per exporter, how far its number moves on over all of them; instants: where
    in payload an absolute time (u64 ms) is, and at_ms what it is at `exports.EXPORTED_AT`;
    octets_of: int64 per datagram, the sum of its records.
    """

    shape: Shape
    payload: NDArray[np.uint8]
    offsets: Int64s
    lengths: Int64s
    exporters: Int64s
    sequence: Int64s
    sequence_step: Int64s
    instants: Int64s
    at_ms: Int64s
    octets_of: Int64s

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def flows(self) -> int:
        return len(self) * RECORDS_PER_DATAGRAM

    def again(self, turn: int, export_seconds: int = exports.EXPORTED_AT) -> None:
        """Write the headers of the turn-th repetition (0 is the first), exported at an instant.

        No two repetitions have a datagram in common: a collector would take it for a duplicate.
        """
        protocol = self.shape.protocol
        numbers = self.sequence + turn * self.sequence_step[self.exporters]
        _write(self.payload, self.offsets + _SEQUENCE_AT[protocol], numbers, 4)
        seconds = np.full(len(self), export_seconds, np.int64)
        _write(self.payload, self.offsets + _EXPORT_TIME_AT[protocol], seconds, 4)
        if len(self.instants):
            shift_ms = 1000 * (export_seconds - exports.EXPORTED_AT)
            _write(self.payload, self.instants, self.at_ms + shift_ms, 8)

    def datagram(self, index: int, received_at: int = exports.EXPORTED_AT * 1000) -> Datagram:
        """Return one datagram as the receiver would have it."""
        first = int(self.offsets[index])
        payload = self.payload[first : first + int(self.lengths[index])].tobytes()
        source = exports.mapped(source_address(int(self.exporters[index])))
        return Datagram(received_at, source, 50_000, 2055, payload)

    def blocks(self, received_at: int = exports.EXPORTED_AT * 1000) -> list[bytes]:
        """Return the datagrams as block bodies of about BLOCK_OCTETS, received at an instant."""
        per_block = max(1, BLOCK_OCTETS // int(self.lengths.mean()))
        return [
            encode_datagrams(
                [
                    self.datagram(n, received_at)
                    for n in range(first, min(first + per_block, len(self)))
                ]
            )
            for first in range(0, len(self), per_block)
        ]


def source_address(exporter: int) -> str:
    """Return the loopback address that an exporter sends from."""
    return f"127.1.{exporter // 250}.{1 + exporter % 250}"


def _write(payload: NDArray[np.uint8], at: Int64s, values: Int64s, octets: int) -> None:
    """Write numbers of so many octets, big endian, at places of the payload."""
    wide = values.astype(">u8").view(np.uint8).reshape(len(values), 8)
    payload[at[:, None] + np.arange(octets)] = wide[:, 8 - octets :]


def _values(shape: Shape, exporters: Int64s, chance: np.random.Generator) -> dict[int, Int64s]:
    """Return element -> values of the flows of these exporters, plausible in size and time."""
    now, count = exports.EXPORTED_AT * 1000, len(exporters)
    nth = chance.integers(0, shape.lines // shape.exporters, count)
    lines = OWN_FIRST + nth * shape.exporters + exporters
    servers = SERVERS_FIRST + chance.integers(0, shape.servers, count)
    is_down = chance.random(count) < 0.7
    limits = {
        1: (40, 1_500_000), 2: (1, 1_000), 22: (exports.UPTIME - 60_000, exports.UPTIME - 1_000),
        21: (exports.UPTIME - 1_000, exports.UPTIME), 152: (now - 60_000, now - 1_000),
        153: (now - 1_000, now), 61: (0, 2), 10: (1, 48), 14: (1, 48), 9: (8, 25),
        13: (8, 25), 210: (0, 1),
    }  # fmt: skip
    values = {8: np.where(is_down, servers, lines), 12: np.where(is_down, lines, servers)}
    values[4] = np.where(chance.random(count) < 0.8, 6, 17)
    for element, *_ in FIELDS[shape.protocol]:
        if element not in values:
            values[element] = chance.integers(*limits.get(element, (0, 65_536)), count)
    return values


def layout(protocol: Protocol, number: int) -> tuple[Field, ...]:
    """Return the number-th order of a protocol's fields: no two below twice their count agree."""
    fields = FIELDS[protocol]
    turned = fields[number % len(fields) :] + fields[: number % len(fields)]
    return turned if number < len(fields) else turned[::-1]


def _records(
    shape: Shape, layouts: Int64s, exporters: Int64s, chance: np.random.Generator
) -> tuple[NDArray[np.uint8], dict[int, Int64s]]:
    """Return each datagram's records (uint8 [n, octets]), laid out as told, and their values."""
    values = _values(shape, np.repeat(exporters, RECORDS_PER_DATAGRAM), chance)
    size = sum(octets for _, octets, *_ in FIELDS[shape.protocol])
    records = np.empty((len(layouts), RECORDS_PER_DATAGRAM, size), np.uint8)
    for number in np.unique(layouts).tolist():
        mine = np.flatnonzero(layouts == number)
        at = 0
        for element, octets, *_ in layout(shape.protocol, number):
            column = values[element].reshape(len(layouts), RECORDS_PER_DATAGRAM)[mine]
            wide = column.astype(">u8").view(np.uint8).reshape(*column.shape, 8)
            records[mine, :, at : at + octets] = wide[:, :, 8 - octets :]
            at += octets
    return records.reshape(len(layouts), -1), values


def _head(protocol: Protocol, template_id: int, fields: tuple[Field, ...] | None) -> bytes:
    """Return what stands before a data set's records, the template too where fields are given."""
    size = sum(octets for _, octets, *_ in FIELDS[protocol])
    octets = RECORDS_PER_DATAGRAM * size
    count = RECORDS_PER_DATAGRAM
    if protocol == "v5":
        head = (5, count, exports.UPTIME, exports.EXPORTED_AT, 0, 0, 0, 0, 0)
        return struct.pack(">HHIIIIBBH", *head)
    version = 9 if protocol == "v9" else 10
    sets = struct.pack(">HH", template_id, 4 + octets)
    if fields is not None:
        sets = exports.template(template_id, fields, version=version) + sets
        count += 1  # RFC 3954 §5.1: records, those of templates too.
    if protocol == "v9":
        return struct.pack(">HHIIII", 9, count, exports.UPTIME, exports.EXPORTED_AT, 0, 7) + sets
    length = 16 + len(sets) + octets
    return struct.pack(">HHIII", 10, length, exports.EXPORTED_AT, 0, 7) + sets


def generate(shape: Shape) -> Traffic:
    """Return the traffic of a shape: the same one for the same shape."""
    chance = np.random.default_rng(shape.seed)
    count = shape.flows // RECORDS_PER_DATAGRAM
    numbers = np.arange(count)
    exporters = numbers // shape.burst % shape.exporters
    turns = numbers // (shape.burst * shape.exporters) * shape.burst + numbers % shape.burst
    per_exporter = max(1, shape.templates // shape.exporters)
    templates = turns % per_exporter
    # NetFlow v5 has one layout, whatever the shape says.
    layouts = (exporters * per_exporter + templates) % (
        1 if shape.protocol == "v5" else shape.layouts
    )
    every = max(1, shape.refresh // per_exporter)
    is_announced = (turns // per_exporter) % every == 0
    records, values = _records(shape, layouts, exporters, chance)
    datagrams = []
    for number in range(count):
        fields = layout(shape.protocol, int(layouts[number])) if is_announced[number] else None
        head = _head(shape.protocol, 256 + int(templates[number]), fields)
        datagrams.append(head + records[number].tobytes())
    lengths = np.array([len(datagram) for datagram in datagrams], np.int64)
    offsets = np.cumsum(lengths) - lengths
    unit = 1 if shape.protocol == "v9" else RECORDS_PER_DATAGRAM
    instants, at_ms = _instants(shape, (offsets, lengths, layouts), values)
    return Traffic(
        shape=shape,
        payload=np.frombuffer(b"".join(datagrams), np.uint8).copy(),
        offsets=offsets,
        lengths=lengths,
        exporters=exporters,
        sequence=turns * unit,
        sequence_step=unit * np.bincount(exporters, minlength=shape.exporters),
        instants=instants,
        at_ms=at_ms,
        octets_of=values[1].reshape(count, RECORDS_PER_DATAGRAM).sum(axis=1),
    )


def _instants(
    shape: Shape, placed: tuple[Int64s, Int64s, Int64s], values: Mapping[int, Int64s]
) -> tuple[Int64s, Int64s]:
    """Return where absolute times are, and what they are; placed: offsets, lengths, layouts."""
    offsets, lengths, layouts = placed
    size = sum(octets for _, octets, *_ in FIELDS[shape.protocol])
    first = offsets + lengths - RECORDS_PER_DATAGRAM * size
    starts = first[:, None] + size * np.arange(RECORDS_PER_DATAGRAM)
    places, instants = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for element in (152, 153):
        if element not in values:
            continue
        within = np.array([_place(shape.protocol, number, element) for number in range(40)])
        places.append((starts + within[layouts][:, None]).ravel())
        instants.append(values[element])
    return np.concatenate(places), np.concatenate(instants)


def _place(protocol: Protocol, number: int, element: int) -> int:
    """Return where in a record of a layout an element begins."""
    at = 0
    for other, octets, *_ in layout(protocol, number):
        if other == element:
            return at
        at += octets
    raise KeyError(element)
