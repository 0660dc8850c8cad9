"""Buckets of money and quota in a balance."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.instants import Instant
from api.models.values import EVENT_EXAMPLE, EventStatus, Identity, Model, example

_BUCKET = {
    "rating_key": "sub_01J9Z2",
    "bucket_id": "boost-881",
    "unit": "octets",
    "meter_id": "",
    "priority": 100,
    "amount": 5_000_000_000,
    "spent": 1_200_000_000,
    "rolled_over": 0,
    "expired": 0,
    "valid_from_at": "2026-11-21T10:15:00Z",
    "valid_until_at": "2026-11-28T10:15:00Z",
    "is_final": False,
}


class BucketCreate(Model):
    """A bucket to add: a bonus, or with a price a booster, which the balance pays at once.

    unit says what amount counts: minor units of currency, octets, or seconds. The lowest priority
    is drawn on first. It is valid from now for `days` of 24 hours, or until the period ends, or
    for good. `reference` is its id: the same reference twice is one bucket.
    """

    model_config = example(
        {
            "rating_key": "sub_01J9Z2",
            "reference": "boost-881",
            "unit": "octets",
            "amount": 5_000_000_000,
            "currency": "BDT",
            "price_minor": 9_900,
            "days": 7,
        }
    )

    rating_key: Identity
    reference: Identity
    unit: Literal["money", "octets", "seconds"]
    amount: int = Field(gt=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    price_minor: int = Field(default=0, ge=0, le=10**15)
    priority: int = Field(default=100, ge=0, le=1_000_000)
    meter_id: str = Field(default="", max_length=64)
    days: int | None = Field(default=None, gt=0, le=3_660)
    ends_with_period: bool = False
    renews: bool = False
    rollover_max: int = Field(default=0, ge=0, le=10**15)


class BucketGrant(Model):
    """A bucket that was asked for, and what rating said."""

    model_config = example(
        {"rating_key": "sub_01J9Z2", "bucket_id": "boost-881", "event": EVENT_EXAMPLE}
    )

    rating_key: str
    bucket_id: str
    event: EventStatus


class Bucket(Model):
    """A bucket as rating draws on it; amounts are minor units, octets or seconds, by unit.

    is_final says that it has ended and nothing draws on it any more; expired is what was left.
    """

    model_config = example(_BUCKET)

    rating_key: str
    bucket_id: str
    unit: str
    meter_id: str
    priority: int
    amount: int
    spent: int
    rolled_over: int
    expired: int
    valid_from_at: Instant
    valid_until_at: Instant | None = None
    is_final: bool
