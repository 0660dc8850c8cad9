"""Money: top-ups, balances, invoices with their evidence, the ledger."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.instants import Instant, InstantIn
from api.models.values import (
    EVENT_EXAMPLE,
    MONEY_EXAMPLE,
    EventStatus,
    Identity,
    Model,
    Money,
    example,
)


class TopUpCreate(Model):
    """Money onto a prepaid balance. `reference` is the till's or wallet's own receipt number:
    the same reference twice is one top-up."""

    model_config = example(
        {
            "rating_key": "sub_01J9Z2",
            "amount_minor": 50_000,
            "currency": "BDT",
            "reference": "bkash-9HG3K2",
        }
    )

    rating_key: Identity
    amount_minor: int = Field(gt=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    reference: str | None = Field(default=None, min_length=1, max_length=64)
    effective_at: InstantIn | None = None


class TopUp(Model):
    """A top-up and what rating said to it; balance is there once it is applied."""

    model_config = example(
        {
            "rating_key": "sub_01J9Z2",
            "amount": MONEY_EXAMPLE,
            "event": EVENT_EXAMPLE,
            "balance": MONEY_EXAMPLE,
        }
    )

    rating_key: str
    amount: Money
    event: EventStatus
    balance: Money | None = None


class Balance(Model):
    """A prepaid balance as rating keeps it: credits minus charges."""

    model_config = example(
        {
            "rating_key": "sub_01J9Z2",
            "amount": MONEY_EXAMPLE,
            "updated_at": "2026-11-21T10:15:02Z",
        }
    )

    rating_key: str
    amount: Money
    updated_at: Instant


_INVOICE = {
    "invoice_id": "inv_acc_01J9Z1_2026-11",
    "branch_id": "dhanmondi",
    "account_id": "acc_01J9Z1",
    "account_name": "Rahman family",
    "number": "DHM-2026-000412",
    "status": "finalized",
    "period_start_at": "2026-10-31T18:00:00Z",
    "period_end_at": "2026-11-30T18:00:00Z",
    "issued_at": "2026-11-30T20:00:00Z",
    "due_on": "2026-12-10",
    "subtotal": {"amount_minor": 77_333, "currency": "BDT", "text": "773.33"},
    "tax": {"amount_minor": 3_867, "currency": "BDT", "text": "38.67"},
    "total": MONEY_EXAMPLE,
    "paid": {"amount_minor": 0, "currency": "BDT", "text": "0.00"},
    "hold_reason": "",
    "pdf_url": "/v1/invoices/inv_acc_01J9Z1_2026-11/pdf",
}
_LINE = {
    "line": 2,
    "kind": "usage",
    "description": "Data above 100 GB: 7.4 GB",
    "rating_key": "pool_01J9Z3",
    "meter_id": "data",
    "quantity": 107_400_000_000,
    "unit": "octet",
    "amount": {"amount_minor": 7_400, "currency": "BDT", "text": "74.00"},
    "tax_rate": "0.05",
    "evidence": {"segments": [{"quantity": 107_400_000_000}]},
    "evidence_url": "/v1/invoices/inv_acc_01J9Z1_2026-11/lines/2/evidence?level=day",
}


class Invoice(Model):
    """An invoice's head; number and due_on are null while it is a draft."""

    model_config = example(_INVOICE)

    invoice_id: str
    branch_id: str
    account_id: str
    account_name: str
    number: str | None = None
    status: str
    period_start_at: Instant
    period_end_at: Instant
    issued_at: Instant | None = None
    due_on: str | None = None
    subtotal: Money
    tax: Money
    total: Money
    paid: Money
    hold_reason: str = ""
    pdf_url: str


class InvoiceLine(Model):
    """One line, and where its evidence is: down to days, sessions and minutes."""

    model_config = example(_LINE)

    line: int
    kind: str
    description: str
    rating_key: str
    meter_id: str
    quantity: int
    unit: str
    amount: Money
    tax_rate: str
    evidence: Any
    evidence_url: str | None = None


class InvoiceDetail(Invoice):
    """An invoice with its lines."""

    model_config = example({**_INVOICE, "lines": [_LINE]})

    lines: list[InvoiceLine]


_EVIDENCE = {
    "key": "2026-11-21",
    "first_at": "2026-11-20T18:00:00Z",
    "last_at": "2026-11-21T10:14:00Z",
    "octets_up": 410_000_000,
    "octets_down": 6_200_000_000,
    "quantity": 6_610_000_000,
    "rows": 912,
    "next_url": "/v1/invoices/inv_1/lines/2/evidence?level=session&on=2026-11-21",
}


class EvidencePiece(Model):
    """A day, a session or a minute of the line's usage; next_url goes one level deeper."""

    model_config = example(_EVIDENCE)

    key: str
    first_at: Instant
    last_at: Instant
    octets_up: int
    octets_down: int
    quantity: int
    rows: int
    next_url: str | None = None


class Evidence(Model):
    """What a line is made of. The pieces' octets sum to the octets that were metered."""

    model_config = example(
        {"invoice_id": "inv_1", "line": 2, "level": "day", "pieces": [_EVIDENCE]}
    )

    invoice_id: str
    line: int
    level: Literal["day", "session", "minute"]
    pieces: list[EvidencePiece]


class LedgerBalance(Model):
    """One ledger account's sum: debits positive, credits negative."""

    model_config = example(
        {
            "ledger_account_id": "dhanmondi/receivable",
            "code": "1100",
            "kind": "asset",
            "name": "Receivable",
            "amount": MONEY_EXAMPLE,
        }
    )

    ledger_account_id: str
    code: str
    kind: str
    name: str
    amount: Money


class TrialBalance(Model):
    """Every account's sum per currency; balanced says that they add up to zero."""

    model_config = example({"balanced": True, "accounts": [], "sums": [MONEY_EXAMPLE]})

    balanced: bool
    accounts: list[LedgerBalance]
    sums: list[Money]
