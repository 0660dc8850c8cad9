"""Decoded flows as columns, and how a layout's records are written into them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.elements import ADDRESSES
from collectors.netflow.headers import Rows
from collectors.netflow.layouts import COUNTERS, Layout
from collectors.netflow.times import flow_times
from rating.classes import Application

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]

V4_MAPPED = np.uint64(0xFFFF_0000_0000)
"""Low 64 bits of ``::ffff:0.0.0.0`` (RFC 4291 §2.5.5.2)."""

NO_DIRECTION = 255
"""Direction of a record without element 61 (0 is ingress, 1 is egress)."""

_DEFAULTS: dict[str, tuple[Any, int]] = {
    "octets": (np.int64, 0),
    "packets": (np.int64, 0),
    "octets_reverse": (np.int64, 0),
    "packets_reverse": (np.int64, 0),
    "protocol": (np.uint8, 0),
    "source_port": (np.uint16, 0),
    "destination_port": (np.uint16, 0),
    "nat_source_port": (np.uint16, 0),
    "nat_destination_port": (np.uint16, 0),
    "tos": (np.uint8, 0),
    "direction": (np.uint8, NO_DIRECTION),
    "source_as": (np.uint32, 0),
    "destination_as": (np.uint32, 0),
}
_RULED: dict[str, Any] = {
    "ingress_interface": np.uint32,
    "egress_interface": np.uint32,
    "running": np.uint8,
    "flow_key": np.uint64,
    "order": np.int64,
}
"""_DEFAULTS: columns copied as they are read: dtype, and the value where a template has no such
element. _RULED: columns that `volume` fills where a rule of counting asks for them, else 0."""


@dataclasses.dataclass(frozen=True, slots=True)
class Flows:
    """Flow records as columns of n entries; octets and packets are as exported, unscaled.

    row indexes `rows`, the datagrams' columns (receive time, exporter through `rows.origin`).
    <end>_high and <end>_low are an address's 16 octets as two uint64 (IPv4 as ::ffff:a.b.c.d, no
    address: 0, 0); the nat_ ends are the post-NAT addresses (225, 226, 281, 282) and ports (227,
    228), 0 where absent.
    tos is the whole octet (DSCP is its upper six bits). user_name indexes user_names, the different
    names of the batch, of which the first is "": no name; application likewise applications.
    start_at <= end_at are ms since 1970 by the exporter's clock; `times` are by ours.
    rate_numerator / rate_denominator is the sampling rate, 1 where not known.
    ingress_interface and egress_interface (elements 10, 14; 0: unknown) are there where settings
    name interfaces of the exporter. running is not 0 where counters go on from record to record
    (`running`: the kind); then flow_key tells the flow, and order the place of its set in time.
    """

    rows: Rows
    row: Int64s
    octets: Int64s
    packets: Int64s
    octets_reverse: Int64s
    packets_reverse: Int64s
    protocol: NDArray[np.uint8]
    source_port: NDArray[np.uint16]
    destination_port: NDArray[np.uint16]
    nat_source_port: NDArray[np.uint16]
    nat_destination_port: NDArray[np.uint16]
    tos: NDArray[np.uint8]
    direction: NDArray[np.uint8]
    source_as: NDArray[np.uint32]
    destination_as: NDArray[np.uint32]
    source_high: UInt64s
    source_low: UInt64s
    destination_high: UInt64s
    destination_low: UInt64s
    nat_source_high: UInt64s
    nat_source_low: UInt64s
    nat_destination_high: UInt64s
    nat_destination_low: UInt64s
    start_at: Int64s
    end_at: Int64s
    rate_numerator: Int64s
    rate_denominator: Int64s
    rate_known: NDArray[np.bool_]
    ingress_interface: NDArray[np.uint32]
    egress_interface: NDArray[np.uint32]
    running: NDArray[np.uint8]
    flow_key: UInt64s
    order: Int64s
    user_name: NDArray[np.uint32]
    application: NDArray[np.uint32]
    user_names: tuple[str, ...] = ("",)
    applications: tuple[Application, ...] = (Application(),)

    def __len__(self) -> int:
        """Return the number of flow records."""
        return len(self.row)

    @property
    def origin(self) -> Int64s:
        """Return for each flow the index of its exporter among the origins."""
        return self.rows.origin[self.row]

    @property
    def received_at(self) -> Int64s:
        """Return for each flow when its datagram was received, ms since 1970."""
        return self.rows.received_at[self.row]

    def times(self) -> tuple[Int64s, Int64s]:
        """Return start and end of each flow, the exporter's clock corrected, ms since 1970."""
        if not self.rows.skew.any():
            return self.start_at, self.end_at
        skew = self.rows.skew[self.row]
        return self.start_at - skew, self.end_at - skew

    def scaled(self, values: Int64s) -> Int64s:
        """Return a column of octets or packets times the sampling rate, rounded half up."""
        if (self.rate_denominator == 1).all():
            is_whole = (self.rate_numerator == 1).all()
            return values if is_whole else values * self.rate_numerator
        # In two parts: the product of all three can pass 64 bits where their result does not.
        quotient, rest = np.divmod(values, self.rate_denominator)
        rounded = 2 * rest * self.rate_numerator + self.rate_denominator
        return quotient * self.rate_numerator + rounded // (2 * self.rate_denominator)

    def take(self, keep: NDArray[np.bool_]) -> Flows:
        """Return the flows for which keep is true."""
        columns: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            column = getattr(self, field.name)
            if isinstance(column, np.ndarray):
                columns[field.name] = column[keep]
        return dataclasses.replace(self, **columns)


