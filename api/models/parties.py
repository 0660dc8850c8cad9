"""Whom the ISP serves: branches, accounts, plans, subscribers, pools, subscriptions."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import Field, ValidationInfo, field_validator

from api.instants import Instant, InstantIn
from api.models.values import EVENT_EXAMPLE, EventStatus, Identity, Model, Text, example
from rating.money import CURRENCIES
from rating.periods import Cycle

UserName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s\x00-\x1f]+$")]
"""A RADIUS User-Name (RFC 2865 §5.1): at most 253 octets, here without blanks."""

_BRANCH = {
    "branch_id": "dhanmondi",
    "name": "Dhanmondi",
    "timezone": "Asia/Dhaka",
    "currency": "BDT",
    "invoice_prefix": "DHM",
    "language": "en",
}


class Branch(Model):
    """An office of the ISP, with the clock and currency its customers live by."""

    model_config = example(_BRANCH)

    branch_id: str
    name: str
    timezone: str
    currency: str
    invoice_prefix: str
    language: str


class BranchCreate(Model):
    """A new branch; only a key without a branch may open one."""

    model_config = example(_BRANCH)

    branch_id: Identity
    name: Text
    timezone: str = Field(max_length=64)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    invoice_prefix: str = Field(pattern=r"^[A-Z0-9]{1,8}$")
    language: str = Field(default="en", pattern=r"^[a-z]{2}(-[A-Z]{2})?$")

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("a time zone of the IANA database, such as Asia/Dhaka")
        return name

    @field_validator("currency")
    @classmethod
    def _is_money(cls, code: str) -> str:
        if code not in CURRENCIES:
            raise ValueError("a currency code of ISO 4217, such as BDT")
        return code


_ACCOUNT = {
    "account_id": "acc_01J9Z1",
    "branch_id": "dhanmondi",
    "name": "Rahman family",
    "kind": "person",
    "email": "rahman@example.net",
    "phone": "+8801700000001",
    "address": "House 12, Road 5",
    "cycle": "monthly",
    "anchor_day": 1,
    "anchor_month": 1,
    "created_at": "2026-11-01T04:00:00Z",
}
_ACCOUNT_IN = {k: v for k, v in _ACCOUNT.items() if k not in {"account_id", "created_at"}}


class Account(Model):
    """Who owes: a person or a company, with the cycle that makes its billing periods."""

    model_config = example(_ACCOUNT)

    account_id: str
    branch_id: str
    name: str
    kind: str
    email: str
    phone: str
    address: str
    cycle: str
    anchor_day: int
    anchor_month: int
    created_at: Instant


class AccountCreate(Model):
    """A new account; branch_id may be left out where the key has a branch.

    Its periods begin on anchor_day of the month (by the week: 1 Monday to 7 Sunday); quarters and
    years in anchor_month. A day that a month does not have is its last one.
    """

    model_config = example(_ACCOUNT_IN)

    branch_id: Identity | None = None
    name: Text
    kind: Literal["person", "company"] = "person"
    email: str = Field(default="", max_length=254)
    phone: str = Field(default="", max_length=32)
    address: str = Field(default="", max_length=500)
    cycle: Cycle = "monthly"
    anchor_day: int = Field(default=1, ge=1, le=31)
    anchor_month: int = Field(default=1, ge=1, le=12)

    @field_validator("cycle", mode="before")
    @classmethod
    def _month_is_monthly(cls, cycle: object) -> object:
        return "monthly" if cycle == "month" else cycle

    @field_validator("anchor_day")
    @classmethod
    def _is_a_day_of_the_week(cls, day: int, info: ValidationInfo) -> int:
        if info.data.get("cycle") == "weekly" and day > 7:
            raise ValueError("1 (Monday) to 7 (Sunday) for a weekly cycle")
        return day


class AccountPatch(Model):
    """What may be changed; members left out stay as they are."""

    model_config = example({"phone": "+8801700000002"})

    name: Text | None = None
    email: str | None = Field(default=None, max_length=254)
    phone: str | None = Field(default=None, max_length=32)
    address: str | None = Field(default=None, max_length=500)


_PLAN = {
    "plan_id": "home-40",
    "version": 1,
    "branch_id": "dhanmondi",
    "name": "Home 40",
    "document": {
        "currency": "BDT",
        "recurring_fee": "700.00",
        "tax_rate": "0.05",
        "meters": [
            {
                "meter_id": "data",
                "curve": {
                    "model": "allowance_overage",
                    "allowance": 100_000_000_000,
                    "unit_price": "10.00",
                    "unit": 1_000_000_000,
                },
            }
        ],
        "throttle_steps": [{"meter_id": "data", "profile": "slow-2m", "at_percent": 100}],
    },
    "valid_from_at": "2026-11-01T00:00:00Z",
}


class Plan(Model):
    """One version of a rate plan. A version never changes; a new price is a new version."""

    model_config = example(_PLAN)

    plan_id: str
    version: int
    branch_id: str
    name: str
    document: dict[str, Any]
    valid_from_at: Instant


class PlanCreate(Model):
    """A plan's next version (its first where plan_id is new)."""

    model_config = example({k: v for k, v in _PLAN.items() if k != "version"})

    plan_id: Identity
    branch_id: Identity | None = None
    name: Text
    document: dict[str, Any]
    valid_from_at: InstantIn | None = None


