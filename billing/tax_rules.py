"""Which taxes a supply bears: rates by code and place, certificates, withholding, by day.

The day of supply decides, not the day of the invoice. Where a rate changes within a supply, its
line is parted by day (or by what was used on each day) with the largest remainder, so that the
parts are the line again. All days are local ISO days; a validity is [valid_from_on, valid_until_on]
with both ends in it, the latter empty where it is open.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from billing.taxes import (
    EXEMPT,
    REVERSE_CHARGE,
    UNKNOWN,
    TaxAmount,
    TaxComponent,
    TaxTreatment,
)
from rating.money import round_half_up

WITHHOLDING = "withholding"
STATUS_KINDS = (EXEMPT, REVERSE_CHARGE, WITHHOLDING)

NET = "net"
TAX = "tax"
GROSS = "gross"
"""What a withholding is a percentage of: the price, the tax on it, or both."""


@dataclasses.dataclass(frozen=True, slots=True)
class TaxRate:
    """A tax of a code from a day on; the next row of the same key replaces it.

    place is empty for everywhere in the branch. A row of the account's own place goes before one
    of everywhere with the same tax_id. Taxes apply by position, then tax_id. percent is empty
    where the tax ends.
    """

    branch_id: str
    tax_code: str
    tax_id: str
    place: str
    valid_from_on: str
    name: str
    percent: str
    position: int
    is_compound: bool


@dataclasses.dataclass(frozen=True, slots=True)
class TaxStatus:
    """What an account's certificate says. tax_id is empty for every tax.

    kind is one of STATUS_KINDS; percent and basis are those of a withholding.
    """

    status_id: str
    account_id: str
    kind: str
    tax_id: str
    certificate: str
    percent: str
    basis: str
    valid_from_on: str
    valid_until_on: str


@dataclasses.dataclass(frozen=True, slots=True)
class TaxRules:
    """All that decides an account's taxes: where it is, its numbers, rates and certificates."""

    place: str = ""
    tax_number: str = ""
    rates: tuple[TaxRate, ...] = ()
    statuses: tuple[TaxStatus, ...] = ()


NO_RULES = TaxRules()
"""Nothing but what plans state themselves."""


