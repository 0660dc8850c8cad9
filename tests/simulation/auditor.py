"""The auditor: what every bill must be, from the simulator's own truth, computed its own way.

It shares nothing with rating or billing: usage comes from the simulated network, prices are
written out as plain if-chains (`tests.simulation.tariffs`), calendar days are counted with
datetime. Where it and Flowrate differ, one of them is wrong.
"""

from __future__ import annotations

import dataclasses
import datetime
import zoneinfo
from collections import defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction

from tests.simulation.tariffs import Measure, Span, Tariff, price_of, round_half_up
from tests.simulation.truth import CELL_MS, FOREVER, Truth, split

Period = tuple[int, int]
"""[start, end) in ms."""


@dataclasses.dataclass(slots=True)
class Sale:
    """A rating key of an account on a tariff in [from_at, until_at) ms."""

    account: str
    key: str
    tariff: Tariff
    from_at: int
    until_at: int = FOREVER


@dataclasses.dataclass(slots=True)
class Membership:
    """A line's usage counts for a rating key in [from_at, until_at) ms."""

    login: str
    key: str
    from_at: int
    until_at: int = FOREVER


@dataclasses.dataclass(frozen=True, slots=True)
class Stay:
    """A stretch of a period under one tariff and one set of members, numbered from 0."""

    sale: Sale
    number: int
    from_at: int
    until_at: int


