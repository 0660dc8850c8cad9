"""Sampling rates: what options announce, what records carry, and which one holds for a record.

A rate is packets per sampled packet, kept as an exact numerator and denominator, since
(305 + 306) / 305 and 310 / 309 need not be whole (RFC 5477 §8.2). Rate 0 means "not known".
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.elements import OPTIONS
from collectors.netflow.layouts import Layout
from collectors.netflow.state import BOOT_AT, DOMAIN_RATE, INTERFACE_RATE

Rate = tuple[int, int]
UNKNOWN: Rate = (0, 1)

_NUMERATOR_MAX = 1 << 30
"""No exporter counts its sample in more; above, 64 bits would not hold a scaled counter."""


@dataclasses.dataclass(frozen=True, slots=True)
class Announcement:
    """What one option record says: the rate (or boot time) of a selector from a set on."""

    order: int
    selector: int
    rate: Rate


def is_relevant(layout: Layout) -> bool:
    """Return whether option records of this layout may announce a rate or the boot time."""
    whose = ("selector", "scope_interface")
    return any(layout.has(column) for column in OPTIONS if column not in whose)


def read_announcements(
    layout: Layout, records: NDArray[np.void], orders: Sequence[int], rate_limit: int
) -> tuple[list[Announcement], list[int]]:
    """Return what the option records announce, and the orders of those with an absurd rate.

    orders gives the set of each record. Options are never traffic, whatever they hold.
    """
    columns = {c: layout.read(records, c).tolist() for c in OPTIONS if layout.has(c)}
    if "sample_probability" in columns:
        columns["sample_probability"] = _as_floats(layout.read(records, "sample_probability"))
    # Of one set and selector the last stands: data sets lie before or behind it, never between.
    found: dict[tuple[int, int], Announcement] = {}
    absurd: list[int] = []
    for index, order in enumerate(orders):
        record = {column: values[index] for column, values in columns.items()}
        if 0 < record.get("boot_at", 0) < 1 << 48:
            found[order, BOOT_AT] = Announcement(order, BOOT_AT, (record["boot_at"], 1))
        rate = rate_of(record)
        if rate == UNKNOWN:
            continue
        if not rate[1] <= rate[0] <= min(rate_limit * rate[1], _NUMERATOR_MAX):
            absurd.append(order)
            continue
        selector = _selector_of(record)
        found[order, selector] = Announcement(order, selector, rate)
    return list(found.values()), absurd


def _selector_of(record: Mapping[str, int]) -> int:
    """Return whose rate an option record tells: a selector's, an interface's or the domain's."""
    interface = record.get("scope_interface", 0)
    rest = INTERFACE_RATE - interface if 0 < interface < 1 << 32 else DOMAIN_RATE
    return record.get("selector", rest)


def _as_floats(bits: NDArray[Any]) -> list[float]:
    """Return float64, or float32 where its size was reduced (RFC 5477 §8.2.7, RFC 7011 §6.2)."""
    octets = bits.dtype.itemsize
    if octets not in (4, 8):
        return [0.0] * len(bits)
    floats: list[float] = bits.astype(f">u{octets}").view(f">f{octets}").tolist()
    return floats


def rate_of(record: Mapping[str, int | float]) -> Rate:
    """Return the rate that a record's columns give, UNKNOWN where none does."""
    interval = int(record.get("interval", 0)) or int(record.get("random_interval", 0))
    if interval:
        return interval, 1
    sampled = int(record.get("packet_interval", 0))
    if sampled:
        return sampled + int(record.get("packet_space", 0)), sampled
    sampled = int(record.get("time_interval", 0))
    if sampled:
        return sampled + int(record.get("time_space", 0)), sampled
    size, population = int(record.get("sample_size", 0)), int(record.get("sample_population", 0))
    if size and population:
        return population, size
    probability = float(record.get("sample_probability", 0.0))
    if 0.0 < probability <= 1.0:
        # The inverse of a subnormal number is infinite; at most it is absurd, and counted so.
        return round(min(1 / probability, 2.0 * _NUMERATOR_MAX)), 1
    return UNKNOWN


Trace = tuple[list[int], list[Rate]]
"""From which set of the batch on (-1: from before it) which rate holds; orders ascend."""

NOTHING_ANNOUNCED: Trace = ([-1], [UNKNOWN])


class Timeline:
    """The rates of one session over the sets of a batch: before it, and after each announcement.

    All traces together are as long as the announcements, whatever selectors are asked for: a few
    datagrams of options and data must not cost their product.
    """

    def __init__(self, samplers: Mapping[int, Rate], announced: Sequence[Announcement]) -> None:
        """Start from the state's samplers; announcements must be in order."""
        self._samplers = samplers
        self._announced = announced
        self._own: dict[int, Trace] = {key: ([-1], [rate]) for key, rate in samplers.items()}
        for event in announced:
            orders, rates = self._own.setdefault(event.selector, ([-1], [UNKNOWN]))
            orders.append(event.order)
            rates.append(event.rate)
        self._unnamed: Trace | None = None

    def own(self, selector: int) -> Trace:
        """Return what was announced for this selector itself (or DOMAIN_RATE, …)."""
        return self._own.get(selector, NOTHING_ANNOUNCED)

    @property
    def has_interfaces(self) -> bool:
        """Return whether some rate was announced for an interface."""
        return any(key < INTERFACE_RATE for key in self._own)

    def unnamed(self) -> Trace:
        """Return the rate of records that name no sampler: the domain's, else the only one.

        Cisco IOS announces "sampler 1" while its records carry no sampler id; where several
        samplers differ, nothing says which one such a record belongs to: the rate is not known.
        """
        if self._unnamed is None:
            self._unnamed = self._trace_unnamed()
        return self._unnamed

    def _trace_unnamed(self) -> Trace:
        samplers = dict(self._samplers)
        in_use = Counter(rate for key, rate in samplers.items() if _is_part(key))

        def effective() -> Rate:
            if DOMAIN_RATE in samplers:
                return samplers[DOMAIN_RATE]
            return next(iter(in_use)) if len(in_use) == 1 else UNKNOWN

        orders, rates = [-1], [effective()]
        for event in self._announced:
            before = samplers.get(event.selector)
            samplers[event.selector] = event.rate
            if _is_part(event.selector):
                in_use[event.rate] += 1
                if before is not None:
                    in_use[before] -= 1
                    if not in_use[before]:
                        del in_use[before]
            orders.append(event.order)
            rates.append(effective())
        return orders, rates


def _is_part(selector: int) -> bool:
    """Return whether a rate is of a sampler or an interface: of a part of the domain."""
    return selector >= 0 or selector < INTERFACE_RATE
