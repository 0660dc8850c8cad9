"""Tax per rate, on the sum of rounded lines (DESIGN §7), exclusive or inclusive.

Rounding each line's tax, or the invoice's tax before it is split by rate, gives other cents; this
rule is the one whose parts a reader can add up on the paper. A line may bear several taxes, and a
compound one stands on the price with the taxes before it; each tax is summed over all lines that
bear it at the same rate, kept exact, and rounded once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from fractions import Fraction

from rating.money import round_half_up

PLAN_TAX = "tax"
"""tax_id of the one rate that a plan states itself, without a tax code."""

EXEMPT = "exempt"
REVERSE_CHARGE = "reverse_charge"
UNKNOWN = "unknown"
"""Why a tax is not charged: a certificate, the customer owes it himself, no rate is known."""


@dataclasses.dataclass(frozen=True, slots=True)
class TaxComponent:
    """One tax of a line: percent is plain decimal text, name is printed.

    is_compound: on the price with the taxes listed before it. relief says why it is not charged
    (its percent is then 0), certificate under which paper.
    """

    tax_id: str
    name: str
    percent: str
    is_compound: bool = False
    relief: str = ""
    certificate: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class TaxTreatment:
    """The taxes of a line, and whether its price already holds them.

    percent is what a line shows: a rate in percent as plain decimal text, or several joined by
    ``+``. parts are the taxes; without any, percent is the one rate of a plan. code is the tax
    code that a product or plan names, whose rates the day of supply decides (billing.tax_rules).
    """

    percent: str
    is_inclusive: bool
    code: str = ""
    parts: tuple[TaxComponent, ...] = ()

    @property
    def components(self) -> tuple[TaxComponent, ...]:
        """Return the taxes, at least one."""
        return self.parts or (TaxComponent(PLAN_TAX, "", self.percent),)

    @property
    def rate(self) -> Fraction:
        """Return all taxes together as a part of the price without them: 15 percent is 3/20."""
        return sum((share for _, _, share in factors(self)), Fraction(0))


@dataclasses.dataclass(frozen=True, slots=True)
class TaxAmount:
    """One tax at one rate: net_minor is what it stands on, both for the whole invoice."""

    component: TaxComponent
    is_inclusive: bool
    net_minor: int
    tax_minor: int

    @property
    def percent(self) -> str:
        """Return the rate in percent."""
        return self.component.percent


def factors(treatment: TaxTreatment) -> list[tuple[TaxComponent, Fraction, Fraction]]:
    """Return (tax, what it stands on, what it comes to) as parts of the price without taxes."""
    found: list[tuple[TaxComponent, Fraction, Fraction]] = []
    with_taxes = Fraction(1)
    for component in treatment.components:
        base = with_taxes if component.is_compound else Fraction(1)
        share = base * Fraction(component.percent) / 100
        found.append((component, base, share))
        with_taxes += share
    return found


@dataclasses.dataclass(slots=True)
class _Sum:
    """What one tax at one rate has gathered: exact base and tax, and the prices it is alone in."""

    base: Fraction = Fraction(0)
    tax: Fraction = Fraction(0)
    gross: int = 0
    is_alone: bool = True


def tax_amounts(lines: Iterable[tuple[TaxTreatment, int]]) -> list[TaxAmount]:
    """Return each tax of (treatment, rounded line amount) pairs, lowest treatment first.

    Exclusive: tax = round(sum x rate). Inclusive: tax = round(sum x rate / (1 + rate)), and what
    is left is net, so net + tax is the sum again. A negative sum has a negative tax.
    """
    taxes: list[TaxAmount] = []
    for (component, is_inclusive, _), found in _sums(lines).items():
        tax = round_half_up(found.tax)
        # What is left of a price that holds one tax, so that both add up to it again.
        rest = found.gross - tax if is_inclusive and found.is_alone else round_half_up(found.base)
        taxes.append(TaxAmount(component, is_inclusive, rest, tax))
    return taxes


def _sums(
    lines: Iterable[tuple[TaxTreatment, int]],
) -> Mapping[tuple[TaxComponent, bool, Fraction], _Sum]:
    """Return the sums per (tax, inclusive, what it stands on): those are one rate."""
    amounts: dict[TaxTreatment, int] = {}
    for treatment, amount_minor in lines:
        amounts[treatment] = amounts.get(treatment, 0) + amount_minor
    sums: dict[tuple[TaxComponent, bool, Fraction], _Sum] = {}
    for treatment in sorted(amounts, key=lambda t: (t.rate, t.is_inclusive, t.percent)):
        amount = Fraction(amounts[treatment])
        net = amount / (1 + treatment.rate) if treatment.is_inclusive else amount
        shares = factors(treatment)
        for component, base, share in shares:
            found = sums.setdefault((component, treatment.is_inclusive, base), _Sum())
            found.base += net * base
            found.tax += net * share
            found.gross += amounts[treatment]
            found.is_alone &= len(shares) == 1
    return sums


def net_of(lines: Iterable[tuple[TaxTreatment, int]], taxes: Iterable[TaxAmount]) -> int:
    """Return what lines come to without taxes: their sum less the taxes that prices hold."""
    held = sum(tax.tax_minor for tax in taxes if tax.is_inclusive)
    return sum(amount_minor for _, amount_minor in lines) - held