_SUBSCRIBER = {
    "subscriber_id": "sub_01J9Z2",
    "branch_id": "dhanmondi",
    "account_id": "acc_01J9Z1",
    "user_name": "rahman01",
    "name": "Ayesha Rahman",
    "status": "active",
    "created_at": "2026-11-01T04:05:00Z",
    "rating_key": "pool_01J9Z3",
    "pool_id": "pool_01J9Z3",
    "plan_id": "family-100",
    "plan_name": "Family 100",
    "service": "active",
    "events": [],
}


class Subscriber(Model):
    """Who uses. rating_key is who shares the counters: the pool, else the subscriber itself.

    service is what sessions should get now: ``active``, ``profile:<name>`` or ``blocked``.
    """

    model_config = example(_SUBSCRIBER)

    subscriber_id: str
    branch_id: str
    account_id: str
    user_name: str
    name: str
    status: str
    created_at: Instant
    rating_key: str
    pool_id: str | None = None
    plan_id: str | None = None
    plan_name: str | None = None
    service: str = "active"
    events: list[EventStatus] = Field(default_factory=list)


class SubscriberCreate(Model):
    """A new subscriber; its directory entries and, with a plan, its subscription come along."""

    model_config = example(
        {
            "account_id": "acc_01J9Z1",
            "user_name": "rahman01",
            "name": "Ayesha Rahman",
            "static_prefixes": ["203.0.113.8/29"],
            "plan_id": "home-40",
        }
    )

    account_id: Identity
    user_name: UserName
    name: Text
    static_prefixes: list[str] = Field(default=[], max_length=64)
    plan_id: Identity | None = None
    effective_at: InstantIn | None = None

    @field_validator("static_prefixes")
    @classmethod
    def _are_prefixes(cls, prefixes: list[str]) -> list[str]:
        for prefix in prefixes:
            try:
                ipaddress.ip_network(prefix)
            except ValueError as error:
                raise ValueError(f"address prefixes such as 203.0.113.8/29: {error}") from None
        return prefixes


class SubscriberPatch(Model):
    """What may be changed; a new user name or status takes effect at effective_at.

    A suspended or ended subscriber's sessions are ended, and new ones again. In a pool that
    concerns this member only and acts at once: leave effective_at out.
    """

    model_config = example({"status": "suspended"})

    name: Text | None = None
    user_name: UserName | None = None
    status: Literal["active", "suspended", "ended"] | None = None
    effective_at: InstantIn | None = None


_POOL = {
    "pool_id": "pool_01J9Z3",
    "branch_id": "dhanmondi",
    "account_id": "acc_01J9Z1",
    "name": "Rahman family",
    "members": ["sub_01J9Z2"],
    "events": [EVENT_EXAMPLE],
}


class Pool(Model):
    """Subscribers who share one allowance and one price."""

    model_config = example(_POOL)

    pool_id: str
    branch_id: str
    account_id: str
    name: str
    members: list[str]
    events: list[EventStatus] = Field(default_factory=list)


class PoolCreate(Model):
    """A new pool of an account, without members yet."""

    model_config = example({"account_id": "acc_01J9Z1", "name": "Rahman family"})

    account_id: Identity
    name: Text


class PoolMember(Model):
    """Who joins, and from which whole minute (the next one where left out)."""

    model_config = example({"subscriber_id": "sub_01J9Z2", "effective_at": "2026-11-21T10:16:00Z"})

    subscriber_id: Identity
    effective_at: InstantIn | None = None


_SUBSCRIPTION = {
    "subscription_id": "scn_01J9Z5",
    "branch_id": "dhanmondi",
    "account_id": "acc_01J9Z1",
    "rating_key": "pool_01J9Z3",
    "plan_id": "family-100",
    "plan_version": 1,
    "starts_at": "2026-11-01T00:00:00Z",
    "ends_at": None,
    "events": [EVENT_EXAMPLE],
}


class Subscription(Model):
    """A rating key on a plan version in [starts_at, ends_at)."""

    model_config = example(_SUBSCRIPTION)

    subscription_id: str
    branch_id: str
    account_id: str
    rating_key: str
    plan_id: str
    plan_version: int
    starts_at: Instant
    ends_at: Instant | None = None
    events: list[EventStatus] = Field(default_factory=list)


class SubscriptionCreate(Model):
    """Puts a subscriber or a pool on a plan; the newest version where none is named."""

    model_config = example({"rating_key": "sub_01J9Z2", "plan_id": "home-40"})

    rating_key: Identity
    plan_id: Identity
    plan_version: int | None = Field(default=None, ge=1)
    starts_at: InstantIn | None = None


class PlanChange(Model):
    """The plan to go on with; it opens a new segment at effective_at.

    Without effective_at, `when` says: now, or at the end of the account's period; without that, a
    plan of a lower fee waits for the period's end, any other begins at the next minute.
    """

    model_config = example({"plan_id": "home-100", "effective_at": "2026-12-01T00:00:00+06:00"})

    plan_id: Identity
    plan_version: int | None = Field(default=None, ge=1)
    effective_at: InstantIn | None = None
    when: Literal["now", "period_end"] | None = None


class Ending(Model):
    """When it ends: a whole minute, the next one where left out."""

    model_config = example({"effective_at": "2026-12-01T00:00:00+06:00"})

    effective_at: InstantIn | None = None
