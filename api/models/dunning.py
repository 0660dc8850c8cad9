"""Payment terms, customer groups, dunning: schedules, what an account is in for, what holds it."""

from __future__ import annotations

import datetime
from typing import Any, Literal

from pydantic import Field

from api.instants import Instant, InstantIn
from api.models.values import MONEY_EXAMPLE, Identity, Model, Money, Text, example
from billing.terms import TERMS_DAYS_MAX

Days = int | None
_TERMS = {"terms_days": 14, "grace_days": 2, "schedule_id": "homes"}


class Terms(Model):
    """What one level says: null, or empty, where it leaves the answer to the next.

    An account's answer holds before its group's, that before its branch's, that before the
    settings. terms_days are days from issue until due; grace_days replace those of the schedule.
    """

    model_config = example(_TERMS)

    terms_days: Days = Field(default=None, ge=0, le=TERMS_DAYS_MAX)
    grace_days: Days = Field(default=None, ge=0, le=90)
    schedule_id: str = Field(default="", max_length=64)


class AccountTerms(Terms):
    """An account's group, and what it was granted itself."""

    model_config = example({**_TERMS, "group_id": "homes"})

    group_id: str = Field(default="", max_length=64)


_GROUP = {"group_id": "homes", "branch_id": "dhanmondi", "name": "Homes", **_TERMS}


class CustomerGroupCreate(Terms):
    """A group of accounts that are treated alike; the same id again changes it."""

    model_config = example(_GROUP)

    group_id: Identity
    branch_id: Identity | None = None
    name: Text


class CustomerGroup(Terms):
    """Accounts that are treated alike."""

    model_config = example(_GROUP)

    group_id: str
    branch_id: str
    name: str


_SCHEDULE = {
    "schedule_id": "homes",
    "branch_id": "dhanmondi",
    "document": {
        "name": "Homes",
        "minimum": {"BDT": "100.00"},
        "rest_days": ["friday"],
        "steps": [
            {"step_id": "soon", "days": -3, "action": "remind", "template": "due_soon"},
            {"step_id": "fee", "days": 5, "action": "late_fee", "percent": "2"},
            {"step_id": "slow", "days": 7, "action": "slow_down", "profile": "slow-2m"},
            {"step_id": "block", "days": 14, "action": "block"},
        ],
    },
}


class DunningScheduleCreate(Model):
    """A schedule, or its next version: invoices that are out keep the version they began with."""

    model_config = example(_SCHEDULE)

    schedule_id: Identity
    branch_id: Identity | None = None
    document: dict[str, Any]
    valid_from_at: InstantIn | None = None


class DunningSchedule(Model):
    """One version of a schedule, which never changes."""

    model_config = example(
        {**_SCHEDULE, "version": 1, "name": "Homes", "valid_from_at": "2026-11-01T00:00:00Z"}
    )

    schedule_id: str
    version: int
    branch_id: str
    name: str
    document: dict[str, Any]
    valid_from_at: Instant


_HOLIDAY = {"day_on": "2026-12-16", "name": "Victory Day"}


class HolidayCreate(Model):
    """A day on which nobody is dunned."""

    model_config = example(_HOLIDAY)

    day_on: datetime.date
    name: Text


class Holiday(Model):
    """A day on which nobody is dunned."""

    model_config = example(_HOLIDAY)

    day_on: str
    name: str


_PAUSE = {
    "pause_id": "prm_01J9ZB",
    "account_id": "acc_01J9Z1",
    "invoice_id": "",
    "kind": "promise",
    "restores": True,
    "from_on": "2026-12-24",
    "until_on": "2026-12-28",
    "amount": MONEY_EXAMPLE,
    "reason": "salary comes on the 27th",
    "made_at": "2026-12-24T05:00:00Z",
    "made_by": "Front desk",
    "ended_on": None,
    "ended_by": "",
    "outcome": "",
}


