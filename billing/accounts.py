"""Whom an ISP serves: branches, accounts, subscribers, pools and subscriptions.

Frozen rows, one class per table of the same name; the fields are the columns.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from rating.periods import Calendar, Cycle


@dataclasses.dataclass(frozen=True, slots=True)
class Branch:
    """An office: its time zone (IANA) makes the days, its prefix begins its invoice numbers."""

    branch_id: str
    name: str
    timezone: str
    currency: str
    invoice_prefix: str
    language: str = "en"
    address: str = ""
    tax_number: str = ""
    phone: str = ""
    email: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """Who owes. kind is ``person`` or ``company``; address may have several lines.

    cycle, anchor_day and anchor_month are those of `rating.periods.Calendar`.
    """

    account_id: str
    branch_id: str
    name: str
    kind: str
    email: str
    phone: str
    created_at: int
    address: str = ""
    cycle: Cycle | Literal["month"] = "monthly"
    anchor_day: int = 1
    anchor_month: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class PlanVersion:
    """One unchanging version of a rate plan; document is `rating.plans.Plan` as JSON text."""

    plan_id: str
    version: int
    branch_id: str
    name: str
    document: str
    valid_from_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Subscriber:
    """Who uses. status is ``active``, ``suspended`` or ``ended``."""

    subscriber_id: str
    branch_id: str
    account_id: str
    user_name: str
    name: str
    status: str
    created_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """Subscribers who share one allowance; its id is their rating key."""

    pool_id: str
    branch_id: str
    account_id: str
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Subscription:
    """A rating key on a plan version in [starts_at, ends_at), ms; None while it runs."""

    subscription_id: str
    branch_id: str
    account_id: str
    rating_key: str
    plan_id: str
    plan_version: int
    starts_at: int
    ends_at: int | None


def calendar_of(account: Account, branch: Branch) -> Calendar:
    """Return the calendar of an account's periods, in its branch's time zone.

    ``month`` is what former versions of the API wrote for a monthly cycle. ValueError names the
    field that is out of range.
    """
    cycle: Cycle = "monthly" if account.cycle == "month" else account.cycle
    return Calendar(branch.timezone, cycle, account.anchor_day, account.anchor_month)
