"""Sampling rates: what options announce, what records carry, and which one holds for a record.

A rate is packets per sampled packet, kept as an exact numerator and denominator, since
(305 + 306) / 305 and 310 / 309 need not be whole (RFC 5477 §8.2). Rate 0 means "not known".
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.elements import OPTIONS
from collectors.netflow.layouts import Layout
from collectors.netflow.state import BOOT_AT, DOMAIN_RATE

Rate = tuple[int, int]
UNKNOWN: Rate = (0, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Announcement:
    """What one option record says: the rate (or boot time) of a selector from a set on."""

    order: int
    selector: int
    rate: Rate


def is_relevant(layout: Layout) -> bool:
    """Return whether option records of this layout may announce a rate or the boot time."""
    return any(layout.has(column) for column in OPTIONS if column != "selector")


def read_announcements(
    layout: Layout, records: NDArray[np.void], orders: Sequence[int], rate_limit: int
) -> tuple[list[Announcement], list[int]]:
    """Return what the option records announce, and the orders of those with an absurd rate.

    orders gives the set of each record. Options are never traffic, whatever they hold.
    """
    columns = {c: layout.read(records, c).tolist() for c in OPTIONS if layout.has(c)}
    if "sample_probability" in columns:
        bits = layout.read(records, "sample_probability")
        is_double = bits.dtype.itemsize == 8  # float64 (RFC 5477 §8.2.7)
        as_float = bits.astype(">u8").view(">f8") if is_double else np.zeros(len(records))
        columns["sample_probability"] = as_float.tolist()
    found: list[Announcement] = []
    absurd: list[int] = []
    for index, order in enumerate(orders):
        record = {column: values[index] for column, values in columns.items()}
        if 0 < record.get("boot_at", 0) < 1 << 48:
            found.append(Announcement(order, BOOT_AT, (record["boot_at"], 1)))
        rate = rate_of(record)
        if rate == UNKNOWN:
            continue
        if not rate[1] <= rate[0] <= rate_limit * rate[1]:
            absurd.append(order)
            continue
        found.append(Announcement(order, record.get("selector", DOMAIN_RATE), rate))
    return found, absurd


def rate_of(record: Mapping[str, int | float]) -> Rate:
    """Return the rate that a record's columns give, UNKNOWN where none does."""
    interval = int(record.get("interval", 0)) or int(record.get("random_interval", 0))
    if interval:
        return interval, 1
    sampled = int(record.get("packet_interval", 0))
    if sampled:
        return sampled + int(record.get("packet_space", 0)), sampled
    size, population = int(record.get("sample_size", 0)), int(record.get("sample_population", 0))
    if size and population:
        return population, size
    probability = float(record.get("sample_probability", 0.0))
    if 0.0 < probability <= 1.0:
        return round(1 / probability), 1
    return UNKNOWN


class Timeline:
    """The rates of one session over the sets of a batch: before it, and after each announcement.

    `at(selector)` gives the orders from which a rate holds and the rates, first order -1.
    """

    def __init__(self, samplers: Mapping[int, Rate], announced: Sequence[Announcement]) -> None:
        """Start from the state's samplers; announcements must be in order."""
        self._samplers = dict(samplers)
        self._announced = announced
        self._known: dict[int, tuple[list[int], list[Rate]]] = {}

    def at(self, selector: int) -> tuple[list[int], list[Rate]]:
        """Return from which set on which rate holds for records of the selector."""
        known = self._known.get(selector)
        if known is None:
            samplers = dict(self._samplers)
            known = ([-1], [_effective(samplers, selector)])
            for event in self._announced:
                samplers[event.selector] = event.rate
                known[0].append(event.order)
                known[1].append(_effective(samplers, selector))
            self._known[selector] = known
        return known

    def rate(self, selector: int, order: int) -> Rate:
        """Return the rate that holds for a record of the selector in the set `order`."""
        orders, rates = self.at(selector)
        return rates[bisect.bisect_right(orders, order) - 1]


def _effective(samplers: Mapping[int, Rate], selector: int) -> Rate:
    """Return the rate of a selector: its own, else the domain's, else the only one there is.

    Cisco IOS announces "sampler 1" while its records carry no sampler id; where several samplers
    differ, nothing says which one such a record belongs to, and the rate is not known.
    """
    if selector in samplers:
        return samplers[selector]
    if selector == BOOT_AT:
        return UNKNOWN
    if DOMAIN_RATE in samplers:
        return samplers[DOMAIN_RATE]
    rates = {rate for key, rate in samplers.items() if key >= 0}
    return rates.pop() if len(rates) == 1 and selector == DOMAIN_RATE else UNKNOWN
