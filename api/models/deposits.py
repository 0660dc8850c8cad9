"""Deposits: money of a customer that is set aside."""

from __future__ import annotations

from pydantic import Field

from api.instants import Instant
from api.models.payments import AccountPaymentCreate
from api.models.values import MONEY_EXAMPLE, Model, Money, Text, example


class DepositCreate(Model):
    """Credit of an account to set aside. With a payment, the customer brings it now: all of that
    payment stays credit, so that no invoice takes it first."""

    model_config = example(
        {
            "amount_minor": 50_000,
            "currency": "BDT",
            "reason": "set-top box 88120",
            "payment": {"method": "bank", "amount_minor": 50_000, "currency": "BDT"},
        }
    )

    amount_minor: int = Field(gt=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    reason: Text
    payment: AccountPaymentCreate | None = None


class DepositRelease(Model):
    """What becomes credit again, and pays what is open; without an amount, all that is held."""

    model_config = example({"reason": "box returned"})

    amount_minor: int | None = Field(default=None, gt=0, le=10**15)
    reason: Text


class Deposit(Model):
    """A deposit and what of it has not been released."""

    model_config = example(
        {
            "deposit_id": "dep_01J9ZD",
            "account_id": "acc_01J9Z1",
            "amount": MONEY_EXAMPLE,
            "held": MONEY_EXAMPLE,
            "reason": "set-top box 88120",
            "taken_at": "2026-12-04T09:00:00Z",
            "taken_by": "Front desk",
        }
    )

    deposit_id: str
    account_id: str
    amount: Money
    held: Money
    reason: str
    taken_at: Instant
    taken_by: str
