"""What an account is asked for beside its plans and its usage: one frozen row per charge.

Installation, equipment, a late fee, a month of television: whoever finds that something is due
writes a `Charge` under its business key (`billing.adapters.charges.add_charges`), and the billing
run puts it as a line on the account's next invoice, once.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from billing.ledger import ADJUSTMENTS, REVENUE_FEES, REVENUE_ONE_OFF, REVENUE_RECURRING
from billing.taxes import TaxTreatment
from rating.money import check_currency

LATE_FEE = "late_fee"
"""The kind of a charge for paying late: income of fees, not of services."""

TARIFF_CORRECTION = "tariff_correction"
"""The kind of a charge, or what is given back, where a tariff was wrong (`billing.rerating`)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Charge:
    """One thing to be asked for, or, where amount_minor is negative, given back.

    charge_id is the business key: the same id twice is one charge. amount_minor is for the whole
    quantity, rounded by who made it, before tax_percent (plain decimal text, ``0`` for none) or,
    where tax_inclusive, with it. tax_code names rates by day and place instead
    (`billing.tax_rules`). subject is for whom or what, as printed, and may be empty;
    product_id and service_id likewise. The invoice of the period that holds due_at (ms) takes it,
    or the next one that is made. covers_from_at and covers_until_at (ms) are the service period,
    both or neither. ValueError names the field that is wrong.
    """

    charge_id: str
    branch_id: str
    account_id: str
    kind: str
    description: str
    amount_minor: int
    currency: str
    due_at: int
    quantity: int = 1
    subject: str = ""
    product_id: str = ""
    service_id: str = ""
    tax_percent: str = "0"
    tax_inclusive: bool = False
    covers_from_at: int | None = None
    covers_until_at: int | None = None
    tax_code: str = ""

    def __post_init__(self) -> None:
        for name in ("charge_id", "branch_id", "account_id", "kind", "description"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected some text, got none")
        check_currency(self.currency)
        if self.quantity < 0:
            raise ValueError(f"quantity: expected 0 or more, got {self.quantity}")
        try:
            rate = Fraction(self.tax_percent)
        except ValueError:
            rate = Fraction(-1)
        if not 0 <= rate <= 100:
            raise ValueError(f"tax_percent: expected 0 to 100, got {self.tax_percent!r}")
        if rate and self.tax_code:
            raise ValueError(f"tax_code: expected none beside a rate, got {self.tax_code!r}")
        covers = (self.covers_from_at, self.covers_until_at)
        if (covers[0] is None) != (covers[1] is None):
            raise ValueError(f"covers_from_at and covers_until_at: expected both, got {covers}")
        if covers[0] is not None and covers[1] is not None and covers[0] >= covers[1]:
            raise ValueError(f"covers_until_at: expected above covers_from_at, got {covers}")

    @property
    def tax(self) -> TaxTreatment:
        """Return how the amount is taxed."""
        return TaxTreatment(self.tax_percent, self.tax_inclusive, self.tax_code)


def income_of(charge: Charge) -> str:
    """Return the chart code that a charge is income of: fees, a service's time, a single sale."""
    if charge.kind == LATE_FEE:
        return REVENUE_FEES
    if charge.kind == TARIFF_CORRECTION:
        return ADJUSTMENTS
    return REVENUE_ONE_OFF if charge.covers_from_at is None else REVENUE_RECURRING
