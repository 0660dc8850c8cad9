"""Vouchers: batches, the codes of a fresh one, redemptions."""

from __future__ import annotations

from pydantic import Field

from api.instants import Instant, InstantIn
from api.models.values import (
    EVENT_EXAMPLE,
    MONEY_EXAMPLE,
    EventStatus,
    Identity,
    Model,
    Money,
    Text,
    example,
)

_BATCH = {
    "batch_id": "vou_01J9ZC",
    "branch_id": "dhanmondi",
    "name": "Scratch cards 500",
    "amount": MONEY_EXAMPLE,
    "quantity": 2,
    "redeemed": 0,
    "created_at": "2026-11-21T10:15:02Z",
    "created_by": "Front desk",
    "expires_at": "2027-11-21T00:00:00Z",
    "voided_at": None,
    "sold_at": None,
}


class VoucherBatchCreate(Model):
    """Vouchers to make: quantity codes of amount_minor each, in the branch's currency."""

    model_config = example(
        {
            "name": "Scratch cards 500",
            "branch_id": "dhanmondi",
            "amount_minor": 50_000,
            "currency": "BDT",
            "quantity": 2,
            "expires_at": "2027-11-21T00:00:00Z",
        }
    )

    name: Text
    branch_id: Identity | None = None
    amount_minor: int = Field(gt=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    quantity: int = Field(gt=0)
    expires_at: InstantIn | None = None


class VoucherBatch(Model):
    """A batch without its codes, which are not kept; redeemed counts those that were used."""

    model_config = example(_BATCH)

    batch_id: str
    branch_id: str
    name: str
    amount: Money
    quantity: int
    redeemed: int
    created_at: Instant
    created_by: str
    expires_at: Instant | None = None
    voided_at: Instant | None = None
    sold_at: Instant | None = None


class IssuedVoucherBatch(VoucherBatch):
    """A fresh batch. `codes`, by serial number from 1, are shown now and never again: null in a
    repeated answer."""

    model_config = example({**_BATCH, "codes": ["7K2M-9QXD-40TB-WZ3A", "P8RC-1V6F-HN5E-2GJK"]})

    codes: list[str] | None


class VoucherSaleCreate(Model):
    """What a dealer has paid for a whole batch; less than its face value is his discount."""

    model_config = example({"paid_minor": 95_000})

    paid_minor: int = Field(ge=0, le=10**18)


class Voucher(Model):
    """One voucher by its number; state is valid, redeemed, void or expired."""

    model_config = example(
        {
            "batch_id": "vou_01J9ZC",
            "serial": 1,
            "state": "redeemed",
            "rating_key": "sub_01J9Z2",
            "redeemed_at": "2026-11-21T10:15:02Z",
        }
    )

    batch_id: str
    serial: int
    state: str
    rating_key: str
    redeemed_at: Instant | None = None


class RedemptionCreate(Model):
    """A code as it was typed (case, blanks and hyphens do not matter), and whose it shall be."""

    model_config = example({"rating_key": "sub_01J9Z2", "code": "7K2M-9QXD-40TB-WZ3A"})

    rating_key: Identity
    code: str = Field(min_length=1, max_length=64)


class Redemption(Model):
    """A redeemed voucher and what rating said; balance is there once it is applied."""

    model_config = example(
        {
            "batch_id": "vou_01J9ZC",
            "serial": 1,
            "rating_key": "sub_01J9Z2",
            "amount": MONEY_EXAMPLE,
            "event": EVENT_EXAMPLE,
            "balance": MONEY_EXAMPLE,
        }
    )

    batch_id: str
    serial: int
    rating_key: str
    amount: Money
    event: EventStatus
    balance: Money | None = None


class RefusedRedemption(Model):
    """Why a code was not redeemed; kept as the answer, for the attempt has been counted."""

    kind: str
    reason: str
