"""Instalment plans over invoices."""

from __future__ import annotations

import datetime
from typing import Any

from pydantic import Field

from api.instants import Instant
from api.models.values import MONEY_EXAMPLE, Model, Money, example


class InstalmentPart(Model):
    """A part as agreed: its local day and its amount."""

    model_config = example({"due_on": "2026-12-15", "amount_minor": 40_600})

    due_on: datetime.date
    amount_minor: int = Field(gt=0, le=10**15)


class InstalmentPlanCreate(Model):
    """What is open of an invoice in parts: `count` equal ones, `every_months` apart from
    `first_on`, or `parts` as agreed, which must sum to what is open."""

    model_config = example({"count": 3, "first_on": "2026-12-15"})

    count: int | None = Field(default=None, ge=1, le=120)
    first_on: datetime.date | None = None
    every_months: int = Field(default=1, ge=1, le=12)
    parts: list[InstalmentPart] = Field(default_factory=list, max_length=120)


class InstalmentState(Model):
    """A part and what is still open of it; money pays the earliest first."""

    model_config = example(
        {"number": 1, "due_on": "2026-12-15", "amount": MONEY_EXAMPLE, "open": MONEY_EXAMPLE}
    )

    number: int
    due_on: datetime.date
    amount: Money
    open: Money


_PLAN: dict[str, Any] = {
    "plan_id": "ipl_01J9ZE",
    "invoice_id": "inv_acc_01J9Z1_2026-11",
    "account_id": "acc_01J9Z1",
    "status": "running",
    "created_at": "2026-12-03T08:12:40Z",
    "created_by": "Front desk",
    "parts": [
        {"number": 1, "due_on": "2026-12-15", "amount": MONEY_EXAMPLE, "open": MONEY_EXAMPLE}
    ],
}


class InstalmentPlan(Model):
    """A plan: `running`, `done` when its parts are paid, or `cancelled`."""

    model_config = example(_PLAN)

    plan_id: str
    invoice_id: str
    account_id: str
    status: str
    created_at: Instant
    created_by: str
    parts: list[InstalmentState]
