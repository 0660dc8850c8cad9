"""The data sets of one layout, from all datagrams and exporters, as one array of records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collectors.datagrams import DatagramBlock
from collectors.netflow.headers import Rows
from collectors.netflow.layouts import Layout, layout_of
from collectors.netflow.learning import Learned, Resolution
from collectors.netflow.sets import Sets
from collectors.netflow.state import HeldSet, split_session_key
from collectors.netflow.variable import normalise

Int64s = NDArray[np.int64]
Note = Callable[[int, str, int], None]


@dataclasses.dataclass(frozen=True, slots=True)
class DataSets:
    """Data sets as columns, int64 [m], over one buffer.

    row indexes rows; start and length bound the body in payload; layout indexes layouts (-1: not
    data, or no template); order is the place in time at which templates and rates are looked up.
    """

    payload: bytes | memoryview
    rows: Rows
    layouts: list[Layout]
    row: Int64s
    start: Int64s
    length: Int64s
    layout: Int64s
    order: Int64s

    @classmethod
    def of(cls, block: DatagramBlock, sets: Sets, resolution: Resolution, rows: Rows) -> DataSets:
        """Return the data sets of a block."""
        return cls(
            payload=block.payload,
            rows=rows,
            layouts=resolution.layouts,
            row=sets.row,
            start=sets.start,
            length=sets.length,
            layout=resolution.layout,
            order=resolution.order,
        )

    def by_kind(self) -> tuple[Int64s, Int64s]:
        """Return the indices of the sets of option records, and of all other sets."""
        kinds = np.array([*(layout.is_options for layout in self.layouts), False])
        is_options = kinds[self.layout]  # -1, no layout, is the last.
        return np.flatnonzero(is_options), np.flatnonzero(~is_options)

    def parts(self, chosen: Int64s, records_max: int) -> Iterator[Int64s]:
        """Yield the chosen sets in parts of at most records_max records, or of one set.

        There is at least one part.
        """
        octets = np.array([*(max(1, layout.record_octets) for layout in self.layouts), 1 << 16])
        records = np.cumsum(self.length[chosen] // octets[self.layout[chosen]])
        first = taken = 0
        while first < len(chosen) and int(records[-1]) - taken > records_max:
            last = int(np.searchsorted(records, taken + records_max, side="right"))
            last = max(last, first + 1)
            yield chosen[first:last]
            first, taken = last, int(records[last - 1])
        if first < len(chosen) or first == 0:
            yield chosen[first:]

    def take(self, place: Int64s) -> DataSets:
        """Return some of the sets, over the same buffer."""
        return dataclasses.replace(
            self,
            row=self.row[place],
            start=self.start[place],
            length=self.length[place],
            layout=self.layout[place],
            order=self.order[place],
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Records of one layout: void [n], with each record's row and order, int64 [n].

    payload is what the places of variable texts count in.
    """

    layout: Layout
    records: NDArray[np.void]
    row: Int64s
    order: Int64s
    payload: bytes | memoryview


def join_released(
    data: DataSets,
    released: Sequence[tuple[HeldSet, int, int]],
    origin_of: Callable[[str, int], tuple[int, int]],
    learned: Learned,
) -> DataSets:
    """Return the data sets with those that had waited for a template, behind the others.

    Each counts at the order of its template and brings its own datagram's columns as a new row.
    """
    if not released:
        return data
    layouts = list(data.layouts)
    places: dict[tuple[int, int], int] = {}
    extra: list[tuple[int, ...]] = []
    set_columns: list[tuple[int, int, int, int, int]] = []
    position = len(data.payload)
    for held, session, order in released:
        place = places.get((session, held.template_id))
        if place is None:
            version = split_session_key(held.session)[1]
            template = learned.versions[session, held.template_id][1][0]
            assert template is not None, "a withdrawal is never the first"
            layout = layout_of(version, template.is_options, template.definition)
            if layout not in layouts:
                layouts.append(layout)
            place = places[session, held.template_id] = layouts.index(layout)
        number, index = origin_of(held.session, held.source_port)
        extra.append((number, index, held.received_at, held.export_at, held.uptime, held.skew))
        row = len(data.rows.origin) + len(extra) - 1
        set_columns.append((row, position, len(held.body), place, order))
        position += len(held.body)
    added = np.array(extra, np.int64).T
    joined = np.array(set_columns, np.int64).T
    rows = data.rows
    return DataSets(
        payload=b"".join([data.payload, *(held.body for held, _, _ in released)]),
        rows=Rows(
            origin=np.concatenate([rows.origin, added[0]]),
            session=np.concatenate([rows.session, added[1]]),
            received_at=np.concatenate([rows.received_at, added[2]]),
            export_at=np.concatenate([rows.export_at, added[3]]),
            uptime=np.concatenate([rows.uptime, added[4]]),
            header_rate=np.concatenate([rows.header_rate, np.zeros(len(extra), np.int64)]),
            skew=np.concatenate([rows.skew, added[5]]),
        ),
        layouts=layouts,
        row=np.concatenate([data.row, joined[0]]),
        start=np.concatenate([data.start, joined[1]]),
        length=np.concatenate([data.length, joined[2]]),
        layout=np.concatenate([data.layout, joined[3]]),
        order=np.concatenate([data.order, joined[4]]),
    )


def gather(data: DataSets, note: Note) -> tuple[list[Group], Int64s]:
    """Return the records by layout, and how many records each set held, int64 [m]."""
    counts = np.zeros(len(data.row), np.int64)
    groups: list[Group] = []
    by_layout = np.argsort(data.layout, kind="stable")
    bounds = np.searchsorted(data.layout[by_layout], np.arange(len(data.layouts) + 1))
    for index, layout in enumerate(data.layouts):
        place = by_layout[bounds[index] : bounds[index + 1]]
        if not len(place):
            continue
        if layout.record_octets == 0:
            for row in data.row[place].tolist():
                note(int(data.rows.origin[row]), "record_length_zero", 1)
            continue
        if layout.stretches:
            body, counts[place] = _normalised(data, layout, place, note)
        else:
            counts[place] = data.length[place] // layout.record_octets
            ends = data.start[place] + counts[place] * layout.record_octets
            body = _cut_out(data.payload, data.start[place], ends)
        groups.append(
            Group(
                layout=layout,
                records=np.frombuffer(body, layout.dtype),
                row=np.repeat(data.row[place], counts[place]),
                order=np.repeat(data.order[place], counts[place]),
                payload=data.payload,
            )
        )
    return groups, counts


def _cut_out(payload: bytes | memoryview, starts: Int64s, ends: Int64s) -> pa.Buffer | bytes:
    """Return stretches of a payload one after another; they lie in it in order.

    To Arrow they are every second value of one array, whose others lie between them.
    """
    bounds = np.stack([starts, ends], axis=1).ravel()
    values = pa.Array.from_buffers(
        pa.large_binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), pa.py_buffer(payload)]
    )
    return values.take(pa.array(np.arange(0, len(bounds), 2))).buffers()[2] or b""


def _normalised(data: DataSets, layout: Layout, place: Int64s, note: Note) -> tuple[bytes, Int64s]:
    """Return the normalised records of variable-length sets, and each set's record count."""
    start = data.start[place]
    bounds = (start, start + data.length[place])
    found = normalise(layout, np.frombuffer(data.payload, np.uint8), bounds)
    for row in data.row[place[found.is_cut]].tolist():
        note(int(data.rows.origin[row]), "record_truncated", 1)
    return found.octets, found.counts
