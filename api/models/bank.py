"""Bank entries, and what a clerk says of those that nobody could match."""

from __future__ import annotations

from pydantic import Field

from api.instants import Instant
from api.models.values import MONEY_EXAMPLE, Identity, Model, Money, Text, example


class BankEntry(Model):
    """One movement of a bank account. An `unmatched` one waits; `reason` says why, `suggestion`
    names an account that it may be for."""

    model_config = example(
        {
            "entry_id": "bnk_3f1c2f0e8d0b4a349a570f5d",
            "branch_id": "dhanmondi",
            "bank_account": "BD12000000000000000001",
            "booked_on": "2026-12-03",
            "amount": MONEY_EXAMPLE,
            "reference": "FT2633811",
            "remittance": "internet december",
            "payer": "A. Rahman",
            "payer_account": "BD99000000000000000002",
            "status": "unmatched",
            "reason": "names nothing; its amount is that of DHM-INV-000412",
            "suggestion": "acc_01J9Z1",
            "account_id": None,
            "payment_id": None,
            "imported_at": "2026-12-03T08:12:40Z",
            "resolved_at": None,
            "resolved_by": "",
        }
    )

    entry_id: str
    branch_id: str
    bank_account: str
    booked_on: str
    amount: Money
    reference: str
    remittance: str
    payer: str
    payer_account: str
    status: str
    reason: str
    suggestion: str
    account_id: str | None
    payment_id: str | None
    imported_at: Instant
    resolved_at: Instant | None
    resolved_by: str


class BankEntryMatch(Model):
    """Whose money it is; the named invoices are paid first, then the oldest."""

    model_config = example({"account_id": "acc_01J9Z1", "invoice_ids": []})

    account_id: Identity
    invoice_ids: list[str] = Field(default_factory=list, max_length=100)


class BankEntryIgnore(Model):
    """Why an entry is no customer's money."""

    model_config = example({"reason": "transfer between our own accounts"})

    reason: Text
