"""What is sold beside rate plans: products, services, holds, single charges."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.instants import Instant, InstantIn
from api.models.values import MONEY_EXAMPLE, Identity, Model, Money, Text, example

Amount = Annotated[str, Field(pattern=r"^[0-9]{1,15}(\.[0-9]{1,6})?$", max_length=22)]
"""An exact decimal in major units, such as ``300.00``."""

Percent = Annotated[str, Field(pattern=r"^(100|[0-9]{1,2}(\.[0-9]{1,4})?)$", max_length=7)]
"""A plain decimal from 0 to 100."""

Kind = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z][a-z0-9_]*$")]
"""The trade's word, such as ``installation``."""

_PRODUCT = {
    "product_id": "tv-basic",
    "version": 1,
    "branch_id": "dhanmondi",
    "name": "TV Basic",
    "kind": "tv",
    "currency": "BDT",
    "price": "300.00",
    "charging": "advance",
    "cycle": "",
    "proration": "day",
    "tax_percent": "5",
    "tax_inclusive": False,
    "valid_from_at": "2026-11-01T00:00:00Z",
    "tax_code": "",
}


class Product(Model):
    """One version of what is sold for a fixed price. A new price is a new version."""

    model_config = example(_PRODUCT)

    product_id: str
    version: int
    branch_id: str
    name: str
    kind: str
    currency: str
    price: str
    charging: str
    cycle: str
    proration: str
    tax_percent: str
    tax_inclusive: bool
    valid_from_at: Instant
    tax_code: str


class ProductCreate(Model):
    """A product's next version. cycle empty means the account's; a single sale has none."""

    model_config = example({k: v for k, v in _PRODUCT.items() if k != "version"})

    product_id: Identity
    branch_id: Identity | None = None
    name: Text
    kind: Kind
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    price: Amount
    charging: Literal["one_off", "advance", "arrears"] = "arrears"
    cycle: Literal["", "daily", "weekly", "monthly", "quarterly", "yearly"] = ""
    proration: Literal["none", "day", "second"] = "day"
    tax_percent: Percent = "0"
    tax_inclusive: bool = False
    valid_from_at: InstantIn | None = None
    tax_code: str = Field(default="", max_length=64)


_SERVICE = {
    "service_id": "srv_01J9ZC",
    "branch_id": "dhanmondi",
    "account_id": "acc_01J9Z1",
    "subscriber_id": "",
    "product_id": "tv-basic",
    "product_version": 1,
    "quantity": 1,
    "starts_at": "2026-11-22T00:00:00Z",
    "ends_at": None,
}


class Service(Model):
    """A customer's quantity of a product in [starts_at, ends_at)."""

    model_config = example(_SERVICE)

    service_id: str
    branch_id: str
    account_id: str
    subscriber_id: str
    product_id: str
    product_version: int
    quantity: int
    starts_at: Instant
    ends_at: Instant | None = None


class ServiceCreate(Model):
    """Gives an account a product, the newest version where none is named.

    A product of a single sale becomes a charge at once.
    """

    model_config = example({"account_id": "acc_01J9Z1", "product_id": "tv-basic"})

    account_id: Identity
    subscriber_id: Identity | None = None
    product_id: Identity
    product_version: int | None = Field(default=None, ge=1)
    quantity: int = Field(default=1, ge=1, le=1_000_000)
    starts_at: InstantIn | None = None


class ServiceChange(Model):
    """The product or quantity to go on with from effective_at; what is left out stays.

    Without effective_at, a lower fee waits for the end of the account's period, any other begins at
    the next minute.
    """

    model_config = example({"product_id": "tv-premium"})

    product_id: Identity | None = None
    product_version: int | None = Field(default=None, ge=1)
    quantity: int | None = Field(default=None, ge=1, le=1_000_000)
    effective_at: InstantIn | None = None


_CHARGE = {
    "charge_id": "chg_01J9ZD",
    "branch_id": "dhanmondi",
    "account_id": "acc_01J9Z1",
    "kind": "installation",
    "description": "Fibre installation",
    "amount": MONEY_EXAMPLE,
    "quantity": 1,
    "subject": "",
    "product_id": "",
    "service_id": "",
    "tax_percent": "5",
    "tax_inclusive": False,
    "tax_code": "",
    "due_at": "2026-11-21T10:15:02Z",
    "covers_from_at": None,
    "covers_until_at": None,
    "invoice_id": None,
}


class Charge(Model):
    """One thing that is asked for; invoice_id is null until an invoice has it."""

    model_config = example(_CHARGE)

    charge_id: str
    branch_id: str
    account_id: str
    kind: str
    description: str
    amount: Money
    quantity: int
    subject: str
    product_id: str
    service_id: str
    tax_percent: str
    tax_inclusive: bool
    tax_code: str
    due_at: Instant
    covers_from_at: Instant | None = None
    covers_until_at: Instant | None = None
    invoice_id: str | None = None


class ChargeCreate(Model):
    """A charge by a clerk, or with a negative amount a credit; on the account's next invoice.

    reference is the clerk's own number: the same reference twice is one charge.
    """

    model_config = example(
        {
            "kind": "installation",
            "description": "Fibre installation",
            "amount_minor": 250_000,
            "currency": "BDT",
            "tax_percent": "5",
        }
    )

    reference: Identity | None = None
    kind: Kind
    description: Text
    amount_minor: int = Field(ge=-(10**15), le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    quantity: int = Field(default=1, ge=1, le=1_000_000)
    subject: str = Field(default="", max_length=200)
    tax_percent: Percent = "0"
    tax_inclusive: bool = False
    tax_code: str = Field(default="", max_length=64)
    due_at: InstantIn | None = None


_HOLD = {
    "hold_id": "hld_01J9ZE",
    "branch_id": "dhanmondi",
    "account_id": "acc_01J9Z1",
    "target_id": "",
    "reason": "vacation",
    "fee_percent": "0",
    "starts_at": "2026-12-01T00:00:00+06:00",
    "ends_at": "2027-01-01T00:00:00+06:00",
}


class Hold(Model):
    """A time in which only fee_percent of fees is asked for; target_id empty: all of them."""

    model_config = example(_HOLD)

    hold_id: str
    branch_id: str
    account_id: str
    target_id: str
    reason: str
    fee_percent: str
    starts_at: Instant
    ends_at: Instant | None = None


class HoldCreate(Model):
    """A vacation hold. Its length, and all of a year together, are limited by the settings.

    target_id is a service or subscription of the account; left out, all rest.
    """

    model_config = example(
        {"starts_at": "2026-12-01T00:00:00+06:00", "ends_at": "2027-01-01T00:00:00+06:00"}
    )

    target_id: Identity | None = None
    reason: Text = "vacation"
    fee_percent: Percent | None = None
    starts_at: InstantIn | None = None
    ends_at: InstantIn