@dataclasses.dataclass(frozen=True, slots=True)
class Supply:
    """When something was supplied: local days [first_on, end_on), and how much on which.

    weights are (day, weight); without any, every day weighs the same.
    """

    first_on: str
    end_on: str
    weights: tuple[tuple[str, int], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """A part of a supply under one treatment: days [first_on, end_on)."""

    treatment: TaxTreatment
    first_on: str
    end_on: str


def treatment_on(rules: TaxRules, wanted: TaxTreatment, day: str) -> TaxTreatment:
    """Return what a line bears that is supplied on a day.

    A code without a rate on that day gives one untaxed component with relief UNKNOWN: a draft
    with it waits for a clerk.
    """
    rates = _rates_on(rules, wanted.code, day) if wanted.code else ()
    if wanted.code and not rates:
        parts: tuple[TaxComponent, ...] = (TaxComponent(wanted.code, "", "0", relief=UNKNOWN),)
    elif wanted.code:
        parts = tuple(TaxComponent(r.tax_id, r.name, r.percent, r.is_compound) for r in rates)
    else:
        parts = wanted.components
    relieved = tuple(_relieved(rules, part, day) for part in parts)
    if relieved == wanted.components:
        return wanted
    percent = " + ".join(dict.fromkeys(part.percent for part in relieved))
    return dataclasses.replace(wanted, percent=percent, parts=relieved)


def spans_of(rules: TaxRules, wanted: TaxTreatment, supply: Supply) -> list[Span]:
    """Return a supply's days cut where its treatment changes; at least one span."""
    cuts = {rate.valid_from_on for rate in rules.rates if rate.tax_code == wanted.code}
    for status in rules.statuses:
        cuts.add(status.valid_from_on)
        if status.valid_until_on:
            cuts.add(_day_after(status.valid_until_on))
    days = sorted({supply.first_on, *(c for c in cuts if supply.first_on < c < supply.end_on)})
    spans: list[Span] = []
    for first_on, end_on in zip(days, [*days[1:], supply.end_on], strict=True):
        treatment = treatment_on(rules, wanted, first_on)
        if spans and spans[-1].treatment == treatment:
            spans[-1] = dataclasses.replace(spans[-1], end_on=end_on)
        else:
            spans.append(Span(treatment, first_on, end_on))
    return spans


def weights_of(spans: Sequence[Span], supply: Supply) -> list[int]:
    """Return how much of a supply lies in each span: by its weights, else by its days."""
    sums = [
        sum(weight for day, weight in supply.weights if span.first_on <= day < span.end_on)
        for span in spans
    ]
    if any(sums) and min(sums) >= 0:
        return sums
    return [max((_date(span.end_on) - _date(span.first_on)).days, 1) for span in spans]


def part_amount(amount: int, weights: Sequence[int]) -> list[int]:
    """Return a whole number in parts by weight with the largest remainder; they sum to it.

    Of equal remainders the earlier part gets the unit. Weights are not negative, one is above 0.
    """
    total = sum(weights)
    sign = -1 if amount < 0 else 1
    parts = [abs(amount) * weight // total for weight in weights]
    rests = [abs(amount) * weight % total for weight in weights]
    missing = abs(amount) - sum(parts)
    for place in sorted(range(len(parts)), key=lambda i: (-rests[i], i))[:missing]:
        parts[place] += 1
    return [sign * part for part in parts]


@dataclasses.dataclass(frozen=True, slots=True)
class Withheld:
    """What the payer keeps and owes the tax office in our name."""

    status: TaxStatus
    base_minor: int
    amount_minor: int


def withheld_of(
    rules: TaxRules, net_minor: int, taxes: Iterable[TaxAmount], day: str
) -> list[Withheld]:
    """Return what the payer withholds on a day, per certificate; mirrored for what is credited."""
    known = list(taxes)
    found: list[Withheld] = []
    for status in sorted(rules.statuses, key=lambda s: s.status_id):
        if status.kind != WITHHOLDING or not _is_valid(status, day):
            continue
        tax = sum(t.tax_minor for t in known if status.tax_id in ("", t.component.tax_id))
        base = {NET: net_minor, TAX: tax, GROSS: net_minor + tax}[status.basis]
        amount = round_half_up(Fraction(status.percent) * base / 100)
        if amount:
            found.append(Withheld(status, base, amount))
    return found


def unknown_codes(taxes: Iterable[TaxAmount]) -> list[str]:
    """Return the tax codes for which no rate is known, sorted."""
    return sorted({t.component.tax_id for t in taxes if t.component.relief == UNKNOWN})


def _rates_on(rules: TaxRules, code: str, day: str) -> tuple[TaxRate, ...]:
    """Return a code's rates on a day in the order in which they apply."""
    newest: dict[tuple[str, str], TaxRate] = {}
    for rate in sorted(rules.rates, key=lambda r: r.valid_from_on):
        if rate.tax_code == code and rate.valid_from_on <= day and rate.place in ("", rules.place):
            newest[rate.tax_id, rate.place] = rate
    chosen: Mapping[str, TaxRate] = {
        tax_id: newest.get((tax_id, rules.place), rate)
        for (tax_id, place), rate in newest.items()
        if place == "" or (tax_id, "") not in newest
    }
    in_force = [rate for rate in chosen.values() if rate.percent]
    return tuple(sorted(in_force, key=lambda r: (r.position, r.tax_id)))


def _relieved(rules: TaxRules, part: TaxComponent, day: str) -> TaxComponent:
    """Return a tax as an account's certificates leave it; an exemption goes before the rest."""
    for kind in (EXEMPT, REVERSE_CHARGE):
        for status in sorted(rules.statuses, key=lambda s: s.status_id):
            if (
                status.kind == kind
                and status.tax_id in ("", part.tax_id)
                and _is_valid(status, day)
                and part.relief != UNKNOWN
            ):
                return dataclasses.replace(
                    part, percent="0", relief=kind, certificate=status.certificate
                )
    return part


def _is_valid(status: TaxStatus, day: str) -> bool:
    return status.valid_from_on <= day and (
        not status.valid_until_on or day <= status.valid_until_on
    )


def _date(day: str) -> datetime.date:
    return datetime.date.fromisoformat(day)


def _day_after(day: str) -> str:
    return (_date(day) + datetime.timedelta(days=1)).isoformat()
