"""Interface counters out of counters samples: for tools that look, not for what is metered.

sFlow v5 §5, enterprise 0: generic interface counters (1, as RFC 2863 has them), Ethernet counters
(2, RFC 2358) and the port's name (1005). They are nobody's usage; decode only counts the samples.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import DatagramBlock
from collectors.netflow.config import FlowDecodeConfig
from collectors.sflow.headers import by_exporter, read_agents
from collectors.sflow.octets import Items, Octets, walk_items
from collectors.sflow.samples import COUNTERS, EXPANDED_COUNTERS

Int64s = NDArray[np.int64]

GENERIC, ETHERNET, PORT_NAME = 1, 2, 1005
"""Data formats of the counter records that are read."""

PORT_NAME_OCTETS_MAX = 255
"""Longest name of a port that is shown (RFC 2863, DisplayString)."""

_GENERIC = np.dtype(
    [("index", ">u4"), ("type", ">u4"), ("speed", ">u8"), ("direction", ">u4"), ("status", ">u4"),
     ("octets_in", ">u8"), ("packets_in", ">u4"), ("multicast_in", ">u4"), ("broadcast_in", ">u4"),
     ("discards_in", ">u4"), ("errors_in", ">u4"), ("unknown_in", ">u4")]
)  # fmt: skip
_GENERIC_OUT = np.dtype(
    [("octets_out", ">u8"), ("packets_out", ">u4"), ("multicast_out", ">u4"),
     ("broadcast_out", ">u4"), ("discards_out", ">u4"), ("errors_out", ">u4"),
     ("promiscuous", ">u4")]
)  # fmt: skip
_ETHERNET = np.dtype([(name, ">u4") for name in ("alignment", "fcs")])
_ETHERNET_OCTETS = 52

_COUNTS = (
    "octets_in", "packets_in", "multicast_in", "broadcast_in", "discards_in", "errors_in",
    "octets_out", "packets_out", "multicast_out", "broadcast_out", "discards_out", "errors_out",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class InterfaceCounters:
    """What an agent said of one interface: counters since boot, None where it does not count.

    exporter is 16 octets, received_at ms since 1970, index the ifIndex, speed in bits per second.
    packets are unicast. is_up is administrative, is_running operational (RFC 2863). fcs_errors and
    alignment_errors are of Ethernet alone.
    """

    exporter: bytes
    sub_agent: int
    received_at: int
    index: int
    name: str
    speed: int
    is_up: bool
    is_running: bool
    counts: dict[str, int | None]


def read_interfaces(block: DatagramBlock, config: FlowDecodeConfig) -> list[InterfaceCounters]:
    """Return the interfaces that a block's counters samples tell of, in arrival order."""
    payload = np.frombuffer(block.payload, np.uint8)
    headers = read_agents(block, payload)
    mine = np.flatnonzero(headers.is_readable)
    if not len(mine):
        return []
    octets = Octets(payload)
    row = headers.row[mine]
    samples = walk_items(
        octets,
        headers.start[mine],
        (block.offsets + block.lengths)[row],
        headers.samples[mine],
        config.samples_per_datagram_limit,
    )
    chosen = np.flatnonzero(np.isin(samples.kind, (COUNTERS, EXPANDED_COUNTERS)))
    # Sequence and source, which is two words where it is expanded; then the number of records.
    at = samples.start[chosen] + np.where(samples.kind[chosen] == EXPANDED_COUNTERS, 12, 8)
    end = samples.end[chosen]
    count = np.where(at + 4 <= end, octets.word(at), 0)
    records = walk_items(octets, at + 4, end, count, config.records_per_sample_limit)
    owner = mine[samples.owner[chosen]]
    exporter = by_exporter(block).source_address
    found = []
    for sample, counts in _counts(octets, records, len(chosen)).items():
        header = int(owner[sample])
        datagram = int(headers.row[header])
        status = counts.pop("status") or 0
        found.append(
            InterfaceCounters(
                exporter=exporter[datagram].tobytes(),
                sub_agent=int(headers.sub_agent[header]),
                received_at=int(block.received_at[datagram]),
                index=counts.pop("index") or 0,
                name=_name(block, records, sample),
                speed=counts.pop("speed") or 0,
                is_up=bool(status & 1),
                is_running=bool(status & 2),
                counts=counts,
            )
        )
    return found


def _counts(octets: Octets, records: Items, samples: int) -> dict[int, dict[str, int | None]]:
    """Return the counters of each sample that has generic ones, by name."""
    generic = records.first(GENERIC, samples)
    whole = _GENERIC.itemsize + _GENERIC_OUT.itemsize
    have = np.flatnonzero(generic >= 0)
    place = generic[have]
    have = have[records.end[place] - records.start[place] >= whole]
    start = records.start[generic[have]]
    parts = [
        (octets.read(start, _GENERIC), ("index", "speed", "status", *_COUNTS[:6])),
        (octets.read(start + _GENERIC.itemsize, _GENERIC_OUT), _COUNTS[6:]),
    ]
    found: dict[int, dict[str, int | None]] = {sample: {} for sample in have.tolist()}
    for values, names in parts:
        for name in names:
            unknown = int(np.iinfo(values[name].dtype).max)
            for sample, value in zip(have.tolist(), values[name].tolist(), strict=True):
                found[sample][name] = None if value == unknown else value
    ethernet = records.first(ETHERNET, samples)
    for sample in have.tolist():
        place_of = int(ethernet[sample])
        if place_of >= 0 and records.end[place_of] - records.start[place_of] >= _ETHERNET_OCTETS:
            errors = octets.read(records.start[place_of : place_of + 1], _ETHERNET)
            found[sample]["alignment_errors"] = int(errors["alignment"][0])
            found[sample]["fcs_errors"] = int(errors["fcs"][0])
    return found


def _name(block: DatagramBlock, records: Items, sample: int) -> str:
    """Return the name of the port that a sample is of, "" where it is not told."""
    for place in np.flatnonzero((records.owner == sample) & (records.kind == PORT_NAME)).tolist():
        start, end = int(records.start[place]), int(records.end[place])
        body = bytes(block.payload[start:end])
        length = int.from_bytes(body[:4], "big")
        text = body[4 : 4 + min(length, PORT_NAME_OCTETS_MAX)].decode("utf-8", "replace")
        return "".join(character for character in text if character.isprintable())
    return ""
