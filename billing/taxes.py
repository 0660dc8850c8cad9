"""Tax per rate, on the sum of rounded lines (DESIGN §7), exclusive or inclusive.

Rounding each line's tax, or the invoice's tax before it is split by rate, gives other cents; this
rule is the one whose parts a reader can add up on the paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from fractions import Fraction

from rating.money import round_half_up


@dataclasses.dataclass(frozen=True, slots=True)
class TaxTreatment:
    """A tax rate in percent as plain decimal text, and whether prices already hold it."""

    percent: str
    is_inclusive: bool

    @property
    def rate(self) -> Fraction:
        """Return the rate as a fraction: 15 percent is 3/20."""
        return Fraction(self.percent) / 100


@dataclasses.dataclass(frozen=True, slots=True)
class TaxAmount:
    """Tax at one rate: net_minor without it, tax_minor the tax, both for the whole invoice."""

    treatment: TaxTreatment
    net_minor: int
    tax_minor: int


def tax_amounts(lines: Iterable[tuple[TaxTreatment, int]]) -> list[TaxAmount]:
    """Return the tax per rate of (treatment, rounded line amount) pairs, lowest rate first.

    Exclusive: tax = round(sum x rate). Inclusive: tax = round(sum x rate / (1 + rate)), and what
    is left is net, so net + tax is the sum again. A negative sum has a negative tax.
    """
    sums: dict[TaxTreatment, int] = {}
    for treatment, amount_minor in lines:
        sums[treatment] = sums.get(treatment, 0) + amount_minor
    taxes: list[TaxAmount] = []
    for treatment in sorted(sums, key=lambda t: (t.rate, t.is_inclusive)):
        amount, rate = sums[treatment], treatment.rate
        if treatment.is_inclusive:
            tax = round_half_up(amount * rate / (1 + rate))
            taxes.append(TaxAmount(treatment, amount - tax, tax))
        else:
            taxes.append(TaxAmount(treatment, amount, round_half_up(amount * rate)))
    return taxes
