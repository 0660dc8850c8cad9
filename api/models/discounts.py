"""Discounts, and which accounts have them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.instants import Instant, InstantIn
from api.models.services import Percent
from api.models.values import Identity, Model, Text, example

Code = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9-]+$")]
"""What a customer types to redeem a coupon."""

_DISCOUNT = {
    "discount_id": "eid-2026",
    "branch_id": "dhanmondi",
    "name": "Eid offer",
    "who": "coupon",
    "percent": "20",
    "amount_minor": 0,
    "currency": "",
    "applies_to": "home-40 tv",
    "is_bundle": False,
    "rank": 0,
    "periods": 3,
    "starts_at": "2026-11-01T00:00:00Z",
    "ends_at": "2026-12-01T00:00:00Z",
    "segment": "person",
    "months_min": 0,
    "code": "EID26",
    "uses_max": 100,
}


class Discount(Model):
    """What is taken off fees, by percent or by an amount per invoice; see DiscountCreate."""

    model_config = example(_DISCOUNT)

    discount_id: str
    branch_id: str
    name: str
    who: str
    percent: str
    amount_minor: int
    currency: str
    applies_to: str
    is_bundle: bool
    rank: int
    periods: int
    starts_at: Instant | None
    ends_at: Instant | None
    segment: str
    months_min: int
    code: str
    uses_max: int


class DiscountCreate(Model):
    """A discount for everyone, for who redeems its code, or for whom it is granted.

    Lower ranks come first; each takes off what the ones before have left. applies_to names plans,
    products or kinds of charge, separated by blanks; a bundle needs all of them on the invoice.
    periods is for how many invoices (0: no end); uses_max how many accounts may redeem a code.
    """

    model_config = example(_DISCOUNT)

    discount_id: Identity
    branch_id: Identity | None = None
    name: Text
    who: Literal["everyone", "coupon", "grant"] = "grant"
    percent: Percent | Literal[""] = ""
    amount_minor: int = Field(default=0, ge=0, le=10**15)
    currency: str = Field(default="", pattern=r"^([A-Z]{3})?$")
    applies_to: str = Field(default="", max_length=500)
    is_bundle: bool = False
    rank: int = Field(default=0, ge=0, le=1000)
    periods: int = Field(default=0, ge=0, le=1200)
    starts_at: InstantIn | None = None
    ends_at: InstantIn | None = None
    segment: Literal["", "person", "company"] = ""
    months_min: int = Field(default=0, ge=0, le=1200)
    code: Code | Literal[""] = ""
    uses_max: int = Field(default=0, ge=0)


_GRANT = {
    "grant_id": "dgr_01J9ZF",
    "discount_id": "eid-2026",
    "branch_id": "dhanmondi",
    "account_id": "acc_01J9Z1",
    "reason": "coupon",
    "granted_at": "2026-11-21T10:15:02Z",
}


class DiscountGrant(Model):
    """An account's discount, and why: coupon, clerk, referred, or referral of an account."""

    model_config = example(_GRANT)

    grant_id: str
    discount_id: str
    branch_id: str
    account_id: str
    reason: str
    granted_at: Instant


class GrantCreate(Model):
    """A coupon's code, or a discount that the clerk grants: one of both.

    referred_account_id says whom the account has brought: both get the discount, once.
    """

    model_config = example({"code": "EID26"})

    code: Code | None = None
    discount_id: Identity | None = None
    referred_account_id: Identity | None = None
