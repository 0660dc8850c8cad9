"""Which of the decoded flows count, and how much of them: once, whoever saw them and how often.

`Flows` are what exporters sent; here the settings of each exporter say which of its records count
(role, direction, interfaces), and counters that go on from record to record become what each record
adds (`running`). Rules and reasons: decision 0125.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import ExporterConfig, FlowDecodeConfig, parse_interfaces
from collectors.netflow.exporters import exporters_of
from collectors.netflow.flows import Flows
from collectors.netflow.layouts import COUNTERS
from collectors.netflow.running import Running, Updates
from collectors.netflow.sessions import Origin
from rating.ports import Delete, Put, StateView

Bools = NDArray[np.bool_]

_INGRESS, _EGRESS = 0, 1


class Counting:
    """Counts the flows of one block of the decoder, part after part.

    counters tells what was left out under the names of `metrics.COUNTERS`.
    """

    def __init__(self, view: StateView, config: FlowDecodeConfig) -> None:
        """Take the state that the view holds (collection `state.RUNNING`)."""
        self._config = config
        self._running = Running(view, config)
        self.counters: Counter[str] = Counter()

    def count(self, flows: Flows, origins: Sequence[Origin]) -> Flows:
        """Return the flows that count, with the octets and packets that do."""
        flows = self._chosen(flows, origins)
        if not flows.running.any():
            return flows
        return self._settled(flows)

    def changes(self, watermark_at: int) -> list[Put | Delete]:
        """Return the changes of the state after the last part of a block."""
        changes = self._running.changes(watermark_at)
        self.counters["decode_running_forgotten"] += self._running.forgotten
        return changes

    def _chosen(self, flows: Flows, origins: Sequence[Origin]) -> Flows:
        """Return the flows of the records that their exporter's settings count."""
        if not any(entry.has_rules for entry in self._config.exporters):
            return flows
        exporters = exporters_of(self._config.exporters)
        numbers = {entry: number for number, entry in enumerate(self._config.exporters)}
        found = [exporters.find(origin.address) for origin in origins]
        entry_of = np.array([numbers[entry] if entry else -1 for entry in found], np.int64)
        number_of = entry_of[flows.origin]
        keep = np.ones(len(flows), np.bool_)
        for number in np.unique(number_of).tolist():
            entry = self._config.exporters[number]
            if number < 0 or not entry.has_rules:
                continue
            mine = np.flatnonzero(number_of == number)
            keep[mine] = is_counted(
                entry,
                flows.direction[mine],
                flows.ingress_interface[mine],
                flows.egress_interface[mine],
            )
        if keep.all():
            return flows
        self.counters["decode_flows_uncounted"] += int((~keep).sum())
        return flows.take(keep)

    def _settled(self, flows: Flows) -> Flows:
        """Return the flows with counters that go on made into what each record adds."""
        place = np.flatnonzero(flows.running)
        place = place[np.argsort(flows.order[place], kind="stable")]
        added = self._running.add(
            Updates(
                key=flows.flow_key[place],
                kind=flows.running[place],
                began_at=flows.start_at[place],
                at=flows.end_at[place],
                received_at=flows.received_at[place],
                values=np.stack([getattr(flows, name)[place] for name in COUNTERS], axis=1),
            )
        )
        columns = {name: getattr(flows, name).copy() for name in (*COUNTERS, "start_at")}
        for number, name in enumerate(COUNTERS):
            columns[name][place] = added.values[:, number]
        # What a record adds came since the record before, not since the flow's start.
        since = np.minimum(added.since, flows.end_at[place])
        columns["start_at"][place] = np.maximum(flows.start_at[place], since)
        is_empty = np.zeros(len(flows), np.bool_)
        is_empty[place] = ~added.values.any(axis=1)
        settled = dataclasses.replace(flows, **columns)
        if not is_empty.any():
            return settled
        based = int(added.is_base.sum())
        self.counters["decode_flows_begun_before"] += based
        self.counters["decode_flows_repeated"] += int(is_empty.sum()) - based
        return settled.take(~is_empty)


def is_counted(
    entry: ExporterConfig,
    direction: NDArray[np.uint8],
    ingress: NDArray[np.uint32],
    egress: NDArray[np.uint32],
) -> Bools:
    """Return which records of an exporter count, given the columns of element 61, 10 and 14."""
    if entry.role == "ignore":
        return np.zeros(len(direction), np.bool_)
    keep = np.ones(len(direction), np.bool_)
    if entry.counted_direction == "ingress":
        keep &= direction != _EGRESS
    elif entry.counted_direction == "egress":
        keep &= direction != _INGRESS
    if not entry.names_interfaces:
        return keep
    keep &= ~(
        _within(entry.ignored_interfaces, ingress) | _within(entry.ignored_interfaces, egress)
    )
    if not (entry.subscriber_interfaces or entry.core_interfaces):
        return keep
    enters, leaves = _of_subscribers(entry, ingress), _of_subscribers(entry, egress)
    if entry.counted_direction != "boundary":
        return keep & (enters | leaves)
    # Metered at both: the record of the subscriber's interface; between two subscribers, where the
    # packet came in, since that record tells of both ends.
    at_ingress = (direction == _INGRESS) & enters
    at_egress = (direction == _EGRESS) & leaves & ~enters
    unsaid = (direction != _INGRESS) & (direction != _EGRESS) & (enters | leaves)
    keep &= at_ingress | at_egress | unsaid
    return keep


def _of_subscribers(entry: ExporterConfig, index: NDArray[np.uint32]) -> Bools:
    """Return which interfaces are subscribers': those listed, else all but those of the core.

    Index 0 is no interface (RFC 5102 §5.7: unknown; of v5 also traffic to the router itself).
    """
    if entry.subscriber_interfaces:
        return _within(entry.subscriber_interfaces, index)
    is_other: Bools = (index != 0) & ~_within(entry.core_interfaces, index)
    return is_other


def _within(texts: tuple[str, ...], index: NDArray[np.uint32]) -> Bools:
    """Return which interfaces the texts name."""
    if not texts:
        return np.zeros(len(index), np.bool_)
    low, high = _ranges(texts)
    at = np.searchsorted(low, index, side="right") - 1
    is_within: Bools = (at >= 0) & (index <= high[at])
    return is_within


@functools.lru_cache(maxsize=64)
def _ranges(texts: tuple[str, ...]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the first and last index of each range, ascending and apart."""
    merged: list[list[int]] = []
    for low, high in sorted(parse_interfaces(text) for text in texts):
        if merged and low <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], high)
        else:
            merged.append([low, high])
    columns = np.array(merged, np.uint32).T
    return columns[0], columns[1]