def join_flows(parts: Sequence[Flows]) -> Flows:
    """Return the parts of one block as one; there is at least one part."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Flows)
        if isinstance(getattr(parts[0], field.name), np.ndarray)
    }
    columns["user_name"], users = _joined(parts, "user_name", "user_names")
    columns["application"], told = _joined(parts, "application", "applications")
    return dataclasses.replace(parts[0], user_names=users, applications=told, **columns)


def _joined(
    parts: Sequence[Flows], column: str, table: str
) -> tuple[NDArray[np.uint32], tuple[Any, ...]]:
    """Return a column that indexes a table of its part, as one of a table of all."""
    numbers: dict[Any, int] = {}
    joined = []
    for part in parts:
        own = [numbers.setdefault(value, len(numbers)) for value in getattr(part, table)]
        joined.append(np.array(own, np.uint32)[getattr(part, column)])
    return np.concatenate(joined), tuple(numbers)


def empty_columns(count: int) -> dict[str, NDArray[Any]]:
    """Return the columns of `count` flows, still without content (zeros), except rates and times.

    Zeros come untouched from the system, so a column that no template fills costs nothing.
    """
    columns: dict[str, NDArray[Any]] = {
        name: np.zeros(count, dtype) for name, (dtype, _) in _DEFAULTS.items()
    }
    columns |= {name: np.zeros(count, dtype) for name, dtype in _RULED.items()}
    for end in ADDRESSES:
        columns[f"{end}_high"] = np.zeros(count, np.uint64)
        columns[f"{end}_low"] = np.zeros(count, np.uint64)
    for name in ("row", "start_at", "end_at"):
        columns[name] = np.empty(count, np.int64)
    columns["rate_numerator"] = np.ones(count, np.int64)
    columns["rate_denominator"] = np.ones(count, np.int64)
    columns["rate_known"] = np.zeros(count, np.bool_)
    columns["user_name"] = np.zeros(count, np.uint32)
    columns["application"] = np.zeros(count, np.uint32)
    return columns


def fill_columns(
    columns: dict[str, NDArray[Any]],
    part: slice,
    layout: Layout,
    records: NDArray[np.void],
    context: tuple[Rows, Int64s, Int64s],
) -> None:
    """Write the records of one layout into their part of the columns.

    context is the datagrams' columns, each record's row in them, and each record's announced boot
    time (ms, 0: none).
    """
    rows, row, boot_at = context
    columns["row"][part] = row
    for name, (_, default) in _DEFAULTS.items():
        if layout.has(name):
            columns[name][part] = _sound(name, layout.read(records, name))
        elif default:
            columns[name][part] = default
    if layout.has("dscp") and not layout.has("tos"):
        columns["tos"][part] = (layout.read(records, "dscp") & 0x3F) << 2
    for end in ADDRESSES:
        _fill_address(columns, part, layout, records, end)
    columns["start_at"][part], columns["end_at"][part] = flow_times(
        layout, records, rows.export_at[row], rows.uptime[row], boot_at
    )


def _sound(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return counters so that what exceeds int64 is -1, to be refused as implausible."""
    if name in COUNTERS and values.dtype.itemsize == 8:
        wide: Int64s = values.astype(np.int64)
        return np.maximum(wide, -1)
    return values


def _fill_address(
    columns: dict[str, NDArray[Any]],
    part: slice,
    layout: Layout,
    records: NDArray[np.void],
    end: str,
) -> None:
    """Write one end's address; where a template has both families, the one that is not zero."""
    high, low = columns[f"{end}_high"][part], columns[f"{end}_low"][part]
    if layout.has(f"{end}_v6"):
        high[:], low[:] = layout.read_pieces(records, f"{end}_v6")
    if not layout.has(f"{end}_v4"):
        return
    v4 = layout.read(records, f"{end}_v4")
    if layout.has(f"{end}_v6"):
        use = (v4 != 0) | ((high == 0) & (low == 0))
        high[use] = 0
        low[use] = v4[use].astype(np.uint64) | V4_MAPPED
    else:
        low[:] = v4
        low |= V4_MAPPED


def implausible(flows: Flows, limit: int) -> NDArray[np.bool_] | None:
    """Return which flows have a counter that, scaled, is beyond the limit; None where none has."""
    if not len(flows):
        return None
    highest = float(flows.rate_numerator.max())
    absurd: NDArray[np.bool_] | None = None
    for name in COUNTERS:
        values = getattr(flows, name)
        if float(values.max()) * highest <= limit and values.min() >= 0:
            continue
        wide = values.astype(np.float64) * flows.rate_numerator / flows.rate_denominator
        beyond = (wide > limit) | (values < 0)
        absurd = beyond if absurd is None else absurd | beyond
    return absurd if absurd is not None and absurd.any() else None
