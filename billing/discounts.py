"""What is taken off an invoice's fees: promotions, loyalty, coupons, referrals and bundles.

Discounts apply one after another, by rank and then by id, each to what those before it have left;
percentages and amounts alike. A discount is computed once over all lines that it reduces, rounded
once, and parted over them by largest remainder, so its lines add up to it and no line goes below
nothing. Usage, late fees and credits are not reduced.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from billing.charges import LATE_FEE
from billing.ledger import DISCOUNTS
from billing.tax_rules import part_amount
from rating.money import check_currency, parse_amount, round_half_up

if TYPE_CHECKING:
    from billing.invoices import InvoiceLine

DISCOUNT = "discount"
"""The kind of an invoice line that reduces the one above it."""

EVERYONE, COUPON, GRANT = "everyone", "coupon", "grant"
"""Who gets a discount: all of a branch, who has its code, or whom a clerk or a referral names."""


@dataclasses.dataclass(frozen=True, slots=True)
class Discount:
    """One discount of a branch. ValueError names the field that is wrong.

    Either percent (plain decimal text) or amount_minor per invoice in currency is set. applies_to
    names plans, products or kinds of charge, separated by blanks; empty: all fees. is_bundle: it
    holds only while each of them stands on the invoice. periods is for how many invoices (0: no
    end). A promotion runs in [starts_at, ends_at) ms: for everyone the invoice's period must end
    in it, of coupons the redemption must lie in it. segment is the kind of account, empty for all;
    months_min is how long one must have been a customer. code is a coupon's, uses_max how many
    accounts may redeem it (0: any number).
    """

    discount_id: str
    branch_id: str
    name: str
    who: str
    percent: str = ""
    amount_minor: int = 0
    currency: str = ""
    applies_to: str = ""
    is_bundle: bool = False
    rank: int = 0
    periods: int = 0
    starts_at: int | None = None
    ends_at: int | None = None
    segment: str = ""
    months_min: int = 0
    code: str = ""
    uses_max: int = 0

    def __post_init__(self) -> None:
        if self.who not in (EVERYONE, COUPON, GRANT):
            raise ValueError(f"who: expected everyone, coupon or grant, got {self.who!r}")
        if bool(self.percent) == bool(self.amount_minor):
            raise ValueError("percent: expected either a percentage or an amount")
        if self.percent:
            try:
                percent = parse_amount(self.percent)
            except ValueError as error:
                raise ValueError(f"percent: {error}") from None
            if not 0 < percent <= 100:
                raise ValueError(f"percent: expected above 0, to 100, got {self.percent!r}")
        else:
            check_currency(self.currency)
        for field in ("amount_minor", "periods", "months_min", "uses_max"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field}: expected 0 or more, got {getattr(self, field)}")
        if self.is_bundle and not self.applies_to:
            raise ValueError("applies_to: expected the parts of the bundle, got none")
        if (self.who == COUPON) != bool(self.code):
            raise ValueError(f"code: expected one for a coupon only, got {self.code!r}")
        if None not in (self.starts_at, self.ends_at) and (self.starts_at or 0) >= (
            self.ends_at or 0
        ):
            raise ValueError("ends_at: expected after starts_at")


@dataclasses.dataclass(frozen=True, slots=True)
class Granted:
    """A discount as one account has it; uses is on how many invoices it stood so far."""

    grant_id: str
    discount: Discount
    uses: int


def is_running(discount: Discount, at: int) -> bool:
    """Return whether an instant (ms) lies in a discount's dates."""
    begun = discount.starts_at is None or discount.starts_at <= at
    return begun and (discount.ends_at is None or at < discount.ends_at)


def fits(granted: Granted, segment: str, months: int, period_end_at: int) -> bool:
    """Return whether an account of a segment, a customer for so many months, has it now."""
    discount = granted.discount
    if discount.periods and granted.uses >= discount.periods:
        return False
    if discount.who == EVERYONE and not is_running(discount, period_end_at - 1):
        return False
    return discount.segment in ("", segment) and months >= discount.months_min


def months_between(since: datetime.date, until: datetime.date) -> int:
    """Return how many whole months lie between two days: from the 31st, to a month's last day."""
    months = (until.year - since.year) * 12 + until.month - since.month
    last_of_month = (until + datetime.timedelta(days=1)).month != until.month
    return months if until.day >= since.day or last_of_month else months - 1


def with_discounts(
    lines: Sequence[InvoiceLine], granted: Sequence[Granted], currency: str
) -> list[InvoiceLine]:
    """Return the lines, each with what reduces it beneath, in the order of the discounts."""
    left = [line.amount_minor if _is_reducible(line) else 0 for line in lines]
    beneath: list[list[InvoiceLine]] = [[] for _ in lines]
    for item in sorted(granted, key=lambda g: (g.discount.rank, g.grant_id)):
        discount = item.discount
        places = [n for n, line in enumerate(lines) if left[n] > 0 and _reduces(discount, line)]
        base = sum(left[n] for n in places)
        if not base or (discount.is_bundle and not _is_whole(discount, lines)):
            continue
        total = _total(discount, base, currency)
        for n, part in zip(places, part_amount(total, [left[n] for n in places]), strict=True):
            if part:
                beneath[n].append(_line(item, lines[n], part))
                left[n] -= part
    return [each for n, line in enumerate(lines) for each in (line, *beneath[n])]


def _total(discount: Discount, base: int, currency: str) -> int:
    """Return what a discount takes off lines of so much together, at most all."""
    if discount.percent:
        return round_half_up(base * Fraction(discount.percent) / 100)
    return min(discount.amount_minor, base) if discount.currency == currency else 0


def _is_reducible(line: InvoiceLine) -> bool:
    """Return whether a line is a fee that a discount may reduce."""
    is_fee = line.kind in ("recurring", "charge")
    return is_fee and line.amount_minor > 0 and line.evidence.get("charge_kind") != LATE_FEE


def _names(line: InvoiceLine) -> set[str]:
    """Return by which names `applies_to` may mean a line."""
    found = (line.evidence.get(name, "") for name in ("plan_id", "product_id", "charge_kind"))
    return {str(name) for name in found} - {""}


def _reduces(discount: Discount, line: InvoiceLine) -> bool:
    """Return whether a discount means a line."""
    wanted = set(discount.applies_to.split())
    return not wanted or bool(wanted & _names(line))


def _is_whole(discount: Discount, lines: Sequence[InvoiceLine]) -> bool:
    """Return whether every part of a bundle is asked for."""
    present = {name for line in lines if _is_reducible(line) for name in _names(line)}
    return set(discount.applies_to.split()) <= present


def _line(item: Granted, reduced: InvoiceLine, amount_minor: int) -> InvoiceLine:
    """Return the line that stands beneath the one that it reduces, taxed as that one."""
    discount = item.discount
    words = f"{discount.name} ({discount.percent} %)" if discount.percent else discount.name
    keys = ("subscription_id", "charge_id")
    return dataclasses.replace(
        reduced,
        kind=DISCOUNT,
        description=words,
        quantity=1,
        unit="",
        amount_minor=-amount_minor,
        evidence={
            "discount_id": discount.discount_id,
            "grant_id": item.grant_id,
            "reduces_minor": reduced.amount_minor,
            **{name: reduced.evidence[name] for name in keys if name in reduced.evidence},
        },
        income=DISCOUNTS,
    )
