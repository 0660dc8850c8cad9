"""Checks of each NAS against the flows of its subscribers: swapped, another unit, no gigawords.

Accounting and flows see the same octets, so their up/down ratios agree subscriber by subscriber and
day by day. Of a NAS that sends download as Input they are each other's inverse; of one that counts
in kibibytes the volumes differ by 1024 whatever the direction. One subscriber proves nothing (an
upload of backups, a flow export that misses one direction): a verdict needs several subscribers'
days that agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from collectors.config import NasConfig
from infra.doctor.findings import Finding

EVIDENCE_LEAST = 5
"""Days of subscribers that a verdict needs."""
AGREEMENT_LEAST = 0.9
OCTETS_LEAST = 1_000_000
"""Octets by flows below which a day of a subscriber says nothing."""
ASYMMETRY_LEAST = 2.0
"""A day says nothing of direction where up and down differ by less than this factor."""
UNIT_TOLERANCE = 0.15
UNITS = {1_024: "KiB", 1_000: "kB", 1 << 20: "MiB", 10**6: "MB", 1 << 30: "GiB", 10**9: "GB"}
BITS_RATIO = 1 / 8
DISAGREE_RATIO = 2.0
WRAP_PACKETS_LEAST = 20


class DayFact(NamedTuple):
    """A subscriber's day at one NAS: octets by accounting and by flows, each up and down."""

    subscriber_id: str
    day: int
    accounting_up: int
    accounting_down: int
    flows_up: int
    flows_down: int


def check_direction(nas: NasConfig, days: Sequence[DayFact]) -> Finding:
    """Return whether a NAS's Input and Output are what its settings say."""
    votes = [_direction(day) for day in days]
    told = [vote for vote in votes if vote]
    swapped = sum(vote < 0 for vote in told)
    subject = f"{nas.nas_id} direction"
    if len(told) < EVIDENCE_LEAST:
        seen = f"{len(told)} days of subscribers can be compared with flows, too few to tell"
        return Finding("nas", subject, "ok", seen)
    correlation = correlation_of(days)
    seen = f"{len(told)} days of subscribers, correlation of the ratios {correlation:+.2f}"
    if swapped >= AGREEMENT_LEAST * len(told):
        wanted = str(not nas.swap_input_output).lower()
        advice = f"set swap_input_output = {wanted} for this NAS, then `flowrate repair`"
        return Finding(
            "nas", subject, "fail", f"swapped: up is down in {swapped} of {seen}", advice
        )
    if swapped > (1 - AGREEMENT_LEAST) * len(told):
        advice = "several devices behind one entry? Compare one subscriber by hand"
        return Finding("nas", subject, "warn", f"swapped in {swapped} of {seen}", advice)
    return Finding("nas", subject, "ok", f"as flows say: {seen}")


