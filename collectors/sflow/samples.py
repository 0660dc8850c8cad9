"""The samples of many sFlow datagrams at once: what each is, and the heads of flow samples.

sFlow v5 §5: flow_sample (1), counters_sample (2), and both expanded (3, 4), whose source and
interfaces are words of their own; discarded_packet (5, sFlow Discarded Packets §3) reports what
was dropped and is never traffic. An enterprise's own samples are stepped over.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from collectors.sflow.octets import Items, Octets, walk_items

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

FLOW, COUNTERS, EXPANDED_FLOW, EXPANDED_COUNTERS, DROP = 1, 2, 3, 4, 5
"""Data formats of samples, of enterprise 0."""

INTERFACE = 0
"""Type of a source that is an interface (sFlow v5 §5, sflow_data_source: ifIndex)."""

INTERNAL = 0x3FFF_FFFF
"""An output (of format 0) that is the router itself."""

IS_DISCARDED, IS_MULTIPLE = 1, 2
"""Formats of an output: the packet was discarded (and why), or went out on several interfaces."""

_FLOW = np.dtype(
    [(name, ">u4") for name in ("sequence", "source", "rate", "pool", "drops", "input", "output",
                                "records")]
)  # fmt: skip
_EXPANDED_FLOW = np.dtype(
    [(name, ">u4") for name in ("sequence", "source_type", "source", "rate", "pool", "drops",
                                "input_format", "input", "output_format", "output", "records")]
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class FlowSamples:
    """Flow samples as columns, int64 [n], in arrival order.

    row is the datagram's index in the block. source is type << 32 | index of what was sampled,
    sequence counts its samples; rate is packets per sample (0: not told), drops the samples that
    the agent lost so far. input and output are ifIndex, with a format other than 0 above 32 bits.
    records is how many records the sample counts; they lie between start and end.
    """

    row: Int64s
    sequence: Int64s
    source: Int64s
    rate: Int64s
    drops: Int64s
    input: Int64s
    output: Int64s
    records: Int64s
    start: Int64s
    end: Int64s

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.row)

    @property
    def is_discarded(self) -> Bools:
        """Return which samples are of packets that went nowhere."""
        discarded: Bools = self.output >> 32 == IS_DISCARDED
        return discarded

    def take(self, chosen: Int64s | slice | Bools) -> FlowSamples:
        """Return some of the samples."""
        columns = {f.name: getattr(self, f.name)[chosen] for f in dataclasses.fields(self)}
        return FlowSamples(**columns)


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """What datagrams hold: flow samples, and the datagram of each of the others, int64.

    refused holds (datagram, reason) of what is not read, or read in spite of something wrong.
    """

    flows: FlowSamples
    counters: Int64s
    drops: Int64s
    refused: tuple[tuple[int, str], ...]


def read_samples(
    octets: Octets, lists: tuple[Int64s, Int64s, Int64s, Int64s], limit: int
) -> Samples:
    """Return the samples of datagrams; lists is their rows, starts, ends and counts of samples."""
    row, start, end, count = lists
    items = walk_items(octets, start, end, count, limit)
    flows, is_cut = _flow_samples(octets, items)
    known = np.isin(items.kind, (FLOW, COUNTERS, EXPANDED_FLOW, EXPANDED_COUNTERS, DROP))
    refused = (
        *_reasons(row[items.cut], "sflow_sample_overruns"),
        *_reasons(row[items.short], "sflow_count_mismatch"),
        *_reasons(row[items.beyond], "samples_per_datagram_limit"),
        *_reasons(row[items.owner[~known]], "sflow_sample_unknown"),
        *_reasons(row[items.owner[is_cut]], "sflow_sample_truncated"),
    )
    return Samples(
        flows=dataclasses.replace(flows, row=row[flows.row]),
        counters=row[items.owner[np.isin(items.kind, (COUNTERS, EXPANDED_COUNTERS))]],
        drops=row[items.owner[items.kind == DROP]],
        refused=refused,
    )


def _flow_samples(octets: Octets, items: Items) -> tuple[FlowSamples, Bools]:
    """Return the flow samples, row being the item's owner, and which items are shorter than one."""
    is_expanded = items.kind == EXPANDED_FLOW
    is_flow = (items.kind == FLOW) | is_expanded
    head_octets = np.where(is_expanded, _EXPANDED_FLOW.itemsize, _FLOW.itemsize)
    is_cut = is_flow & (items.end - items.start < head_octets)
    mine = np.flatnonzero(is_flow & ~is_cut)
    columns = {
        field.name: np.zeros(len(mine), np.int64) for field in dataclasses.fields(FlowSamples)
    }
    expanded = is_expanded[mine]
    for part, dtype in (
        (np.flatnonzero(~expanded), _FLOW),
        (np.flatnonzero(expanded), _EXPANDED_FLOW),
    ):
        if not len(part):
            continue
        head = octets.read(items.start[mine[part]], dtype)
        for name in ("sequence", "rate", "drops", "records"):
            columns[name][part] = head[name]
        if dtype is _FLOW:
            columns["source"][part] = _split(head["source"], 24)
            columns["input"][part] = _split(head["input"], 30)
            columns["output"][part] = _split(head["output"], 30)
        else:
            for name, above in (
                ("source", "source_type"), ("input", "input_format"), ("output", "output_format"),
            ):  # fmt: skip
                columns[name][part] = head[above].astype(np.int64) << 32 | head[name]
    columns["row"] = items.owner[mine]
    columns["start"] = items.start[mine] + head_octets[mine]
    columns["end"] = items.end[mine]
    return FlowSamples(**columns), is_cut


def _split(values: NDArray[np.uint32], bits: int) -> Int64s:
    """Return type << 32 | index of numbers whose low bits are the index, the others its type."""
    wide = values.astype(np.int64)
    return wide >> bits << 32 | wide & ((1 << bits) - 1)


def _reasons(rows: Int64s, reason: str) -> list[tuple[int, str]]:
    """Return (datagram, reason) for each of the rows."""
    return [(row, reason) for row in rows.tolist()]
