"""Payments of an account: what they pay, refunds, credit, write-offs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.instants import Instant, InstantIn
from api.models.billing import PAYMENT_EXAMPLE, Payment
from api.models.values import MONEY_EXAMPLE, Identity, Model, Money, Text, example

_NOTHING = {"amount_minor": 0, "currency": "BDT", "text": "0.00"}


class WantedInvoice(Model):
    """An invoice that the payer named; without an amount, as much of it as the money pays."""

    model_config = example({"invoice_id": "inv_acc_01J9Z1_2026-11", "amount_minor": 50_000})

    invoice_id: str = Field(min_length=1, max_length=200)
    amount_minor: int | None = Field(default=None, gt=0, le=10**15)


class AccountPaymentCreate(Model):
    """Money of an account. It pays the named `invoices` first, then the oldest; what is left is
    credit. keeps_rest leaves all that was not named as credit. A payment that is_pending is in
    flight: it pays once it is settled. `reference` is the receipt's or provider's own number."""

    model_config = example(
        {
            "method": "bank",
            "amount_minor": 162_400,
            "currency": "BDT",
            "reference": "ft-88120",
            "invoices": [{"invoice_id": "inv_acc_01J9Z1_2026-11"}],
        }
    )

    method: Identity = "cash"
    amount_minor: int = Field(gt=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    reference: str | None = Field(default=None, min_length=1, max_length=64)
    received_at: InstantIn | None = None
    payer: str = Field(default="", max_length=200)
    invoices: list[WantedInvoice] = Field(default_factory=list, max_length=100)
    keeps_rest: bool = False
    is_pending: bool = False


class PaymentOrderCreate(Model):
    """Money that a customer is about to pay: at a counter, or by transfer to our bank account."""

    model_config = example({"gateway": "bank", "amount_minor": 81_200, "currency": "BDT"})

    gateway: Literal["counter", "bank"]
    amount_minor: int = Field(gt=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    invoices: list[WantedInvoice] = Field(default_factory=list, max_length=100)


class PaymentOrder(Model):
    """How to pay an order. Its payment is in flight until the clerk or the bank says it came."""

    model_config = example(
        {
            "payment_id": "pay_01J9ZF",
            "reference": "FR0123456789",
            "instruction": "Transfer 812.00 BDT to our bank account and write FR0123456789 as its"
            " text.",
            "redirect_url": "",
        }
    )

    payment_id: str
    reference: str
    instruction: str
    redirect_url: str


class Allocated(Model):
    """What a payment's money does for one invoice; a negative amount was taken back."""

    model_config = example(
        {
            "invoice_id": "inv_acc_01J9Z1_2026-11",
            "amount": MONEY_EXAMPLE,
            "recovered": _NOTHING,
            "taken": MONEY_EXAMPLE,
            "allocated_at": "2026-12-03T08:12:40Z",
            "allocated_by": "Front desk",
        }
    )

    invoice_id: str
    amount: Money
    recovered: Money
    taken: Money
    allocated_at: Instant
    allocated_by: str


class PaymentDetail(Payment):
    """A payment with every allocation of its money, and what is left of it as credit."""

    model_config = example(
        {
            **PAYMENT_EXAMPLE,
            "credit_left": _NOTHING,
            "allocations": [
                {
                    "invoice_id": "inv_acc_01J9Z1_2026-11",
                    "amount": MONEY_EXAMPLE,
                    "recovered": _NOTHING,
                    "taken": MONEY_EXAMPLE,
                    "allocated_at": "2026-12-03T08:12:40Z",
                    "allocated_by": "Front desk",
                }
            ],
        }
    )

    credit_left: Money
    allocations: list[Allocated]


class PaymentSettle(Model):
    """The money of a pending payment has come; settled_at is when, now if left out."""

    model_config = example({"settled_at": "2026-12-03T08:15:00Z"})

    settled_at: InstantIn | None = None


class PaymentReason(Model):
    """Why a payment failed or was taken back, or an invoice given up; it stands in the ledger."""

    model_config = example({"reason": "returned by the bank: account closed"})

    reason: Text


class PaymentReallocate(Model):
    """What a payment is to pay instead of what it pays now."""

    model_config = example({"invoices": [{"invoice_id": "inv_acc_01J9Z1_2026-12"}]})

    invoices: list[WantedInvoice] = Field(default_factory=list, max_length=100)
    keeps_rest: bool = False


class AccountCredit(Model):
    """What an account has beyond its invoices, per currency, and its payments in flight."""

    model_config = example(
        {"account_id": "acc_01J9Z1", "credit": [MONEY_EXAMPLE], "in_flight": [PAYMENT_EXAMPLE]}
    )

    account_id: str
    credit: list[Money]
    in_flight: list[Payment]


class RefundCreate(Model):
    """Credit given back, of one payment or (payment_id left out) of all, the oldest first."""

    model_config = example(
        {
            "method": "bank",
            "amount_minor": 5_000,
            "currency": "BDT",
            "reference": "out-1182",
            "reason": "paid twice",
        }
    )

    method: Identity = "cash"
    amount_minor: int = Field(gt=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    reference: str | None = Field(default=None, min_length=1, max_length=64)
    reason: Text
    payment_id: str | None = Field(default=None, min_length=1, max_length=200)


class Refund(Model):
    """Money that was given back to the customer."""

    model_config = example(
        {
            "refund_id": "ref_01J9ZC",
            "account_id": "acc_01J9Z1",
            "method": "bank",
            "reference": "out-1182",
            "amount": {"amount_minor": 5_000, "currency": "BDT", "text": "50.00"},
            "refunded_at": "2026-12-04T09:00:00Z",
            "refunded_by": "Front desk",
            "reason": "paid twice",
        }
    )

    refund_id: str
    account_id: str
    method: str
    reference: str
    amount: Money
    refunded_at: Instant
    refunded_by: str
    reason: str