def check_unit(nas: NasConfig, days: Sequence[DayFact]) -> Finding:
    """Return whether a NAS's counters are in the unit that its settings say."""
    ratios = sorted(
        (day.flows_up + day.flows_down) / (day.accounting_up + day.accounting_down)
        for day in days
        if day.accounting_up + day.accounting_down > 0
        and day.flows_up + day.flows_down >= OCTETS_LEAST
    )
    subject = f"{nas.nas_id} unit"
    if len(ratios) < EVIDENCE_LEAST:
        return Finding("nas", subject, "ok", f"{len(ratios)} days to compare, too few to tell")
    median = ratios[len(ratios) // 2]
    near = sum(abs(ratio / median - 1) <= UNIT_TOLERANCE for ratio in ratios)
    seen = f"flows are {median:.4g} times accounting, {len(ratios)} days of subscribers"
    if near >= AGREEMENT_LEAST * len(ratios):
        if _is_near(median, BITS_RATIO):
            advice = "the counters are of bits: set counts_bits = true, then `flowrate repair`"
            return Finding("nas", subject, "fail", seen, advice)
        unit = min(UNITS, key=lambda unit: abs(math.log(median / unit)))
        if _is_near(median, unit):
            octets = unit * nas.unit_octets
            advice = f"it counts {UNITS[unit]}: set unit_octets = {octets}, then `flowrate repair`"
            return Finding("nas", subject, "fail", seen, advice)
    if 1 / DISAGREE_RATIO <= median <= DISAGREE_RATIO:
        return Finding("nas", subject, "ok", seen)
    advice = "is the sampling rate known, are all its lines exported? (warehouse: loss report)"
    return Finding("nas", subject, "warn", seen, advice)


class CounterFact(NamedTuple):
    """What the last packets of a NAS say of gigawords.

    packets: interim updates and Stops with octets; with_gigawords: those that carry the attribute;
    falls: how often a session's counter fell while its time rose; highest: the greatest low half.
    """

    packets: int
    with_gigawords: int
    falls: int
    highest: int


def check_gigawords(nas: NasConfig, fact: CounterFact) -> Finding:
    """Return whether a NAS wraps its counters without saying so."""
    subject = f"{nas.nas_id} gigawords"
    seen = f"{fact.with_gigawords} of {fact.packets} packets carry them"
    if fact.with_gigawords:
        if nas.has_gigawords:
            return Finding("nas", subject, "ok", seen)
        advice = "it does send them: set has_gigawords = true"
        return Finding("nas", subject, "fail", seen, advice)
    if not nas.has_gigawords or fact.packets < WRAP_PACKETS_LEAST:
        return Finding("nas", subject, "ok", seen)
    advice = "set has_gigawords = false: every wrap is then counted, also after a long silence"
    if fact.falls:
        seen += f", and counters fell {fact.falls} times within a session"
        return Finding("nas", subject, "fail", seen, advice)
    if fact.highest >= 1 << 31:
        seen += f", and a counter stands at {fact.highest}"
        return Finding("nas", subject, "warn", seen, advice)
    return Finding("nas", subject, "ok", f"{seen}; no counter has come near 4 GiB")


def correlation_of(days: Sequence[DayFact]) -> float:
    """Return Pearson's correlation of log(down/up) by accounting and by flows, 0 for too few."""
    pairs = [pair for day in days if (pair := _log_ratios(day)) is not None]
    if len(pairs) < 2:
        return 0.0
    mean_a = sum(a for a, _ in pairs) / len(pairs)
    mean_f = sum(f for _, f in pairs) / len(pairs)
    shared = sum((a - mean_a) * (f - mean_f) for a, f in pairs)
    spread_a = sum((a - mean_a) ** 2 for a, _ in pairs)
    spread_f = sum((f - mean_f) ** 2 for _, f in pairs)
    product = math.sqrt(spread_a * spread_f)
    return shared / product if product > 1e-12 else 0.0


def by_nas(
    days: Sequence[DayFact], nas_of: Mapping[str, frozenset[str]]
) -> dict[str, list[DayFact]]:
    """Return the days by NAS; nas_of: subscriber -> NASes it was at. One of several tells nothing.

    Devices of one configured entry (``nas@address``) are one NAS here.
    """
    found: dict[str, list[DayFact]] = {}
    for day in days:
        names = nas_of.get(day.subscriber_id, frozenset())
        if len(names) == 1:
            found.setdefault(next(iter(names)), []).append(day)
    return found


def _log_ratios(day: DayFact) -> tuple[float, float] | None:
    if min(day[2:]) <= 0 or day.flows_up + day.flows_down < OCTETS_LEAST:
        return None
    accounting = math.log(day.accounting_down / day.accounting_up)
    return accounting, math.log(day.flows_down / day.flows_up)


def _direction(day: DayFact) -> int:
    """Return 1 where accounting and flows point the same way, -1 where the opposite, else 0."""
    ratios = _log_ratios(day)
    least = math.log(ASYMMETRY_LEAST)
    if ratios is None or min(abs(ratios[0]), abs(ratios[1])) < least:
        return 0
    return 1 if ratios[0] * ratios[1] > 0 else -1


def _is_near(ratio: float, unit: float) -> bool:
    return abs(ratio / unit - 1) <= UNIT_TOLERANCE
