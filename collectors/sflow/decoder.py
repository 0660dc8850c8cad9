"""The flow samples of a block into columns of flows, as the NetFlow decoder gives them.

A sample is a flow of one packet: the octets of its IP packet, scaled by the rate of the sample. It
has no time but that of its receipt: sFlow carries no wall clock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.flows import NO_DIRECTION, Flows, empty_columns
from collectors.netflow.headers import Headers, Rows
from collectors.netflow.sessions import Sessions
from collectors.sflow.headers import SFLOW5
from collectors.sflow.octets import Octets, walk_items
from collectors.sflow.packets import REASONS, Outcome, Packets
from collectors.sflow.records import as_numbers, sampled_packets, translated
from collectors.sflow.samples import INTERFACE, INTERNAL, IS_MULTIPLE, FlowSamples, read_samples
from collectors.sflow.sources import note_drops

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
Note = Callable[[int, str, int], None]

COUNTED = (
    "flow_samples",
    "counter_samples",
    "drop_notifications",
    "samples_not_ip",
    "samples_discarded",
    "samples_dropped",
)
"""What is counted per origin beside what is refused."""

_INGRESS, _EGRESS = 0, 1


class SampleDecoder:
    """The sFlow datagrams of a block on their way to flows, in parts."""

    def __init__(
        self, payload: NDArray[np.uint8], headers: Headers, rows: Rows, readable: Bools, note: Note
    ) -> None:
        """Take the block's payload, its headers and columns, and which datagrams are readable."""
        mine = np.flatnonzero(readable & (headers.version == SFLOW5))
        self._lists = (mine, headers.start[mine], headers.end[mine], headers.count[mine])
        self._octets = Octets(payload if len(mine) else payload[:0])
        self._rows = rows
        self._note = note

    def parts(
        self, sessions: Sessions, config: FlowDecodeConfig, samples_max: int
    ) -> Iterator[Flows]:
        """Yield the flows, of at most samples_max samples at a time."""
        if not len(self._lists[0]):
            return
        samples = read_samples(self._octets, self._lists, config.samples_per_datagram_limit)
        self._tally("flow_samples", samples.flows.row)
        self._tally("counter_samples", samples.counters)
        self._tally("drop_notifications", samples.drops)
        for row, reason in samples.refused:
            self._note(int(self._rows.origin[row]), reason, 1)
        note_drops(samples.flows, self._rows, sessions, config, self._note)
        rates = sessions.set_rates()
        for first in range(0, len(samples.flows), samples_max):
            part = samples.flows.take(slice(first, first + samples_max))
            yield self._flows(part, rates, config)

    def _tally(self, name: str, row: Int64s) -> None:
        """Count samples, given by their datagrams, of each origin."""
        for origin, count in enumerate(np.bincount(self._rows.origin[row]).tolist()):
            if count:
                self._note(origin, name, count)

    def _flows(
        self, samples: FlowSamples, rates: tuple[Int64s, Int64s], config: FlowDecodeConfig
    ) -> Flows:
        """Return the flows of some samples, leaving out and counting what is none."""
        count = len(samples)
        records = walk_items(
            self._octets,
            samples.start,
            samples.end,
            samples.records,
            config.records_per_sample_limit,
        )
        for owners, reason in (
            (records.cut, "sflow_record_overruns"),
            (records.short, "sflow_count_mismatch"),
            (records.beyond, "records_per_sample_limit"),
        ):
            self._tally(reason, samples.row[owners])
        packets = sampled_packets(self._octets, records, count)
        discarded = samples.is_discarded
        self._tally("samples_discarded", samples.row[discarded])
        self._tally("samples_not_ip", samples.row[~discarded & (packets.outcome == Outcome.NOT_IP)])
        for outcome, reason in REASONS.items():
            self._tally(reason, samples.row[~discarded & (packets.outcome == outcome)])
        columns: dict[str, Any] = empty_columns(count)
        columns["row"] = samples.row
        columns["start_at"] = columns["end_at"] = self._rows.received_at[samples.row]
        columns["packets"][:] = 1
        columns["direction"] = _directions(samples)
        columns["ingress_interface"] = _interfaces(samples.input)
        columns["egress_interface"] = _interfaces(samples.output)
        _fill_packets(columns, packets)
        source_as, destination_as = as_numbers(self._octets, records, count)
        columns["source_as"] = source_as.astype(np.uint32)
        columns["destination_as"] = destination_as.astype(np.uint32)
        columns.update(translated(self._octets, records, count))
        self._fill_rates(columns, samples, rates, config.sampling_rate_limit)
        flows = Flows(rows=self._rows, **columns)
        keep = (packets.outcome == Outcome.IP) & ~discarded
        return flows if keep.all() else flows.take(keep)

    def _fill_rates(
        self,
        columns: dict[str, NDArray[Any]],
        samples: FlowSamples,
        rates: tuple[Int64s, Int64s],
        rate_limit: int,
    ) -> None:
        """Write the rates: settings, else the sample's own, else the default, else 1, not known."""
        absurd = samples.rate > rate_limit
        self._tally("implausible_sampling_rate", samples.row[absurd])
        session = self._rows.session[samples.row]
        imposed, default = rates[0][session], rates[1][session]
        own = np.where(absurd, 0, samples.rate)
        rate = np.select([imposed > 0, own > 0], [imposed, own], default)
        columns["rate_numerator"] = np.maximum(rate, 1)
        columns["rate_known"] = rate > 0


def _directions(samples: FlowSamples) -> NDArray[np.uint8]:
    """Return at which side of the router packets were sampled, where that is certain.

    A source that is the interface which a packet came in on samples at ingress; one that it leaves
    on, at egress. Where both are the same, or the source is no interface, nothing says so.
    """
    is_interface = samples.source >> 32 == INTERFACE
    enters = is_interface & (samples.source == samples.input)
    is_one_of_many = (samples.output >> 32 == IS_MULTIPLE) & ~enters
    leaves = is_interface & ((samples.source == samples.output) | is_one_of_many)
    out = np.full(len(samples), NO_DIRECTION, np.uint8)
    out[enters & ~leaves] = _INGRESS
    out[leaves & ~enters] = _EGRESS
    return out


def _interfaces(places: Int64s) -> NDArray[np.uint32]:
    """Return the ifIndex of each interface, 0 where it is not one: discarded, several, internal."""
    is_index = (places >> 32 == 0) & (places != INTERNAL)
    return np.where(is_index, places, 0).astype(np.uint32)


def _fill_packets(columns: dict[str, NDArray[Any]], packets: Packets) -> None:
    """Write what the packets' headers say, in the columns' own types."""
    for field in dataclasses.fields(Packets):
        if field.name != "outcome":
            values = getattr(packets, field.name)
            columns[field.name] = values.astype(columns[field.name].dtype)