Lines = dict[tuple[str, str, int, str], tuple[int, int]]
"""(kind, rating key, stay's number, measure) -> (quantity, amount in minor units); of recurring
fees plan_id stands for the measure."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bill:
    """What an account owes for a period: its lines, tax by percent, and everything together."""

    lines: Lines
    taxes: Mapping[int, int]
    total_minor: int


class Auditor:
    """Told of every sale, move and top-up; answers what each bill and balance must be."""

    def __init__(self, truth: Truth, timezone: str, lateness_ms: int) -> None:
        """Start with nobody; timezone is the branch's."""
        self.truth = truth
        self._zone = zoneinfo.ZoneInfo(timezone)
        self._lateness_ms = lateness_ms
        self.sales: list[Sale] = []
        self.memberships: list[Membership] = []
        self.cuts: dict[str, set[int]] = defaultdict(set)
        self.top_ups: dict[str, int] = defaultdict(int)

    # -- what was decided ----------------------------------------------------------------------

    def sell(self, account: str, key: str, tariff: Tariff, at: int) -> None:
        """Put a rating key on a tariff; what it had before ends."""
        self.end(key, at)
        self.sales.append(Sale(account, key, tariff, at))

    def end(self, key: str, at: int) -> None:
        """End what a rating key has; what it uses from then on is nobody's to pay."""
        for sale in self.sales:
            if sale.key == key and sale.until_at == FOREVER:
                sale.until_at = at

    def move(self, login: str, key: str, at: int) -> None:
        """Let a line's usage count for another rating key; both keys begin a new stay."""
        for membership in self.memberships:
            if membership.login == login and membership.until_at == FOREVER:
                membership.until_at = at
                self.cuts[membership.key].add(at)
        self.memberships.append(Membership(login, key, at))
        self.cuts[key].add(at)

    def top_up(self, key: str, amount_minor: int) -> None:
        """Add money to a prepaid balance."""
        self.top_ups[key] += amount_minor

    # -- what follows --------------------------------------------------------------------------

    def period_of(self, at: int) -> Period:
        """Return the calendar month that an instant lies in."""
        first = self._day(at).replace(day=1)
        after = (first + datetime.timedelta(days=32)).replace(day=1)
        return self._midnight(first), self._midnight(after)

    def close_at(self, period: Period) -> int:
        """Return when a period closes: what comes later is late."""
        return period[1] + self._lateness_ms

    def accounts(self, period: Period) -> list[str]:
        """Return the accounts that had something in a period."""
        return sorted({s.account for s in self.sales if _overlap(s, period)})

    def owing_late(self, period: Period, earlier: Period) -> list[str]:
        """Return the accounts that had nothing in a period, but usage of an earlier one came late.

        Who has left gets a note of its own, where the sum of any line has changed.
        """
        found = []
        for account in sorted(set(self.accounts(earlier)) - set(self.accounts(period))):
            bill = self.bill(account, period, earlier)
            if any(amount for _, amount in bill.lines.values()):
                found.append(account)
        return found

    def stays(self, key: str, period: Period) -> list[Stay]:
        """Return the stays of a rating key in a period, ascending."""
        stays: list[Stay] = []
        for sale in sorted(self.sales, key=lambda sale: sale.from_at):
            if sale.key != key or not _overlap(sale, period):
                continue
            begin, end = max(sale.from_at, period[0]), min(sale.until_at, period[1])
            inner = sorted(at for at in self.cuts[key] if begin < at < end)
            for since, until in zip([begin, *inner], [*inner, end], strict=True):
                stays.append(Stay(sale, len(stays), since, until))
        return stays

    def bill(self, account: str, period: Period, earlier: Period | None = None) -> Bill:
        """Return what an account owes for a period, with what came late for an earlier one."""
        lines: Lines = {}
        taxable: dict[tuple[int, bool], int] = defaultdict(int)
        prepaid_minor = 0
        for sale in self.sales:
            if sale.account == account and _overlap(sale, period):
                begin, end = max(sale.from_at, period[0]), min(sale.until_at, period[1])
                span = self._span(sale.tariff, period, begin, end)
                fee = round_half_up(sale.tariff.fee * (span[1] - span[0]) * 100)
                quantity = 1 if sale.tariff.fee and span[1] > span[0] else 0
                name = ("recurring", sale.key, 0, sale.tariff.plan_id)
                lines[name] = _sum(lines.get(name, (0, 0)), (quantity, fee))
                taxable[sale.tariff.tax_percent, sale.tariff.is_tax_included] += fee
        keys = {s.key for s in self.sales if s.account == account}
        usage = self.charges(keys, period, self.close_at(period))
        late: Lines = {}
        if earlier is not None:
            on_time = self.charges(keys, earlier, self.close_at(earlier))
            has_left = account not in self.accounts(period)
            until = period[1] if has_left else self.close_at(period)
            in_all = self.charges(keys, earlier, until)
            for name in in_all:
                late["adjustment", *name[1:]] = _difference(in_all[name], on_time[name])
        for (kind, key, number, measure), (quantity, amount) in {**usage, **late}.items():
            tariff = self.stays(key, period if kind == "usage" else earlier or period)[
                number
            ].sale.tariff
            lines[kind, key, number, measure] = (quantity, amount)
            if tariff.is_prepaid:
                prepaid_minor += amount
            else:
                taxable[tariff.tax_percent, tariff.is_tax_included] += amount
        taxes: dict[int, int] = defaultdict(int)
        total_minor = 0
        for (percent, is_included), amount in taxable.items():
            rate = Fraction(percent, 100)
            tax = round_half_up(amount * (rate / (1 + rate) if is_included else rate))
            taxes[percent] += tax
            total_minor += amount if is_included else amount + tax
        if prepaid_minor:
            lines["adjustment", "", 0, ""] = (1, -prepaid_minor)
        return Bill(
            {name: values for name, values in lines.items() if values != (0, 0)},
            {percent: tax for percent, tax in taxes.items() if tax},
            total_minor,
        )

    def charges(self, keys: set[str], period: Period, before: int) -> Lines:
        """Return the usage lines of rating keys, from what was received before an instant."""
        lines: Lines = {}
        for key in sorted(keys):
            for stay in self.stays(key, period):
                for measure in stay.sale.tariff.measures:
                    quantity, price = self._priced(stay, measure, period, before)
                    name = ("usage", key, stay.number, measure.name)
                    lines[name] = (quantity, round_half_up(price * 100))
        return lines

    def balance_minor(self, key: str, now: int) -> int:
        """Return what is left of a prepaid balance at an instant, rounded to minor units."""
        spent = Fraction(0)
        sales = [sale for sale in self.sales if sale.key == key]
        period = self.period_of(min(sale.from_at for sale in sales))
        while period[0] <= now:
            for stay in self.stays(key, period):
                if stay.sale.tariff.is_prepaid and stay.from_at <= now:
                    for measure in stay.sale.tariff.measures:
                        spent += self._priced(stay, measure, period, FOREVER)[1]
            period = self.period_of(period[1])
        return round_half_up(Fraction(self.top_ups[key]) - spent * 100)

    def day_after(self, at: int) -> int:
        """Return the midnight that ends the local day of an instant, ms."""
        return self._midnight(self._day(at) + datetime.timedelta(days=1))

    def spent_minor(self, stay: Stay, period: Period, posted_at: int, before: int) -> int:
        """Return what a stay's days that ended by a midnight have posted, in minor units.

        For measures over the period; before is the instant (ms) by which it was received.
        """
        total = 0
        span = self._span(stay.sale.tariff, period, stay.from_at, stay.until_at)
        until = min(posted_at, stay.until_at)
        for measure in stay.sale.tariff.measures:
            quantity = int(self._quantity(stay, measure, stay.from_at, until, before))
            total += round_half_up(price_of(measure, quantity, span) * 100)
        return total

    def exact_charges(self, period: Period) -> dict[tuple[str, str], int]:
        """Return what everything received so far costs, per key and measure, in 10^-18 units.

        Each stay's price is rounded down to the unit, as the wire carries it.
        """
        total: dict[tuple[str, str], int] = defaultdict(int)
        for key in sorted({sale.key for sale in self.sales}):
            for stay in self.stays(key, period):
                for measure in stay.sale.tariff.measures:
                    price = self._priced(stay, measure, period, FOREVER)[1]
                    total[key, measure.name] += int(price * 10**18)
        return {name: units for name, units in total.items() if units}

    # -- quantities ----------------------------------------------------------------------------

    def _priced(
        self, stay: Stay, measure: Measure, period: Period, before: int
    ) -> tuple[int, Fraction]:
        """Return the whole quantity and the exact price, in major units, of one measure."""
        span = self._span(stay.sale.tariff, period, stay.from_at, stay.until_at)
        if measure.per == "period":
            quantity = int(self._quantity(stay, measure, stay.from_at, stay.until_at, before))
            return quantity, price_of(measure, quantity, span)
        if measure.per == "day":
            parts = [
                int(self._quantity(stay, measure, *part, before)) for part in self._days_of(stay)
            ]
        else:
            parts = self._by_session(stay, measure, before)
        used = [part for part in parts if part]
        return sum(used), sum((price_of(measure, part, span) for part in used), Fraction(0))

    def _members(self, stay: Stay, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
        for member in self.memberships:
            since, until = max(begin, member.from_at), min(end, member.until_at)
            if member.key == stay.sale.key and since < until:
                yield member.login, since, until

    def _quantity(
        self, stay: Stay, measure: Measure, begin: int, end: int, before: int
    ) -> Fraction:
        total = Fraction(0)
        for login, since, until in self._members(stay, begin, end):
            if stay.sale.tariff.by_flows:
                total += _weighted(measure, self.truth.flowed(login, since, until, before))
            elif measure.weights:
                total += self._split_quantity(measure, login, since, until, before)
            else:
                total += _chosen(measure, self.truth.counted(login, since, until, before))
        return total

    def _split_quantity(
        self, measure: Measure, login: str, since: int, until: int, before: int
    ) -> Fraction:
        """Return accounting octets, divided over classes as the flows of each quarter hour say."""
        total = Fraction(0)
        first, last = self.truth.reach(login)
        since, until = max(since, first // CELL_MS * CELL_MS), min(until, last + CELL_MS)
        for cell in range(since // CELL_MS, (until - 1) // CELL_MS + 1):
            begin, end = max(since, cell * CELL_MS), min(until, (cell + 1) * CELL_MS)
            up, down, _ = self.truth.counted(login, begin, end, before)
            flows = self.truth.flowed(login, begin, end, before)
            ups = split(up, {name: octets[0] for name, octets in flows.items()})
            downs = split(down, {name: octets[1] for name, octets in flows.items()})
            names = {*ups, *downs}
            total += _weighted(measure, {n: (ups.get(n, 0), downs.get(n, 0)) for n in names})
        return total

    def _by_session(self, stay: Stay, measure: Measure, before: int) -> list[int]:
        return [
            _chosen(measure, self.truth.counted(login, since, until, before, session))
            for login, since, until in self._members(stay, stay.from_at, stay.until_at)
            for session in self.truth.sessions(login)
        ]

    # -- days ----------------------------------------------------------------------------------

    def _day(self, at: int) -> datetime.date:
        return datetime.datetime.fromtimestamp(at / 1000, self._zone).date()

    def _midnight(self, day: datetime.date) -> int:
        return (
            int(datetime.datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp())
            * 1000
        )

    def _days_of(self, stay: Stay) -> Iterator[tuple[int, int]]:
        day = self._day(stay.from_at)
        while self._midnight(day) < stay.until_at:
            after = day + datetime.timedelta(days=1)
            yield (
                max(stay.from_at, self._midnight(day)),
                min(stay.until_at, self._midnight(after)),
            )
            day = after

    def _span(self, tariff: Tariff, period: Period, begin: int, end: int) -> Span:
        """Return which part of the period a stretch is, as the tariff counts it."""
        if tariff.proration == "none":
            return Fraction(0), Fraction(1)
        if tariff.proration == "second":
            length = period[1] - period[0]
            return Fraction(begin - period[0], length), Fraction(end - period[0], length)
        first = self._day(period[0])
        days = (self._day(period[1]) - first).days
        return (
            Fraction((self._day(begin) - first).days, days),
            Fraction((self._day(end) - first).days, days),
        )


def _overlap(sale: Sale, period: Period) -> bool:
    return max(sale.from_at, period[0]) < min(sale.until_at, period[1])


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _difference(now: tuple[int, int], before: tuple[int, int]) -> tuple[int, int]:
    return now[0] - before[0], now[1] - before[1]


def _chosen(measure: Measure, counters: tuple[int, int, int]) -> int:
    up, down, seconds = counters
    return {"octets": up + down, "up": up, "down": down, "seconds": seconds}[measure.counts]


def _weighted(measure: Measure, classes: Mapping[str, tuple[int, int]]) -> Fraction:
    total = Fraction(0)
    for name, (up, down) in classes.items():
        total += Fraction(*measure.weights.get(name, (1, 1))) * _chosen(measure, (up, down, 0))
    return total
