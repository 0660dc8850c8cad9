"""The auditor: what every bill must be, from the simulator's own truth, computed its own way.

It shares nothing with rating or billing: knots come from the network model, prices are written
out as plain if-chains, calendar days are counted with datetime. Where it and Flowrate differ, one
of them is wrong.
"""

from __future__ import annotations

import dataclasses
import datetime
import zoneinfo
from collections import defaultdict
from fractions import Fraction

from infra.simulation.network import AccountingEvent

GIGABYTE = 10**9


@dataclasses.dataclass(frozen=True, slots=True)
class Tariff:
    """A plan in the auditor's words. tiers are (up_to or None, price per GB, fee on entering)."""

    plan_id: str
    kind: str
    fee: Fraction = Fraction(0)
    allowance: int = 0
    price_per_gb: Fraction = Fraction(0)
    tiers: tuple[tuple[int | None, Fraction, Fraction], ...] = ()
    tax_rate: Fraction = Fraction(0)
    is_prepaid: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Stay:
    """A rating key under a tariff in [from_at, until_at) ms."""

    key: str
    tariff: Tariff
    from_at: int
    until_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Membership:
    """A line's usage counts for a rating key in [from_at, until_at) ms."""

    user_name: str
    key: str
    from_at: int
    until_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Bill:
    """What one rating key owes for one period, in minor units, before and after tax."""

    quantities: tuple[int, ...]
    usage_minor: int
    fee_minor: int
    tax_minor: int

    @property
    def total_minor(self) -> int:
        """Everything together."""
        return self.usage_minor + self.fee_minor + self.tax_minor


class Auditor:
    """Collects the truth while the simulation runs and answers what each bill must be."""

    def __init__(self, timezone: str) -> None:
        """Start with nobody; timezone is the branch's."""
        self._zone = zoneinfo.ZoneInfo(timezone)
        self._knots: dict[tuple[str, str], dict[int, tuple[int, int]]] = defaultdict(dict)
        self.stays: list[Stay] = []
        self.memberships: list[Membership] = []

    def report(self, event: AccountingEvent) -> None:
        """Take an event that reached Flowrate's log."""
        if event.status in ("on", "off"):
            return
        knots = self._knots[event.user_name, event.acct_session_id]
        start = event.event_seconds - event.session_seconds
        knots.setdefault(start, (0, 0))
        knots[event.event_seconds] = (event.octets_up, event.octets_down)

    def octets(self, user_name: str, from_at: int, until_at: int) -> int:
        """Return both directions' octets of a line in [from_at, until_at)."""
        total = 0
        for (owner, _session), knots in self._knots.items():
            if owner == user_name:
                for direction in (0, 1):
                    total += self._reading(knots, until_at, direction)
                    total -= self._reading(knots, from_at, direction)
        return total

    @staticmethod
    def _reading(knots: dict[int, tuple[int, int]], at: int, direction: int) -> int:
        """Return what the counter showed at an instant: straight lines between reports."""
        before: tuple[int, int] | None = None
        for seconds in sorted(knots):
            value = knots[seconds][direction]
            if seconds * 1000 > at:
                if before is None:
                    return 0
                since, base = before
                return base + (value - base) * (at - since) // (seconds * 1000 - since)
            before = (seconds * 1000, value)
        return before[1] if before else 0

    def _day(self, at: int) -> datetime.date:
        return datetime.datetime.fromtimestamp(at / 1000, self._zone).date()

    def bill(self, key: str, period: tuple[int, int]) -> Bill:
        """Return what a rating key owes for a period [start, end) in ms."""
        days_in_period = (self._day(period[1]) - self._day(period[0])).days
        quantities: list[int] = []
        usage_minor = fee_minor = 0
        taxable: dict[Fraction, int] = defaultdict(int)
        for stay in sorted(self.stays, key=lambda s: s.from_at):
            if stay.key != key:
                continue
            begin, end = max(stay.from_at, period[0]), min(stay.until_at, period[1])
            if begin >= end:
                continue
            first = (self._day(begin) - self._day(period[0])).days
            last = (self._day(end) - self._day(period[0])).days
            quantity = sum(
                self.octets(m.user_name, max(begin, m.from_at), min(end, m.until_at))
                for m in self.memberships
                if m.key == key and max(begin, m.from_at) < min(end, m.until_at)
            )
            quantities.append(quantity)
            span = (Fraction(first, days_in_period), Fraction(last, days_in_period))
            line = round_half_up(price_of(stay.tariff, quantity, span) * 100)
            fee = round_half_up(stay.tariff.fee * (span[1] - span[0]) * 100)
            usage_minor += line
            fee_minor += fee
            taxable[stay.tariff.tax_rate] += fee + (0 if stay.tariff.is_prepaid else line)
        tax_minor = sum(round_half_up(rate * base) for rate, base in taxable.items())
        return Bill(tuple(quantities), usage_minor, fee_minor, tax_minor)


def price_of(tariff: Tariff, octets: int, span: tuple[Fraction, Fraction]) -> Fraction:
    """Return the exact price of a quantity in a part of a period, in major units."""

    def part(bound: int) -> int:
        return int(bound * span[1]) - int(bound * span[0])

    if tariff.kind == "payg":
        return Fraction(octets, GIGABYTE) * tariff.price_per_gb
    if tariff.kind == "overage":
        above = max(octets - part(tariff.allowance), 0)
        return Fraction(above, GIGABYTE) * tariff.price_per_gb
    if tariff.kind == "flat":
        return Fraction(0)
    bounds = [
        (None if u is None else part(u), p, f * (span[1] - span[0])) for u, p, f in tariff.tiers
    ]
    if tariff.kind == "volume":
        for up_to, price, entry in bounds:
            if up_to is None or octets <= up_to:
                return Fraction(octets, GIGABYTE) * price + entry
    if tariff.kind == "graduated":
        total, below = Fraction(0), 0
        for number, (up_to, price, entry) in enumerate(bounds):
            if number > 0 and octets <= below:
                break
            top = octets if up_to is None else min(octets, up_to)
            total += Fraction(max(top - below, 0), GIGABYTE) * price + entry
            below = up_to if up_to is not None else octets
        return total
    raise AssertionError(f"the auditor knows no tariff {tariff.kind}")


def round_half_up(amount: Fraction) -> int:
    """Return the nearest whole number, halves away from zero."""
    sign = -1 if amount < 0 else 1
    return sign * int((abs(amount) * 2 + 1) // 2)
