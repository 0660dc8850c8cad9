"""Tills: a cashier's shift, what moved in it, its X and Z reports."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.instants import Instant
from api.models.values import Identity, Model, Money, Text, example


def _money(minor: int) -> dict[str, Any]:
    return {"amount_minor": minor, "currency": "BDT", "text": f"{minor / 100:.2f}"}


_SHIFT = {
    "shift_id": "shf_01J9ZD",
    "branch_id": "dhanmondi",
    "cashier_id": "key-dhanmondi",
    "cashier": "Front desk",
    "currency": "BDT",
    "opened_at": "2026-12-03T03:00:00Z",
    "float": _money(200_000),
    "closed_at": None,
    "closing_number": "",
    "note": "",
}


class CashShiftOpen(Model):
    """A shift to open: the float is the cash that lies in the till when it begins."""

    model_config = example({"float_minor": 200_000, "currency": "BDT"})

    branch_id: Identity | None = None
    float_minor: int = Field(ge=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")


class CashShift(Model):
    """A cashier's shift; open while closed_at is null, and unchanging from then on."""

    model_config = example(_SHIFT)

    shift_id: str
    branch_id: str
    cashier_id: str
    cashier: str
    currency: str
    opened_at: Instant
    float: Money
    closed_at: Instant | None
    closing_number: str
    note: str


class CashMovementCreate(Model):
    """Cash put into the till from the safe, or taken out: to the safe, or as an expense."""

    model_config = example(
        {"kind": "paid_out", "purpose": "safe", "amount_minor": 500_000, "reason": "noon drop"}
    )

    kind: Literal["paid_in", "paid_out"]
    purpose: Literal["safe", "expense"] = "safe"
    amount_minor: int = Field(gt=0, le=10**15)
    reason: Text


class CashShiftClose(Model):
    """What was counted in the till; the difference to what should be there is posted."""

    model_config = example({"counted_minor": 1_012_000, "note": "one torn note"})

    counted_minor: int = Field(ge=0, le=10**15)
    note: str = Field(default="", max_length=200)


class CashTotal(Model):
    """How often cash moved for one reason, and how much in all; out of the till is negative."""

    model_config = example({"kind": "payment", "count": 10, "amount": _money(812_000)})

    kind: Literal["payment", "refund", "paid_in", "paid_out"]
    count: int
    amount: Money


class CashReport(Model):
    """An X report of an open shift, or the Z report of a closed one."""

    model_config = example(
        {
            "title": "X",
            "shift": _SHIFT,
            "totals": [{"kind": "payment", "count": 10, "amount": _money(812_000)}],
            "expected": _money(1_012_000),
            "counted": None,
            "difference": None,
            "first_receipt": "DHM-RCP-000112",
            "last_receipt": "DHM-RCP-000121",
        }
    )

    title: Literal["X", "Z"]
    shift: CashShift
    totals: list[CashTotal]
    expected: Money
    counted: Money | None
    difference: Money | None
    first_receipt: str
    last_receipt: str