class PromiseCreate(Model):
    """A promise to pay by a day: dunning waits until then, and goes on where it stood if broken.

    restores says whether what is restricted is lifted meanwhile.
    """

    model_config = example(
        {"amount_minor": 81_200, "currency": "BDT", "until_on": "2026-12-28", "restores": True}
    )

    amount_minor: int = Field(gt=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    until_on: datetime.date
    restores: bool = True
    reason: str = Field(default="", max_length=200)


class DunningHoldCreate(Model):
    """What stops dunning: a hold, an exemption of the account, or a dispute about one invoice.

    Without until_on it has no end until it is released. A dispute always restores.
    """

    model_config = example(
        {"kind": "dispute", "invoice_id": "inv_acc_01J9Z1_2026-11", "reason": "line 2 is wrong"}
    )

    kind: Literal["hold", "dispute", "exemption"]
    invoice_id: str = Field(default="", max_length=200)
    until_on: datetime.date | None = None
    restores: bool = False
    reason: Text


class DunningPause(Model):
    """A promise, hold, dispute or exemption; both days count. outcome is a promise's."""

    model_config = example(_PAUSE)

    pause_id: str
    account_id: str
    invoice_id: str
    kind: str
    restores: bool
    from_on: str
    until_on: str | None = None
    amount: Money | None = None
    reason: str
    made_at: Instant
    made_by: str
    ended_on: str | None = None
    ended_by: str = ""
    outcome: str = ""


class NextStep(Model):
    """What happens next if nothing is paid; on is null while a pause has no end."""

    model_config = example({"step_id": "block", "action": "block", "on": "2026-12-29"})

    step_id: str
    action: str
    on: str | None = None


_ITEM = {
    "item_id": "inv_acc_01J9Z1_2026-11",
    "invoice_id": "inv_acc_01J9Z1_2026-11",
    "number": "DHM-INV-000412",
    "due_on": "2026-12-15",
    "open": MONEY_EXAMPLE,
    "days_overdue": 7,
    "next": {"step_id": "block", "action": "block", "on": "2026-12-29"},
}


class OpenItem(Model):
    """What is owed by a day. days_overdue is negative before it; pauses do not count in it."""

    model_config = example(_ITEM)

    item_id: str
    invoice_id: str
    number: str
    due_on: str
    open: Money
    days_overdue: int
    next: NextStep | None = None


_RESTRICTION = {
    "action": "slow_down",
    "profile": "slow-2m",
    "item_id": "inv_acc_01J9Z1_2026-11",
    "reason": "invoice DHM-INV-000412, due on 2026-12-15, is not paid",
    "decided_at": "2026-12-22T03:15:00Z",
}


class Restriction(Model):
    """What the account's lines are held to."""

    model_config = example(_RESTRICTION)

    action: str
    profile: str
    item_id: str
    reason: str
    decided_at: Instant


_OVERDUE = {
    "account_id": "acc_01J9Z1",
    "account_name": "Rahman family",
    "branch_id": "dhanmondi",
    "overdue": [MONEY_EXAMPLE],
    "items": [_ITEM],
    "restriction": _RESTRICTION,
    "paused_by": "",
    "paused_until_on": None,
}


class OverdueAccount(Model):
    """An account that owes: what, since when, what happens next, and what holds it up."""

    model_config = example(_OVERDUE)

    account_id: str
    account_name: str
    branch_id: str
    overdue: list[Money]
    items: list[OpenItem]
    restriction: Restriction | None = None
    paused_by: str = ""
    paused_until_on: str | None = None


_STEP = {
    "item_id": "inv_acc_01J9Z1_2026-11",
    "step_id": "slow",
    "action": "slow_down",
    "schedule_id": "homes",
    "version": 1,
    "taken_at": "2026-12-22T03:15:00Z",
    "open": MONEY_EXAMPLE,
    "effect": "",
}


class DunningStep(Model):
    """A step that was taken; effect says what came of it."""

    model_config = example(_STEP)

    item_id: str
    step_id: str
    action: str
    schedule_id: str
    version: int
    taken_at: Instant
    open: Money
    effect: str = ""


class AccountDunning(OverdueAccount):
    """Everything about an account's dunning: as it stands, its pauses, and its history."""

    model_config = example({**_OVERDUE, "pauses": [_PAUSE], "steps": [_STEP]})

    pauses: list[DunningPause]
    steps: list[DunningStep]
